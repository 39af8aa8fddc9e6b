//! Rows to records.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use rdkafka::message::{Header, OwnedHeaders};

use super::{KafkaHeaders, KafkaOptions, KafkaValue};
use crate::codec::{AvroEncoding, CodecError, EncodedRows, Encoder, EncodingSpec};
use crate::sink::error::SinkError;
use crate::sink::json::{JsonColumn, JsonRows};
use crate::sink::target::TargetContext;

/// Which column goes where.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    topic: Option<String>,
    topic_column: Option<usize>,
    key: Option<usize>,
    headers: Headers,
    partition: Option<usize>,
    timestamp: Option<usize>,
    tombstone: Option<usize>,
    value: Value,
}

#[derive(Clone, Debug)]
enum Headers {
    None,
    Map(usize),
    List(usize),
    Columns(Vec<(String, usize)>),
}

#[derive(Clone, Debug)]
enum Value {
    Json(Vec<usize>),
    Avro(Avro),
    Column(usize),
}

#[derive(Clone, Debug)]
struct Avro {
    columns: Vec<usize>,
    schema: SchemaRef,
    encoding: AvroEncoding,
    /// Made when it is first needed, as the registry has to be asked for that.
    encoder: Arc<Mutex<Option<Encoder>>>,
    target: String,
}

impl Layout {
    /// Finds the columns; all problems at once.
    pub fn new(options: &KafkaOptions, context: &TargetContext) -> Result<Self, SinkError> {
        let mut problems = Vec::new();
        let mut find =
            |what: &str, name: &Option<String>, fits: &dyn Fn(&DataType) -> bool, kind: &str| {
                let name = name.as_ref()?;
                match context.schema.index_of(name) {
                    Err(_) => {
                        problems.push(format!("{what} `{name}` is no column of the query"));
                        None
                    }
                    Ok(index) if !fits(context.schema.field(index).data_type()) => {
                        let found = context.schema.field(index).data_type();
                        problems.push(format!("{what} `{name}` is {found}; it has to be {kind}"));
                        None
                    }
                    Ok(index) => Some(index),
                }
            };
        let text = |kind: &DataType| *kind == DataType::Utf8;
        let bytes = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Binary);
        let whole = |kind: &DataType| {
            matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
        };
        let map = |kind: &DataType| match kind {
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry) => {
                    entry.len() == 2 && text(entry[0].data_type()) && bytes(entry[1].data_type())
                }
                _ => false,
            },
            _ => false,
        };
        let list = |kind: &DataType| match kind {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(pair) => {
                    let field = |name: &str| pair.iter().find(|field| field.name() == name);
                    pair.len() == 2
                        && field("key").is_some_and(|key| text(key.data_type()))
                        && field("value").is_some_and(|value| bytes(value.data_type()))
                }
                _ => false,
            },
            _ => false,
        };
        let topic_column = find("topic_column", &options.topic_column, &text, "STRING");
        let key = find("key", &options.key, &|_| true, "");
        let partition = find("partition_column", &options.partition_column, &whole, "INT");
        let timestamp = find(
            "timestamp_column",
            &options.timestamp_column,
            &|kind| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _)),
            "a TIMESTAMP",
        );
        let tombstone = find(
            "tombstone_column",
            &options.tombstone_column,
            &|kind| *kind == DataType::Boolean,
            "BOOLEAN",
        );
        let headers = match &options.headers {
            KafkaHeaders::None => Headers::None,
            KafkaHeaders::Column(name) => {
                let kind = "a MAP<STRING, STRING or BINARY>, or an ARRAY<STRUCT<key: STRING, value: \
                            STRING or BINARY>>";
                let fits = |kind: &DataType| map(kind) || list(kind);
                match find("header column", &Some(name.clone()), &fits, kind) {
                    None => Headers::None,
                    Some(index) if map(context.schema.field(index).data_type()) => {
                        Headers::Map(index)
                    }
                    Some(index) => Headers::List(index),
                }
            }
            KafkaHeaders::Columns(names) => {
                let columns = names.iter().filter_map(|name| {
                    let column = find("header column", &Some(name.clone()), &|_| true, "")?;
                    Some((name.clone(), column))
                });
                Headers::Columns(columns.collect())
            }
        };
        let elsewhere = |column: &usize| match &headers {
            Headers::None => false,
            Headers::Map(header) | Headers::List(header) => header == column,
            Headers::Columns(columns) => columns.iter().any(|(_, header)| header == column),
        };
        let left = || -> Vec<usize> {
            (0..context.schema.fields().len())
                .filter(|column| {
                    let here = Some(*column);
                    here != topic_column
                        && here != partition
                        && here != tombstone
                        && !elsewhere(column)
                })
                .collect()
        };
        let value = match &options.value {
            KafkaValue::Json => Value::Json(left()),
            KafkaValue::Avro { registry, subject } => {
                let columns = left();
                let schema = context.schema.project(&columns).map_err(SinkError::internal)?;
                let topic = options.topic.as_deref().unwrap_or_default();
                let subject = subject.clone().unwrap_or_else(|| format!("{topic}-value"));
                Value::Avro(Avro {
                    columns,
                    schema: Arc::new(schema),
                    encoding: AvroEncoding {
                        registry: Some((registry.clone(), subject)),
                        name: record_name(topic),
                    },
                    encoder: Arc::default(),
                    target: format!("the topic {}", options.address()),
                })
            }
            KafkaValue::Column(name) => {
                let column = find("value", &Some(name.clone()), &bytes, "STRING or BINARY");
                Value::Column(column.unwrap_or_default())
            }
        };
        if options.topic.is_none() && options.topic_column.is_none() {
            problems.push("neither `topic` nor `topic_column` is set".to_owned());
        }
        if let Some(topic) = &options.topic
            && let Some(problem) = bad_topic(topic)
        {
            problems.push(format!("topic \"{topic}\" {problem}"));
        }
        if !problems.is_empty() {
            return Err(SinkError::Definition { sink: context.sink.clone(), problems });
        }
        Ok(Self {
            topic: options.topic.clone(),
            topic_column,
            key,
            headers,
            partition,
            timestamp,
            tombstone,
            value,
        })
    }

    /// Ready to make records of the rows of `batch`.
    pub fn records<'a>(&'a self, batch: &'a RecordBatch) -> Result<Records<'a>, SinkError> {
        let column = |index: usize| Cell::new(batch.column(index));
        let headers = match &self.headers {
            Headers::None => Fields::None,
            Headers::Map(index) => {
                let map = batch.column(*index).as_map();
                let offsets = map.value_offsets();
                let (keys, values) = (Cell::new(map.keys())?, Cell::new(map.values())?);
                Fields::Entries { of: batch.column(*index), offsets, nulls: None, keys, values }
            }
            Headers::List(index) => {
                let list = batch.column(*index).as_list::<i32>();
                let pairs = list.values().as_struct();
                let field = |name: &str| {
                    let column = pairs.column_by_name(name);
                    Cell::new(column.ok_or_else(|| SinkError::internal("a header without a key"))?)
                };
                let (offsets, keys, values) =
                    (list.value_offsets(), field("key")?, field("value")?);
                let nulls = pairs.nulls();
                Fields::Entries { of: batch.column(*index), offsets, nulls, keys, values }
            }
            Headers::Columns(columns) => Fields::Columns(
                columns
                    .iter()
                    .map(|(name, index)| Ok((name.as_str(), column(*index)?)))
                    .collect::<Result<_, SinkError>>()?,
            ),
        };
        Ok(Records {
            topic: self.topic.as_deref(),
            topics: self.topic_column.map(|index| batch.column(index)),
            key: self.key.map(column).transpose()?,
            headers,
            partition: self
                .partition
                .map(|index| cast(batch.column(index), &DataType::Int32))
                .transpose()
                .map_err(SinkError::internal)?,
            timestamp: self.timestamp.map(|index| batch.column(index)),
            tombstone: self.tombstone.map(|index| batch.column(index)),
            value: match &self.value {
                Value::Json(columns) => {
                    Payload::Json(JsonRows::new(batch, columns.iter().copied())?)
                }
                Value::Avro(avro) => Payload::Encoded(avro.encode(batch)?),
                Value::Column(index) => Payload::Column(column(*index)?),
            },
        })
    }

    /// Registers the schema of values that have one. Blocks for as long as that takes.
    pub fn register(&self) -> Result<(), SinkError> {
        match &self.value {
            Value::Avro(avro) => avro.with_encoder(|_| Ok(())),
            Value::Json(_) | Value::Column(_) => Ok(()),
        }
    }
}

impl Avro {
    fn encode(&self, batch: &RecordBatch) -> Result<EncodedRows, SinkError> {
        let batch = batch.project(&self.columns).map_err(SinkError::internal)?;
        self.with_encoder(|encoder| encoder.encode(&batch))
    }

    fn with_encoder<T>(
        &self,
        work: impl FnOnce(&mut Encoder) -> Result<T, CodecError>,
    ) -> Result<T, SinkError> {
        // An encoder throws away what a failure has left in it.
        let mut kept = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let encoder = match &mut *kept {
            Some(encoder) => Ok(encoder),
            none => Encoder::new(&self.schema, &EncodingSpec::Avro(self.encoding.clone()))
                .map(|encoder| none.insert(encoder)),
        };
        encoder.and_then(work).map_err(|error| {
            let (target, reason) = (self.target.clone(), error.to_string());
            match error.is_transient() {
                true => SinkError::Unavailable { target, reason },
                false => SinkError::Rejected { target, reason },
            }
        })
    }
}

/// The name of the records of a topic's values. Readers may go by it, so it must not change with
/// anything else; Avro allows letters, digits and `_` in it.
fn record_name(topic: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = topic.chars().map(allowed).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name
    } else {
        format!("_{name}")
    }
}

/// What Kafka says of a topic's name, or nothing.
fn bad_topic(topic: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match topic {
        "" => Some("is empty"),
        "." | ".." => Some("is no name"),
        _ if topic.len() > 249 => Some("is longer than 249 characters"),
        _ if !topic.chars().all(legal) => {
            Some("has characters other than letters, digits, '.', '_' and '-'")
        }
        _ => None,
    }
}

/// The bytes of a column's values.
struct Cell<'a> {
    array: &'a ArrayRef,
    /// For types that are neither text nor bytes.
    other: Option<JsonColumn>,
}

impl<'a> Cell<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, SinkError> {
        let other = match array.data_type() {
            DataType::Utf8 | DataType::Binary => None,
            _ => Some(JsonColumn::new(array)?),
        };
        Ok(Self { array, other })
    }

    /// `scratch` is used for values that have no bytes of their own.
    fn bytes<'b>(&'b self, row: usize, scratch: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        if self.array.is_null(row) {
            return None;
        }
        Some(match (&self.other, self.array.data_type()) {
            (Some(other), _) => {
                scratch.clear();
                other.write_text(row, scratch);
                scratch
            }
            (None, DataType::Utf8) => self.array.as_string::<i32>().value(row).as_bytes(),
            (None, _) => self.array.as_binary::<i32>().value(row),
        })
    }
}

enum Fields<'a> {
    None,
    /// A map, or a list of pairs.
    Entries {
        of: &'a ArrayRef,
        offsets: &'a [i32],
        /// Which pairs of a list are NULL.
        nulls: Option<&'a NullBuffer>,
        keys: Cell<'a>,
        values: Cell<'a>,
    },
    Columns(Vec<(&'a str, Cell<'a>)>),
}

enum Payload<'a> {
    Json(JsonRows),
    Encoded(EncodedRows),
    Column(Cell<'a>),
}

/// Makes records of the rows of one batch.
pub(super) struct Records<'a> {
    topic: Option<&'a str>,
    topics: Option<&'a ArrayRef>,
    key: Option<Cell<'a>>,
    headers: Fields<'a>,
    partition: Option<ArrayRef>,
    timestamp: Option<&'a ArrayRef>,
    tombstone: Option<&'a ArrayRef>,
    value: Payload<'a>,
}

/// Space for what a record borrows.
#[derive(Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// One record.
pub(super) struct Record<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Option<OwnedHeaders>,
}

impl Records<'_> {
    /// The record of a row; an error says what is wrong with the row.
    pub fn record<'b>(
        &'b self,
        row: usize,
        scratch: &'b mut Scratch,
    ) -> Result<Record<'b>, String> {
        let named = self
            .topics
            .filter(|topics| topics.is_valid(row))
            .map(|topics| topics.as_string::<i32>().value(row));
        let topic = named.or(self.topic).ok_or("its topic is NULL, and no `topic` is set")?;
        if let Some(problem) = named.and_then(bad_topic) {
            return Err(format!("its topic \"{topic}\" {problem}"));
        }
        let partition = match self.partition.as_ref().filter(|column| column.is_valid(row)) {
            None => None,
            Some(column) => match column.as_primitive::<Int32Type>().value(row) {
                number @ 0.. => Some(number),
                number => return Err(format!("its partition is {number}")),
            },
        };
        let timestamp = match self.timestamp.filter(|column| column.is_valid(row)) {
            None => None,
            Some(column) => {
                let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
                match us.div_euclid(1000) {
                    ms @ 0.. => Some(ms),
                    _ => return Err("its timestamp is before 1970, which Kafka cannot hold".into()),
                }
            }
        };
        let headers = self.headers(row);
        let Scratch { key, value } = scratch;
        let key = self.key.as_ref().and_then(|column| column.bytes(row, key));
        let dead = self.tombstone.is_some_and(|dead| {
            let dead = dead.as_boolean();
            dead.is_valid(row) && dead.value(row)
        });
        let value = match &self.value {
            _ if dead => None,
            Payload::Column(column) => column.bytes(row, value),
            Payload::Encoded(rows) => Some(rows.row(row)),
            Payload::Json(rows) => {
                value.clear();
                rows.write(row, value);
                Some(value.as_slice())
            }
        };
        Ok(Record { topic, partition, timestamp, key, value, headers })
    }

    fn headers(&self, row: usize) -> Option<OwnedHeaders> {
        let mut scratch = Vec::new();
        match &self.headers {
            Fields::None => None,
            Fields::Columns(columns) => {
                let mut headers = OwnedHeaders::new_with_capacity(columns.len());
                for (key, column) in columns {
                    if let Some(value) = column.bytes(row, &mut scratch) {
                        headers = headers.insert(Header { key, value: Some(value) });
                    }
                }
                Some(headers)
            }
            Fields::Entries { of, offsets, nulls, keys, values } => {
                if of.is_null(row) {
                    return None;
                }
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let mut headers = OwnedHeaders::new_with_capacity(end - start);
                for entry in start..end {
                    // A list may hold NULL, and a key may be: a header has a key.
                    if keys.array.is_null(entry) || nulls.is_some_and(|nulls| nulls.is_null(entry))
                    {
                        continue;
                    }
                    let key = keys.array.as_string::<i32>().value(entry);
                    headers =
                        headers.insert(Header { key, value: values.bytes(entry, &mut scratch) });
                }
                Some(headers)
            }
        }
    }
}
