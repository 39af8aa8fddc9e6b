//! `[queries.NAME.sink]`: where a query's rows go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::secret::{OptionValue, Secret};
use super::super::units::serialize_duration;
use super::format::RegistrySettings;
use super::upkeep::UpkeepKeys;

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
    /// The table's directory, relative to the working directory, or its address: `file://`,
    /// `s3://`, `abfss://`, `gs://` ...
    pub path: String,
    /// `storage`, over `[storage]`: options of its object store, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// What the catalogue calls the table: `schema.table`, or `table` in the pipeline's schema.
    /// None: after the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
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
    /// What becomes of rows whose columns have other types than the table. Default `refuse`.
    pub on_type_change: TypeChange,
    /// A checkpoint of the Delta log is written every so many commits. Default 10.
    pub checkpoint_interval: u64,
    /// Delta table properties, set when the table is created.
    pub properties: BTreeMap<String, String>,
    /// `upkeep`: what is to be different from `[upkeep]` for this table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<Box<UpkeepKeys>>,
}

/// `on_type_change`: a column has another type than in the table that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeChange {
    /// The pipeline does not start.
    #[default]
    Refuse,
    /// Rows whose values the table's types hold are written, others go to the dead letters.
    DeadLetter,
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
    /// The topic of rows whose `topic_column` is NULL, or that have none; and the one under whose
    /// name the epochs are remembered.
    pub topic: String,
    /// A STRING column that names each row's topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_column: Option<String>,
    /// `key` or `key_column`: STRING and BINARY as they are, others as text. None: no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(flatten)]
    pub headers: KafkaHeaders,
    pub value: KafkaValue,
    /// An INT column with the partition; NULL or none: by the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_column: Option<String>,
    /// A TIMESTAMP column with the record's own time; NULL or none: when it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_column: Option<String>,
    /// A BOOLEAN column: where it is true, the record has no value (a tombstone).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstone_column: Option<String>,
    /// How long a transaction may take before the brokers give it up. Default 60 s.
    #[serde(serialize_with = "serialize_duration")]
    pub transaction_timeout: Duration,
    /// `[queries.NAME.sink.options]`: passed to librdkafka's producer as they are. Holds none
    /// that Millpond sets itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, OptionValue>,
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
    /// An object of the columns that have no other place in the record; the key stays in it.
    Json,
    /// The same columns in Avro, framed with the id of their schema.
    Avro {
        registry: RegistrySettings,
        /// Default `<topic>-value`.
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
    /// The table's name, after its schema and a dot if it is not in the search path. Parts in
    /// double quotes are taken as they are.
    pub table: String,
    /// Default upsert for queries of mode `update`, else append. Of no meaning with mode
    /// `complete`, where the rows of each trigger replace all those of the table.
    pub mode: PostgresMode,
    /// Of mode `upsert`: the columns by which a row replaces another. None: the query's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Whether the table is made if it is not there. Default true.
    pub create_table: bool,
    /// None: what `url` says as `sslmode`, or else prefer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PostgresTls>,
    /// Certificates to trust, PEM; none: those of the system. Of tls `verify` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long connecting may take. Default 10 s.
    #[serde(serialize_with = "serialize_duration")]
    pub connect_timeout: Duration,
    /// How long another transaction's locks are waited for. Default 30 s.
    #[serde(serialize_with = "serialize_duration")]
    pub lock_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PostgresConnection {
    /// `postgres://…` or `key=value …`, with a password in it as likely as not. Has an `sslmode`
    /// only where `tls` is not given.
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

impl PostgresSinkSettings {
    /// All of how to connect as one of libpq's strings: `sslmode` and `sslrootcert` are in it if
    /// `tls` or `ca_file` say so.
    pub fn connection_string(&self) -> Secret {
        let mut extra: Vec<(&str, String)> = Vec::new();
        if let Some(tls) = self.tls {
            let mode = match tls {
                PostgresTls::Disable => "disable",
                PostgresTls::Prefer => "prefer",
                PostgresTls::Require => "require",
                PostgresTls::Verify => "verify-full",
            };
            extra.push(("sslmode", mode.to_owned()));
        }
        if let Some(file) = &self.ca_file {
            extra.push(("sslrootcert", file.to_string_lossy().into_owned()));
        }
        let mut text = match &self.connection {
            PostgresConnection::Url { url } if url.expose().contains("://") => {
                let mut text = url.expose().to_owned();
                let mut separator = if text.contains('?') { '&' } else { '?' };
                for (key, value) in extra {
                    let value: String =
                        url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                    // A plus is itself in libpq's addresses, and `%20` a space.
                    text.push_str(&format!("{separator}{key}={}", value.replace('+', "%20")));
                    separator = '&';
                }
                return Secret::new(text);
            }
            PostgresConnection::Url { url } => url.expose().to_owned(),
            PostgresConnection::Parts { host, port, user, password, database } => {
                let mut parts = vec![
                    ("host", host.clone()),
                    ("port", port.to_string()),
                    ("user", user.clone()),
                    ("dbname", database.clone()),
                ];
                if let Some(password) = password {
                    parts.push(("password", password.expose().to_owned()));
                }
                written(&parts)
            }
        };
        if !extra.is_empty() {
            text.push(' ');
            text.push_str(&written(&extra));
        }
        Secret::new(text)
    }
}

/// `key='value'` pairs, as libpq quotes them.
fn written(pairs: &[(&str, String)]) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}='{}'", quoted(value))).collect();
    pairs.join(" ")
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
    /// A file is closed after so many rows and the next begun. Default 10,000,000.
    pub max_file_rows: u64,
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
