//! From a split to a batch: what a reader takes, decodes and puts aside.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::{CHUNK, PartitionReader, Pending};
use crate::actors::child::Remedy;
use crate::actors::watermark_tracker::now_ms;
use crate::codec::dead_letter::DeadLetter;
use crate::codec::{AppendError, Decoder, MetadataColumn};
use crate::source::{ColumnsTaken, Damaged, PartitionId, Record, RecordMeta, SourceError, Taken};
use crate::telemetry::events::RecordRejected;
use crate::telemetry::progress::LetterNote;

/// What becomes of a split's records or rows.
pub enum Decoding {
    /// Records are decoded.
    Records(Box<Decoder>),
    /// Rows come as columns; what is known of their file is added.
    Columns(ColumnsOf),
}

/// The batches of a source that has columns of its own.
pub struct ColumnsOf {
    /// The source's columns, then metadata columns, as far as they are read.
    pub schema: SchemaRef,
    /// What the last columns of the schema are.
    pub metadata: Vec<MetadataColumn>,
}

impl Decoding {
    /// The columns of the batches.
    pub fn output_schema(&self) -> SchemaRef {
        match self {
            Self::Records(decoder) => decoder.output_schema(),
            Self::Columns(columns) => columns.schema.clone(),
        }
    }

    /// Rows that have been decoded and not been taken.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Records(decoder) => decoder.len(),
            Self::Columns(_) => 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Records(decoder) => decoder.memory_bytes(),
            Self::Columns(_) => 0,
        }
    }
}

impl ColumnsOf {
    /// The rows with the metadata columns that are read.
    fn complete(
        &self,
        taken: &ColumnsTaken,
        rows: &RecordBatch,
    ) -> Result<RecordBatch, ArrowError> {
        let count = rows.num_rows();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for (what, field) in self.metadata.iter().zip(&self.schema.fields()[columns.len()..]) {
            columns.push(match (what, &taken.file, taken.modified_us) {
                (MetadataColumn::File, Some(file), _) => {
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&**file, count)))
                }
                (MetadataColumn::Modified, _, Some(time)) => {
                    let times = TimestampMicrosecondArray::from_value(time, count);
                    match field.data_type() {
                        DataType::Timestamp(_, Some(zone)) => {
                            Arc::new(times.with_timezone(zone.clone()))
                        }
                        _ => Arc::new(times),
                    }
                }
                _ => new_null_array(field.data_type(), count),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

impl PartitionReader {
    /// Takes some of what is there and decodes it. Returns whether there may be more.
    pub(super) fn take(&mut self) -> bool {
        let began = Instant::now();
        let mut room = self.limits.rows.saturating_sub(self.decoding.len()).clamp(1, CHUNK);
        if let Some(boundary) = self.next_boundary() {
            room = room.min(usize::try_from(boundary - self.next).unwrap_or(room).max(1));
        }
        let records = match &self.decoding {
            Decoding::Records(_) => self.take_records(room),
            // Columns come in batches of their own: as many rows as there is room for.
            Decoding::Columns(_) => self.take_columns(self.limits.rows),
        };
        if records > 0 {
            self.pending.filling_since.get_or_insert(began);
            self.pending.batch.decode += began.elapsed();
        }
        records > 0 && !self.pending.stopped
    }

    fn take_records(&mut self, room: usize) -> usize {
        let Self {
            split,
            decoding,
            dead_letters,
            limits,
            metrics,
            source_progress,
            pending,
            fanout,
            ..
        } = self;
        let traced = fanout.wants_offsets();
        let Decoding::Records(decoder) = decoding else { return 0 };
        let mut next = self.next;
        let (end, id) = (self.end, &self.id);
        let Pending { batch: counts, offsets, .. } = pending;
        let mut halt = None;
        let taken = split.take(room, &mut |record| {
            // Left over from before the last seek, or beyond a bounded run.
            if halt.is_some() || record.offset < next || end.is_some_and(|end| record.offset >= end)
            {
                return;
            }
            let (offset, read) = (next, *counts);
            next = record.offset + 1;
            counts.records += 1;
            counts.bytes += record.key.map_or(0, |key| key.len() as u64);
            let length = record.payload.map_or(0, <[u8]>::len);
            counts.bytes += length as u64;
            let letter = if length > limits.record_bytes {
                DeadLetter::oversized(length, limits.record_bytes)
            } else {
                match decoder.append(&record) {
                    Ok(()) => {
                        if traced {
                            offsets.push(record.offset);
                        }
                        return;
                    }
                    Err(AppendError::NoRow) => {
                        counts.tombstones += u64::from(record.payload.is_none());
                        return;
                    }
                    Err(AppendError::Bad(error)) => DeadLetter::from(&error),
                    // Not the record's fault. Nothing from here on counts as read.
                    Err(error @ (AppendError::BatchFull | AppendError::Registry(_))) => {
                        (next, *counts, halt) = (offset, read, Some(error));
                        return;
                    }
                }
            };
            let error = &letter.error;
            RecordRejected { reader: metrics, offset: record.offset, reason: letter.reason, error }
                .emit();
            source_progress.rejected(letter.reason);
            source_progress.letter(&note(id, &record, &letter));
            if let Some(route) = dead_letters {
                route.builder.append(id, &record, &letter, now_ms());
            }
        });
        let Taken { messages, end: reached, damaged, error, limited, finished } = taken;
        self.next = next;
        if let Some(halt) = halt {
            let text = match halt {
                AppendError::BatchFull => {
                    "a batch grew past what Arrow can hold; lower the source's batch.max_bytes"
                        .to_owned()
                }
                error => error.to_string(),
            };
            // The records after it were taken from the split: only a restart reads them again.
            self.supervision.fail(&self.name, text, Remedy::Restart);
            self.pending.stopped = true;
            return messages;
        }
        let parts = damaged.len();
        self.put_aside(&damaged);
        // Past the last record there may be control records, which nobody is shown.
        self.reached(reached);
        self.after_taking(error, limited, finished);
        messages + parts
    }

    fn take_columns(&mut self, room: usize) -> usize {
        let Some(taken) = self.split.take_columns(room) else {
            self.supervision.fail(&self.name, "the source has no columns", Remedy::Mend);
            self.pending.stopped = true;
            return 0;
        };
        let Decoding::Columns(columns) = &self.decoding else { return 0 };
        let mut rows = 0;
        // What a bounded run does not reach was not there when it began.
        let beyond = self.end.is_some_and(|end| taken.first >= end);
        if let Some(batch) = taken.batch.as_ref().filter(|_| !beyond) {
            rows = batch.num_rows();
            match columns.complete(&taken, batch) {
                Ok(batch) => {
                    self.pending.batch.records += rows as u64;
                    self.pending.batch.bytes += batch.get_array_memory_size() as u64;
                    self.pending.columns = Some(batch);
                    if self.fanout.wants_offsets() {
                        self.pending.offsets =
                            (0..rows as i64).map(|row| taken.first + row).collect();
                    }
                }
                Err(error) => {
                    self.supervision.fail(&self.name, error, Remedy::Mend);
                    self.pending.stopped = true;
                    return 0;
                }
            }
        }
        if !beyond {
            self.reached(taken.next);
        }
        let parts = taken.damaged.len();
        self.put_aside(&taken.damaged);
        self.after_taking(taken.error, taken.limited, taken.finished || beyond);
        rows + parts
    }

    fn reached(&mut self, offset: Option<i64>) {
        let bounded = |offset: i64| self.end.map_or(offset, |end| offset.min(end));
        if let Some(offset) = offset {
            self.next = self.next.max(bounded(offset));
        }
    }

    /// Parts of the input that nobody can read: a dead letter each.
    fn put_aside(&mut self, damaged: &[Damaged]) {
        for part in damaged {
            if part.offset < self.next || self.end.is_some_and(|end| part.offset >= end) {
                continue;
            }
            let letter =
                DeadLetter { reason: part.reason, column: None, error: part.error.clone() };
            RecordRejected {
                reader: &self.metrics,
                offset: part.offset,
                reason: part.reason,
                error: &part.error,
            }
            .emit();
            let meta =
                RecordMeta { file: part.file.as_deref(), line: part.line, ..RecordMeta::default() };
            let payload = Some(part.payload.as_slice());
            let record = Record { offset: part.offset, payload, key: None, meta };
            self.source_progress.rejected(part.reason);
            self.source_progress.letter(&note(&self.id, &record, &letter));
            if let Some(route) = &mut self.dead_letters {
                route.builder.append(&self.id, &record, &letter, now_ms());
            }
            self.pending.batch.records += 1;
            self.next = self.next.max(part.offset + 1);
        }
    }

    fn after_taking(&mut self, error: Option<SourceError>, limited: bool, finished: bool) {
        self.pending.limited |= limited;
        self.pending.finished |= finished;
        if let Some(error) = error {
            // What can be retried without a restart, the source retries by itself.
            let remedy = if error.is_transient() { Remedy::Restart } else { Remedy::Mend };
            self.supervision.fail(&self.name, format_args!("{}: {error}", self.id), remedy);
            self.pending.stopped = true;
        }
    }
}

/// What the API shows of a dead letter.
fn note<'a>(id: &'a PartitionId, record: &Record<'a>, letter: &'a DeadLetter) -> LetterNote<'a> {
    LetterNote {
        split: &id.split,
        offset: record.offset,
        reason: letter.reason,
        column: letter.column.as_deref(),
        error: &letter.error,
        key: record.key,
        payload: record.payload,
        file: record.meta.file,
        line: record.meta.line,
    }
}
