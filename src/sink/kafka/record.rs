//! Rows to records.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, TimeUnit, TimestampMicrosecondType};
use rdkafka::message::{Header, OwnedHeaders};

use crate::codec::{EncodedRows, Encoder};

use super::{KafkaHeaders, KafkaOptions, KafkaValue};
use crate::sink::console::Renderer;
use crate::sink::encode::{JsonValues, json_objection};
use crate::sink::error::SinkError;
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
    Columns(Vec<(String, usize)>),
}

#[derive(Clone, Debug)]
enum Value {
    /// These columns, encoded.
    Encoded(Vec<usize>),
    Column(usize),
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
            DataType::Map(entries, _) | DataType::List(entries) => match entries.data_type() {
                DataType::Struct(entry) => {
                    entry.len() == 2 && text(entry[0].data_type()) && bytes(entry[1].data_type())
                }
                _ => false,
            },
            _ => false,
        };
        let topic_column = find("topic_column", &options.topic_column, &text, "STRING");
        // What is nested is written as JSON, which takes no other keys of maps than strings.
        let any = |kind: &DataType| {
            !kind.is_nested() || json_objection(&Field::new("", kind.clone(), true)).is_none()
        };
        let kind = "of a type that JSON has";
        let key = find("key", &options.key, &any, kind);
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
            KafkaHeaders::Map(name) => {
                let kind = "MAP<STRING, STRING or BINARY> or, as Spark's headers, \
                            ARRAY<STRUCT<key STRING, value STRING or BINARY>>";
                find("header column", &Some(name.clone()), &map, kind)
                    .map_or(Headers::None, Headers::Map)
            }
            KafkaHeaders::Columns(names) => {
                let columns = names.iter().filter_map(|name| {
                    let column = find("header column", &Some(name.clone()), &any, kind)?;
                    Some((name.clone(), column))
                });
                Headers::Columns(columns.collect())
            }
        };
        let value = match &options.value {
            KafkaValue::Json | KafkaValue::Avro(_) => {
                let elsewhere = |column: &usize| match &headers {
                    Headers::None => false,
                    Headers::Map(header) => header == column,
                    Headers::Columns(columns) => columns.iter().any(|(_, header)| header == column),
                };
                let columns = 0..context.schema.fields().len();
                Value::Encoded(
                    columns
                        .filter(|column| {
                            let here = Some(*column);
                            here != topic_column
                                && here != partition
                                && here != tombstone
                                && !elsewhere(column)
                        })
                        .collect(),
                )
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

    /// The columns that are encoded into the value, if it is not one of them as it is.
    pub fn encoded(&self) -> Option<&[usize]> {
        match &self.value {
            Value::Encoded(columns) => Some(columns),
            Value::Column(_) => None,
        }
    }

    /// Ready to make records of the rows of `batch`. `encoder` is for the columns of
    /// [`Layout::encoded`].
    pub fn records<'a>(
        &'a self,
        batch: &'a RecordBatch,
        encoder: Option<&mut Encoder>,
    ) -> Result<Records<'a>, SinkError> {
        let column = |index: usize| Cell::new(batch.column(index));
        let headers = match &self.headers {
            Headers::None => Fields::None,
            Headers::Map(index) => {
                let array = batch.column(*index);
                let (offsets, entries) = match array.data_type() {
                    DataType::Map(_, _) => {
                        let map = array.as_map();
                        (map.offsets().clone(), map.entries())
                    }
                    _ => {
                        let list = array.as_list::<i32>();
                        (list.offsets().clone(), list.values().as_struct())
                    }
                };
                let (keys, values) = (Cell::new(entries.column(0))?, Cell::new(entries.column(1))?);
                Fields::Entries { array, offsets, keys, values }
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
            value: match (&self.value, encoder) {
                (Value::Column(index), _) => Payload::Column(column(*index)?),
                (Value::Encoded(columns), Some(encoder)) => {
                    let rows = batch.project(columns).map_err(SinkError::internal)?;
                    Payload::Encoded(encoder.encode(&rows).map_err(SinkError::internal)?)
                }
                (Value::Encoded(_), None) => {
                    return Err(SinkError::internal("a value without an encoder"));
                }
            },
        })
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
    form: Form,
}

/// How values become bytes.
enum Form {
    /// STRING and BINARY: as they are.
    AsIs,
    /// As `CAST(... AS STRING)` writes them in Spark.
    Text(Renderer),
    /// Lists, structs and maps.
    Json(JsonValues),
}

impl<'a> Cell<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, SinkError> {
        let form = match array.data_type() {
            DataType::Utf8 | DataType::Binary => Form::AsIs,
            kind if kind.is_nested() => Form::Json(JsonValues::new(array)?),
            _ => Form::Text(Renderer::new(array).map_err(SinkError::internal)?),
        };
        Ok(Self { array, form })
    }

    /// `scratch` is used for values that have no bytes of their own.
    fn bytes<'b>(&'b self, row: usize, scratch: &'b mut String) -> Option<&'b [u8]> {
        if self.array.is_null(row) {
            return None;
        }
        Some(match (&self.form, self.array.data_type()) {
            (Form::Text(renderer), _) => {
                scratch.clear();
                renderer.write(row, scratch);
                scratch.as_bytes()
            }
            (Form::Json(values), _) => values.value(row),
            (Form::AsIs, DataType::Utf8) => self.array.as_string::<i32>().value(row).as_bytes(),
            (Form::AsIs, _) => self.array.as_binary::<i32>().value(row),
        })
    }
}

enum Fields<'a> {
    None,
    Entries { array: &'a ArrayRef, offsets: OffsetBuffer<i32>, keys: Cell<'a>, values: Cell<'a> },
    Columns(Vec<(&'a str, Cell<'a>)>),
}

enum Payload<'a> {
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
    key: String,
    value: String,
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
        };
        Ok(Record { topic, partition, timestamp, key, value, headers })
    }

    fn headers(&self, row: usize) -> Option<OwnedHeaders> {
        let mut scratch = String::new();
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
            Fields::Entries { array, offsets, keys, values } => {
                if array.is_null(row) {
                    return None;
                }
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let mut headers = OwnedHeaders::new_with_capacity(end - start);
                for entry in start..end {
                    // A header has a name; one of Spark's that has none is none.
                    if keys.array.is_null(entry) {
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
