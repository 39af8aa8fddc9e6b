//! Records that could not be decoded, as rows of their own table.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::{CodecError, RecordError};

use crate::source::{PartitionId, Record};

/// Why a record could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// One of a fixed list of codes: a metric label.
    pub reason: &'static str,
    /// The column at fault, if one is.
    pub column: Option<String>,
    /// In words, without the payload.
    pub error: String,
}

impl DeadLetter {
    /// The record is larger than the source accepts.
    pub fn oversized(bytes: usize, limit: usize) -> Self {
        Self {
            reason: "oversized",
            column: None,
            error: format!("the record has {bytes} bytes; the source accepts {limit}"),
        }
    }
}

impl From<&RecordError> for DeadLetter {
    fn from(error: &RecordError) -> Self {
        Self {
            reason: error.code(),
            column: error.column.as_deref().map(str::to_owned),
            error: error.to_string(),
        }
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("source", false),
        text("split", false),
        Field::new("offset", DataType::Int64, false),
        text("reason", false),
        text("column", true),
        text("error", false),
        Field::new("key", DataType::Binary, true),
        Field::new("payload", DataType::Binary, false),
        Field::new("payload_bytes", DataType::Int64, false),
        Field::new(
            "rejected_at",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
        text("file", true),
        Field::new("line", DataType::Int64, true),
    ]))
});

/// The dead letters' schema: where a record stood (`source`, `split`, `offset`; for Kafka the
/// split is `topic-partition`), why it was refused (`reason`, `column`, `error`), the record
/// itself (`key`, `payload`; `payload_bytes` is its whole length, which is more than the payload's
/// if that was cut), when, and for what came from a file where in it (`file`, `line`).
pub fn dead_letter_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Collects dead letters into a batch.
pub struct DeadLetterBuilder {
    max_payload: usize,
    rows: usize,
    bytes: usize,
    source: StringBuilder,
    split: StringBuilder,
    offset: Int64Builder,
    reason: StringBuilder,
    column: StringBuilder,
    error: StringBuilder,
    key: BinaryBuilder,
    payload: BinaryBuilder,
    payload_bytes: Int64Builder,
    rejected_at: TimestampMicrosecondBuilder,
    file: StringBuilder,
    line: Int64Builder,
}

impl DeadLetterBuilder {
    /// Payloads and keys above `max_payload` bytes are cut to it.
    pub fn new(max_payload: usize) -> Self {
        Self {
            max_payload,
            rows: 0,
            bytes: 0,
            source: StringBuilder::new(),
            split: StringBuilder::new(),
            offset: Int64Builder::new(),
            reason: StringBuilder::new(),
            column: StringBuilder::new(),
            error: StringBuilder::new(),
            key: BinaryBuilder::new(),
            payload: BinaryBuilder::new(),
            payload_bytes: Int64Builder::new(),
            rejected_at: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            file: StringBuilder::new(),
            line: Int64Builder::new(),
        }
    }

    /// Appends a record of a partition. One without a value has an empty payload.
    pub fn append(
        &mut self,
        partition: &PartitionId,
        record: &Record<'_>,
        letter: &DeadLetter,
        now_ms: i64,
    ) {
        let (key, payload) = (record.key, record.payload.unwrap_or_default());
        let cut = |bytes: &'_ [u8]| bytes.len().min(self.max_payload);
        let (kept, kept_key) = (cut(payload), key.map_or(0, cut));
        self.source.append_value(&*partition.source);
        self.split.append_value(&*partition.split);
        self.offset.append_value(record.offset);
        self.reason.append_value(letter.reason);
        self.column.append_option(letter.column.as_deref());
        self.error.append_value(&letter.error);
        self.key.append_option(key.map(|key| &key[..kept_key]));
        self.payload.append_value(&payload[..kept]);
        self.payload_bytes.append_value(i64::try_from(payload.len()).unwrap_or(i64::MAX));
        self.rejected_at.append_value(now_ms.saturating_mul(1000));
        self.file.append_option(record.meta.file);
        let line = record.meta.line.map(|line| i64::try_from(line).unwrap_or(i64::MAX));
        self.line.append_option(line);
        self.rows += 1;
        self.bytes +=
            kept + kept_key + letter.error.len() + record.meta.file.map_or(0, str::len) + 128;
    }

    /// Letters in the batch that is being built.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what was appended, with the schema of [`dead_letter_schema`].
    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        (self.rows, self.bytes) = (0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.source.finish()),
            Arc::new(self.split.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.column.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.payload.finish()),
            Arc::new(self.payload_bytes.finish()),
            Arc::new(self.rejected_at.finish()),
            Arc::new(self.file.finish()),
            Arc::new(self.line.finish()),
        ];
        Ok(RecordBatch::try_new(dead_letter_schema(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;
    use crate::source::RecordMeta;

    #[test]
    fn a_long_payload_is_cut_and_says_so() {
        let mut builder = DeadLetterBuilder::new(4);
        let partition = PartitionId::new("logs", "web-logs-1");
        let letter = DeadLetter::oversized(10, 4);
        let meta = RecordMeta { file: Some("a.json"), line: Some(3), ..RecordMeta::default() };
        let record = Record { meta, ..Record::plain(7, b"0123456789") };
        builder.append(&partition, &record, &letter, 1_000);
        assert_eq!(builder.len(), 1);
        let batch = builder.finish().unwrap();
        assert_eq!(batch.column(7).as_binary::<i32>().value(0), b"0123");
        assert_eq!(batch.column(8).as_primitive::<arrow::datatypes::Int64Type>().value(0), 10);
        assert_eq!(batch.column(10).as_string::<i32>().value(0), "a.json");
        assert_eq!(batch.column(11).as_primitive::<arrow::datatypes::Int64Type>().value(0), 3);
        assert!(builder.is_empty());
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }
}
