//! `[queries.NAME.sink]`: where a query's rows go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::secret::{OptionValue, Secret};
use super::format::{RegistrySettings, TimestampSetting};

/// `type` and the keys that belong to it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkSettings {
    Delta(DeltaSinkSettings),
    Kafka(KafkaSinkSettings),
    Postgres(PostgresSinkSettings),
    Files(FilesSinkSettings),
    Console(ConsoleSinkSettings),
    Memory(MemorySinkSettings),
}

impl SinkSettings {
    /// As `type` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delta(_) => "delta",
            Self::Kafka(_) => "kafka",
            Self::Postgres(_) => "postgres",
            Self::Files(_) => "files",
            Self::Console(_) => "console",
            Self::Memory(_) => "memory",
        }
    }
}

/// The keys of a sink of `type = "delta"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeltaSinkSettings {
    /// The table's directory, relative to the working directory, or its `file://` address.
    pub path: String,
    /// Columns, outermost directory first.
    pub partition_by: Vec<String>,
    /// Of mode `update`: the columns by which a row replaces another. None: the query's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    pub compression: Compression,
    /// Bytes at which a Parquet file is closed and the next begun. Default 64 MiB.
    pub target_file_size: usize,
    /// `evolve = "add"`: columns that the table lacks are added to it, nullable.
    pub evolve: bool,
    /// A checkpoint of the Delta log is written every so many commits. Default 10.
    pub checkpoint_interval: u64,
    /// Delta table properties, set when the table is created.
    pub properties: BTreeMap<String, String>,
}

/// Of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Snappy,
    Lz4,
    /// With its level, 1 to 22.
    Zstd(i32),
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Snappy => serializer.serialize_str("snappy"),
            Self::Lz4 => serializer.serialize_str("lz4"),
            Self::Zstd(level) => serializer.collect_str(&format_args!("zstd({level})")),
        }
    }
}

/// The keys of a sink of `type = "kafka"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaSinkSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    #[serde(flatten)]
    pub topic: KafkaTopic,
    #[serde(flatten)]
    pub key: KafkaKey,
    #[serde(flatten)]
    pub headers: KafkaHeaders,
    pub value: KafkaValue,
    /// How TIMESTAMP columns are written in JSON; auto: RFC 3339. Default auto.
    pub timestamps: TimestampSetting,
    /// A TIMESTAMP column that becomes the record's own timestamp; none: when it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_column: Option<String>,
    /// Default: made of the names of the pipeline and the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactional_id: Option<String>,
    /// `[queries.NAME.sink.options]`: passed to librdkafka's producer as they are. Holds none
    /// that Millpond sets itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, OptionValue>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum KafkaTopic {
    #[serde(rename = "topic")]
    Fixed(String),
    /// A STRING column that names each row's topic.
    #[serde(rename = "topic_column")]
    Column(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaKey {
    /// Neither `key` nor `key_column` is given: with mode `update` the query's groups, as
    /// [`Columns`](Self::Columns); else records have no key.
    None,
    /// `key`: a JSON object of these columns.
    Columns(Vec<String>),
    /// `key_column`: one column as it is: STRING or BINARY, others as text.
    Column(String),
}

impl Serialize for KafkaKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::None => {}
            Self::Columns(columns) => map.serialize_entry("key", columns)?,
            Self::Column(column) => map.serialize_entry("key_column", column)?,
        }
        map.end()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum KafkaHeaders {
    /// Each of these columns is a header of its name, NULLs are left out; may be empty.
    #[serde(rename = "headers")]
    Columns(Vec<String>),
    /// One column of MAP<STRING, STRING or BINARY>, or as Spark's `headers`.
    #[serde(rename = "headers_column")]
    Column(String),
}

/// What a record's value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KafkaValue {
    /// An object of all columns but those that are topic, `key_column`, headers or timestamp.
    Json,
    /// The same columns in Avro, framed with the id of their schema.
    Avro {
        registry: RegistrySettings,
        /// Default `<topic>-value`; required with `topic_column`.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
    },
    /// One STRING or BINARY column as it is; NULL is a tombstone.
    Column(String),
}

/// The keys of a sink of `type = "postgres"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostgresSinkSettings {
    #[serde(flatten)]
    pub connection: PostgresConnection,
    /// The table's name, after its schema and a dot if it is not in the search path.
    pub table: String,
    pub mode: PostgresMode,
    /// Of mode `upsert`: the columns by which a row replaces another. None: the query's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Whether the table is made if it is not there. Default true.
    pub create_table: bool,
    /// Default prefer.
    pub tls: PostgresTls,
    /// Certificates to trust, PEM; none: those of the system. Of tls `verify` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Rows sent to the server at once. Default 10,000.
    pub batch_rows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PostgresConnection {
    /// `postgres://…` or `key=value …`, with a password in it as likely as not. Has no `sslmode`.
    Url { url: Secret },
    Parts {
        /// A name or an address, or the directory of a Unix socket.
        host: String,
        port: u16,
        user: String,
        password: Option<Secret>,
        database: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresMode {
    /// Rows are inserted.
    Append,
    /// Rows replace those of the same key.
    Upsert,
}

/// As libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresTls {
    Disable,
    /// If the server offers it; its certificate is not checked.
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; certificate and name are checked (`verify-full`).
    Verify,
}

/// The keys of a sink of `type = "files"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilesSinkSettings {
    /// A directory, made if it is not there.
    pub path: String,
    #[serde(flatten)]
    pub format: FilesFormat,
    /// Columns, outermost directory first (`date=2026-11-21/`).
    pub partition_by: Vec<String>,
    /// Bytes at which a file is closed and the next begun. Default 128 MiB.
    pub max_file_size: usize,
}

/// `format` and the keys that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum FilesFormat {
    /// JSON, one object a line.
    Ndjson {
        compression: TextCompression,
    },
    Csv {
        compression: TextCompression,
        /// Whether the first line of each file names the columns. Default true.
        header: bool,
        /// ASCII. Default `,`.
        #[serde(serialize_with = "super::format::serialize_ascii")]
        delimiter: u8,
    },
    Parquet {
        compression: Compression,
    },
}

/// Of whole files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCompression {
    None,
    Gzip,
    /// With its level, 1 to 22.
    Zstd(i32),
}

impl Serialize for TextCompression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Gzip => serializer.serialize_str("gzip"),
            Self::Zstd(level) => serializer.collect_str(&format_args!("zstd({level})")),
        }
    }
}

/// The keys of a sink of `type = "console"`: as Spark prints a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsoleSinkSettings {
    /// Longer values are cut to so many characters; `None`: never (`false`). Default 20 (`true`).
    pub truncate: Option<usize>,
    /// Rows shown of a trigger. Default 20.
    pub rows: usize,
    /// Whether each column has a line of its own. Default false.
    pub vertical: bool,
}

/// The keys of a sink of `type = "memory"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemorySinkSettings {
    /// The newest rows that are kept. Default 10,000.
    pub max_rows: usize,
}
