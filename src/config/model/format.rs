//! `[sources.NAME.format]`: how the bytes of an event become columns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use super::super::secret::Secret;
use super::super::units::serialize_duration;

/// `type` and the keys that belong to it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FormatSettings {
    /// One JSON object a record. The default, but for sockets.
    Json(JsonFormat),
    Csv(CsvFormat),
    /// One STRING column, `value` unless `schema` names it otherwise. The default of sockets.
    Text,
    /// Kafka's own columns, as Spark's source has them: all of them, or those that `schema`
    /// declares.
    Raw,
    Avro(AvroFormat),
    Protobuf(ProtobufFormat),
    JsonSchema(JsonSchemaFormat),
    Debezium(DebeziumFormat),
    /// Of `files` sources only.
    Parquet,
}

impl FormatSettings {
    /// As `type` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Csv(_) => "csv",
            Self::Text => "text",
            Self::Raw => "raw",
            Self::Avro(_) => "avro",
            Self::Protobuf(_) => "protobuf",
            Self::JsonSchema(_) => "json_schema",
            Self::Debezium(_) => "debezium",
            Self::Parquet => "parquet",
        }
    }
}

/// How texts become times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimeSettings {
    /// How TIMESTAMP columns are written, unless `columns` says otherwise. Default auto.
    pub timestamps: TimestampSetting,
    /// The zone of timestamps that name none. Default UTC.
    #[serde(serialize_with = "serialize_zone")]
    pub timezone: Tz,
    /// `[sources.NAME.format.columns]`: column to how its timestamps are written.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, TimestampSetting>,
}

impl Default for TimeSettings {
    fn default() -> Self {
        Self { timestamps: TimestampSetting::Auto, timezone: Tz::UTC, columns: BTreeMap::new() }
    }
}

fn serialize_zone<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

/// How a timestamp is written in the source's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampSetting {
    /// RFC 3339, or `yyyy-MM-dd HH:mm:ss[.f]` in the format's time zone.
    Auto,
    EpochSeconds,
    EpochMillis,
    EpochMicros,
}

/// The keys of `type = "json"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonFormat {
    #[serde(flatten)]
    pub times: TimeSettings,
    /// Fields that the schema does not declare. Default ignore.
    pub unknown_fields: UnknownFields,
}

impl Default for JsonFormat {
    fn default() -> Self {
        Self { times: TimeSettings::default(), unknown_fields: UnknownFields::Ignore }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    Ignore,
    Reject,
}

/// The keys of `type = "csv"`. Characters are ASCII, and differ from each other but for `quote`
/// and `escape`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CsvFormat {
    /// Default `,`.
    #[serde(serialize_with = "serialize_ascii")]
    pub delimiter: u8,
    /// Default `"`; `None`: nothing is quoted.
    #[serde(serialize_with = "serialize_optional_ascii")]
    pub quote: Option<u8>,
    /// Takes its meaning from a quote inside of quotes, as does doubling it. Default `\`.
    #[serde(serialize_with = "serialize_optional_ascii")]
    pub escape: Option<u8>,
    /// Of each file. Default none; other sources than files have none.
    pub header: CsvHeader,
    /// What stands for NULL, unquoted. Default nothing at all.
    pub null_value: String,
    /// Lines that begin with this are passed over. Default none.
    #[serde(serialize_with = "serialize_optional_ascii")]
    pub comment: Option<u8>,
    /// Whether a quoted value may go over several lines of a file. Default false, as Spark's.
    pub multiline: bool,
    /// Whether spaces and tabs around unquoted values are left out. Default false.
    pub trim: bool,
    /// Default strict.
    pub mode: CsvMode,
    #[serde(flatten)]
    pub times: TimeSettings,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: Some(b'\\'),
            header: CsvHeader::None,
            null_value: String::new(),
            comment: None,
            multiline: false,
            trim: false,
            mode: CsvMode::Strict,
            times: TimeSettings::default(),
        }
    }
}

/// What becomes of a row that does not fit the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CsvMode {
    /// It is a dead letter.
    Strict,
    /// What is missing or cannot be read is NULL, as Spark's `PERMISSIVE`.
    Permissive,
}

/// What the first line of a CSV file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CsvHeader {
    /// `header = false`: a row. Columns go by their order.
    None,
    /// `header = true`: the names of the columns, in the order of this file.
    Names,
    /// Passed over. Columns go by their order.
    Skip,
}

pub(super) fn serialize_ascii<S: Serializer>(
    character: &u8,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_char(char::from(*character))
}

fn serialize_optional_ascii<S: Serializer>(
    character: &Option<u8>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match character {
        Some(character) => serialize_ascii(character, serializer),
        None => serializer.serialize_str(""),
    }
}

/// Whether a record begins with the number of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// A zero byte, then the schema's id in four bytes, big endian (Protobuf: then the indexes of
    /// the message).
    Confluent,
    None,
}

/// A schema registry that speaks Confluent's HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistrySettings {
    /// `url`: one at least, `http://` or `https://`, without a user and without a `/` at its end;
    /// the next is tried where one does not answer.
    #[serde(rename = "url")]
    pub urls: Vec<String>,
    #[serde(flatten)]
    pub auth: RegistryAuth,
    /// Certificates to trust, PEM; none: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Of one request. Default 5 s.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RegistryAuth {
    None {},
    Basic { username: String, password: Secret },
    Bearer { token: Secret },
}

/// Where Avro and JSON schemas come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaOrigin {
    Registry(RegistrySettings),
    /// `schema_file`
    #[serde(rename = "schema_file")]
    File(PathBuf),
}

/// The keys of `type = "avro"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvroFormat {
    #[serde(flatten)]
    pub origin: SchemaOrigin,
    /// Default: confluent with a registry (where it is never none), none with a file.
    pub framing: Framing,
}

/// The keys of `type = "protobuf"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProtobufFormat {
    #[serde(flatten)]
    pub origin: ProtobufOrigin,
    /// The message's full name (`shop.v1.Order`). With a registry it may be left out: then each
    /// record says which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Default: confluent with a registry (where it is never none), none with a file.
    pub framing: Framing,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtobufOrigin {
    Registry(RegistrySettings),
    /// A `FileDescriptorSet`, as `protoc --include_imports --descriptor_set_out` writes it.
    DescriptorFile(PathBuf),
    /// A `.proto` file; what it imports is looked for in its own directory.
    ProtoFile(PathBuf),
}

/// The keys of `type = "json_schema"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonSchemaFormat {
    #[serde(flatten)]
    pub origin: SchemaOrigin,
    /// Default: confluent with a registry (where it is never none), none with a file.
    pub framing: Framing,
    /// Whether records that break their schema are dead letters. Default true.
    pub validate: bool,
    #[serde(flatten)]
    pub json: JsonFormat,
}

/// The keys of `type = "debezium"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DebeziumFormat {
    /// How the envelope is written.
    #[serde(flatten)]
    pub payload: DebeziumPayload,
    /// A STRING column with the operation (`c`, `u`, `d`, `r`), appended to the schema. None: a
    /// declared column `_op`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op_column: Option<String>,
    /// A TIMESTAMP column with the time of the change, appended to the schema. None: a declared
    /// column `_ts`, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts_column: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "payload", rename_all = "snake_case")]
pub enum DebeziumPayload {
    /// JSON, with Kafka Connect's `schema` beside the `payload` or without.
    Json {
        #[serde(flatten)]
        json: JsonFormat,
        /// Default text.
        decimals: DecimalSetting,
    },
    Avro(AvroFormat),
}

/// How Debezium writes decimals in JSON, where no schema beside the payload says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecimalSetting {
    /// Numbers, or strings of them (its `decimal.handling.mode` is `double` or `string`).
    Text,
    /// Base64 of the unscaled value (`precise`).
    Base64,
}
