//! Records that could not be decoded, and rows that violate a rule, as rows of their own table.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::{CodecError, Encoder, EncodingSpec, JsonEncoding, RecordError};

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
        text("query", true),
    ]))
});

/// The dead letters' schema: where a record stood (`source`, `split`, `offset`; for Kafka the
/// split is `topic-partition`), why it was refused (`reason`, `column`, `error`), the record
/// itself (`key`, `payload`; `payload_bytes` is its whole length, which is more than the payload's
/// if that was cut), when, and for what came from a file where in it (`file`, `line`).
///
/// A row that a query's rules reject has the `query`, the rule's name as `reason`, and itself as
/// JSON in `payload`. Its position is that of the record it was made of. Where that is not known,
/// because an operator with state or a join with a table stands between, `split` is empty and
/// `offset` is [`NO_OFFSET`].
pub fn dead_letter_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The `offset` of a row that no one record was made into.
pub const NO_OFFSET: i64 = -1;

/// Where rejected rows come from.
#[derive(Debug, Clone)]
pub struct RejectedFrom<'a> {
    /// The source, or the sources, with commas between them.
    pub source: &'a str,
    /// The split; empty if they are of no one split.
    pub split: &'a str,
    /// The query whose rule they violate.
    pub query: &'a str,
}

/// Rows that a query's rules rejected, as dead letters: `reasons` and `errors` have an entry for
/// each row of `rows`, `offset` gives a row's position if it has one. Payloads above `max_payload`
/// bytes are cut to it.
///
/// # Errors
/// [`CodecError`] if a column cannot be written as JSON.
pub fn rejected_rows(
    from: &RejectedFrom<'_>,
    rows: &RecordBatch,
    (reasons, errors): (&[Arc<str>], &[String]),
    offset: impl Fn(usize) -> Option<i64>,
    max_payload: usize,
    now_ms: i64,
) -> Result<RecordBatch, CodecError> {
    let spec = EncodingSpec::Json(JsonEncoding { nulls: true });
    let encoded = Encoder::new(&rows.schema(), &spec)?.encode(rows)?;
    let mut builder = DeadLetterBuilder::new(max_payload);
    for (row, payload) in encoded.iter().enumerate() {
        builder.source.append_value(from.source);
        builder.split.append_value(from.split);
        builder.offset.append_value(offset(row).unwrap_or(NO_OFFSET));
        builder.reason.append_value(reasons.get(row).map_or("", |reason| reason));
        builder.column.append_null();
        builder.error.append_value(errors.get(row).map_or("", String::as_str));
        builder.key.append_null();
        builder.payload.append_value(&payload[..payload.len().min(max_payload)]);
        builder.payload_bytes.append_value(i64::try_from(payload.len()).unwrap_or(i64::MAX));
        builder.rejected_at.append_value(now_ms.saturating_mul(1000));
        builder.file.append_null();
        builder.line.append_null();
        builder.query.append_value(from.query);
    }
    builder.finish()
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
    query: StringBuilder,
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
            query: StringBuilder::new(),
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
        self.query.append_null();
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
            Arc::new(self.query.finish()),
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

    #[test]
    fn a_rejected_row_is_json_with_its_rule_and_its_place() {
        use arrow::array::{Float64Array, StringArray};
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
            ("price", Arc::new(Float64Array::from(vec![None, Some(-1.5)]))),
        ])
        .unwrap();
        let from = RejectedFrom { source: "sales", split: "sales-0", query: "silver" };
        let reasons = [Arc::from("valid_price"), Arc::from("valid_price")];
        let errors = ["first".to_owned(), "second".to_owned()];
        let offset = |row| (row == 1).then_some(42);
        let batch =
            rejected_rows(&from, &rows, (&reasons, &errors), offset, 1 << 20, 1_000).unwrap();
        assert_eq!(batch.schema(), dead_letter_schema());
        let offsets = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(offsets.values(), &[NO_OFFSET, 42]);
        assert_eq!(batch.column(3).as_string::<i32>().value(1), "valid_price");
        let payload = batch.column(7).as_binary::<i32>();
        assert_eq!(payload.value(0), br#"{"id":"a","price":null}"#);
        assert_eq!(payload.value(1), br#"{"id":"b","price":-1.5}"#);
        assert_eq!(batch.column(12).as_string::<i32>().value(0), "silver");
    }
}
