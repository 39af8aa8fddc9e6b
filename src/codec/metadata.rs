//! What is known of a record beside its value, as columns.

use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::columns::{Column, MAX_RECORD_VOLUME, Values};
use super::{CodecError, Reason, RecordError};
use crate::source::Record;

/// Something that is known of a record beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataColumn {
    /// The Kafka topic. STRING.
    Topic,
    /// The Kafka partition. INT.
    Partition,
    /// Its place in its partition, as checkpoints and dead letters give it. BIGINT.
    Offset,
    /// The record's own timestamp. TIMESTAMP.
    Timestamp,
    /// Who set that, as Spark's `timestampType`: -1 nobody, 0 the producer, 1 the broker. INT.
    TimestampType,
    /// The key. BINARY, or STRING where it has to be UTF-8.
    Key,
    /// The headers in their order. ARRAY&lt;STRUCT&lt;key: STRING, value: BINARY&gt;&gt;.
    Headers,
    /// The path of the file it stood in. STRING.
    File,
    /// The line in the file, from 1. BIGINT.
    Line,
    /// When the file was last modified. TIMESTAMP.
    Modified,
}

impl MetadataColumn {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Topic,
        Self::Partition,
        Self::Offset,
        Self::Timestamp,
        Self::TimestampType,
        Self::Key,
        Self::Headers,
        Self::File,
        Self::Line,
        Self::Modified,
    ];

    /// What the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::TimestampType => "timestamp_type",
            Self::Key => "key",
            Self::Headers => "headers",
            Self::File => "file",
            Self::Line => "line",
            Self::Modified => "modified",
        }
    }

    /// Its type, if nothing else is declared.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Topic | Self::File => DataType::Utf8,
            Self::Partition | Self::TimestampType => DataType::Int32,
            Self::Offset | Self::Line => DataType::Int64,
            Self::Timestamp | Self::Modified => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            Self::Key => DataType::Binary,
            Self::Headers => {
                let header = Fields::from(vec![
                    Field::new("key", DataType::Utf8, true),
                    Field::new("value", DataType::Binary, true),
                ]);
                DataType::List(Arc::new(Field::new("element", DataType::Struct(header), true)))
            }
        }
    }

    /// A column of it with the name `name`. Nullable: not every source knows everything.
    pub fn field(self, name: &str) -> Field {
        Field::new(name, self.data_type(), true)
    }
}

impl FromStr for MetadataColumn {
    type Err = ();

    /// By [`MetadataColumn::name`].
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|column| column.name() == name).ok_or(())
    }
}

/// The schema of Spark's Kafka source (with `includeHeaders`), which the raw format has if no
/// columns are declared: `key BINARY, value BINARY, topic STRING, partition INT, offset BIGINT,
/// timestamp TIMESTAMP, timestampType INT, headers ARRAY<STRUCT<key: STRING, value: BINARY>>`.
pub fn raw_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        MetadataColumn::Key.field("key"),
        Field::new("value", DataType::Binary, true),
        MetadataColumn::Topic.field("topic"),
        MetadataColumn::Partition.field("partition"),
        MetadataColumn::Offset.field("offset"),
        MetadataColumn::Timestamp.field("timestamp"),
        MetadataColumn::TimestampType.field("timestampType"),
        MetadataColumn::Headers.field("headers"),
    ]))
}

/// Checks that a column can hold what is asked of it.
pub(super) fn check_type(what: MetadataColumn, field: &Field) -> Result<(), CodecError> {
    let declared = field.data_type();
    let holds = match what {
        MetadataColumn::Key => matches!(declared, DataType::Binary | DataType::Utf8),
        MetadataColumn::Headers => match declared {
            // The names and the nullability of the parts are the declaration's.
            DataType::List(element) => match element.data_type() {
                DataType::Struct(parts) => {
                    parts.len() == 2
                        && *parts[0].data_type() == DataType::Utf8
                        && *parts[1].data_type() == DataType::Binary
                        && parts[1].is_nullable()
                }
                _ => false,
            },
            _ => false,
        },
        _ => *declared == what.data_type(),
    };
    if holds {
        return Ok(());
    }
    let problem = format!(
        "column \"{}\" is declared {declared}, but the record's {} is {}",
        field.name(),
        what.name(),
        what.data_type()
    );
    Err(CodecError::Option { option: "metadata", problem })
}

/// Appends what is asked for of the record to its column, which must have passed [`check_type`].
/// Returns how many bytes and elements that were.
pub(super) fn push(
    what: MetadataColumn,
    column: &mut Column,
    record: &Record<'_>,
) -> Result<usize, RecordError> {
    let meta = &record.meta;
    match what {
        MetadataColumn::Topic => text(column, meta.topic),
        MetadataColumn::File => text(column, meta.file),
        MetadataColumn::Partition => or_null(column, meta.partition, Column::push_i32),
        MetadataColumn::Offset => or_null(column, Some(record.offset), Column::push_i64),
        MetadataColumn::Timestamp => or_null(column, meta.timestamp_us(), Column::push_i64),
        MetadataColumn::TimestampType => {
            or_null(column, Some(meta.timestamp_type().code()), Column::push_i32)
        }
        MetadataColumn::Key => bytes(column, record.key),
        MetadataColumn::Headers => headers(column, record),
        MetadataColumn::Line => {
            let line = meta.line.map(|line| i64::try_from(line).unwrap_or(i64::MAX));
            or_null(column, line, Column::push_i64)
        }
        MetadataColumn::Modified => or_null(column, meta.modified_us, Column::push_i64),
    }
}

fn or_null<T>(
    column: &mut Column,
    value: Option<T>,
    push: impl FnOnce(&mut Column, T) -> bool,
) -> Result<usize, RecordError> {
    match value {
        Some(value) => {
            push(column, value);
        }
        None => null(column)?,
    }
    Ok(0)
}

fn null(column: &mut Column) -> Result<(), RecordError> {
    if column.append_null() {
        return Ok(());
    }
    Err(RecordError::new(Reason::NullNotAllowed, 0).at(&column.path))
}

fn text(column: &mut Column, value: Option<&str>) -> Result<usize, RecordError> {
    bytes(column, value.map(str::as_bytes))
}

/// Appends bytes to a BINARY or, if they are UTF-8, to a STRING.
pub(super) fn bytes(column: &mut Column, value: Option<&[u8]>) -> Result<usize, RecordError> {
    let Some(value) = value else { return null(column).map(|()| 0) };
    if value.len() > MAX_RECORD_VOLUME / 4 {
        return Err(RecordError::new(Reason::Oversized, 0).at(&column.path));
    }
    if let Values::Utf8(_) = column.values
        && let Err(error) = std::str::from_utf8(value)
    {
        let fault = RecordError::new(Reason::InvalidUtf8, error.valid_up_to());
        return Err(fault.at(&column.path));
    }
    column.push_bytes(value);
    Ok(value.len())
}

fn headers(column: &mut Column, record: &Record<'_>) -> Result<usize, RecordError> {
    let mut volume = 0;
    if let Values::List(_, element) = &mut column.values {
        for header in record.meta.headers() {
            if let Values::Struct(parts) = &mut element.values
                && let [key, value] = parts.as_mut_slice()
            {
                volume += 1 + header.key.len() + header.value.map_or(0, <[u8]>::len);
                if volume > MAX_RECORD_VOLUME / 4 {
                    return Err(RecordError::new(Reason::Oversized, 0).at(&column.path));
                }
                key.push_bytes(header.key.as_bytes());
                match header.value {
                    Some(bytes) => {
                        value.push_bytes(bytes);
                    }
                    None => value.push_null(),
                }
            }
            element.end_container();
        }
    }
    column.end_container();
    Ok(volume)
}
