//! How the bytes of a source's records become columns.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::codec::registry::{Registry, RegistryAuth, RegistryOptions};
use crate::codec::{
    AvroOptions, AvroSchema, AvroWriter, CodecError, CsvHeader, CsvMode, CsvOptions,
    DebeziumFormat, DebeziumOptions, DecimalFormat, FormatSpec, JsonOptions, JsonSchemaOptions,
    JsonSchemaSource, ProtobufOptions, ProtobufSchema, ProtobufSource, TimestampFormat,
    UnknownFields,
};
use crate::config::{
    self, AvroFormat, ConfigError, CsvFormat, DebeziumPayload, DecimalSetting, FormatSettings,
    Framing, JsonFormat, ProtobufFormat, ProtobufOrigin, RegistrySettings, SchemaOrigin, Settings,
    SourceSettings, TimeSettings, TimestampSetting,
};

use super::find_column;

/// Whose format it is: `[sources.NAME.format]` or `[tables.NAME.format]`.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// `sources` or `tables`.
    pub section: &'a str,
    /// Which of them.
    pub name: &'a str,
    /// A longer record is refused.
    pub max_record_bytes: usize,
}

impl<'a> Place<'a> {
    fn of(source: &'a SourceSettings) -> Self {
        Self { section: "sources", name: &source.name, max_record_bytes: source.max_record_bytes }
    }
}

pub(super) fn plan_format(
    settings: &Settings,
    source: &SourceSettings,
    format: &FormatSettings,
    schema: &SchemaRef,
) -> Result<Option<FormatSpec>, ConfigError> {
    Ok(Some(match format {
        FormatSettings::Json(json) => {
            FormatSpec::Json(json_options(settings, Place::of(source), json, schema)?)
        }
        FormatSettings::Csv(csv) => {
            FormatSpec::Csv(csv_options(settings, Place::of(source), csv, schema)?)
        }
        FormatSettings::Avro(avro) => FormatSpec::Avro(avro_options(settings, source, avro)?),
        FormatSettings::Text => FormatSpec::Text,
        FormatSettings::Raw => FormatSpec::Raw,
        FormatSettings::JsonSchema(format) => FormatSpec::JsonSchema(JsonSchemaOptions {
            schema: match &format.origin {
                SchemaOrigin::Registry(registry) => {
                    JsonSchemaSource::Registry(plan_registry(settings, source, registry)?)
                }
                SchemaOrigin::File(path) => JsonSchemaSource::Schema {
                    text: read_schema(settings, source, "schema_file", path, |text| {
                        Ok(Arc::from(text))
                    })?,
                    framed: format.framing == Framing::Confluent,
                },
            },
            validate: format.validate,
            json: json_options(settings, Place::of(source), &format.json, schema)?,
        }),
        FormatSettings::Protobuf(format) => {
            FormatSpec::Protobuf(protobuf_options(settings, source, format)?)
        }
        FormatSettings::Debezium(format) => {
            let inner = match &format.payload {
                DebeziumPayload::Json { json, decimals } => DebeziumFormat::Json {
                    json: json_options(settings, Place::of(source), json, schema)?,
                    decimals: match decimals {
                        DecimalSetting::Text => DecimalFormat::Text,
                        DecimalSetting::Base64 => DecimalFormat::Base64,
                    },
                },
                DebeziumPayload::Avro(avro) => {
                    DebeziumFormat::Avro(avro_options(settings, source, avro)?)
                }
            };
            FormatSpec::Debezium(DebeziumOptions::new(inner))
        }
        // Files that are columns already.
        FormatSettings::Parquet => return Ok(None),
    }))
}

pub(super) fn csv_options(
    settings: &Settings,
    place: Place<'_>,
    csv: &CsvFormat,
    schema: &SchemaRef,
) -> Result<CsvOptions, ConfigError> {
    Ok(CsvOptions {
        delimiter: csv.delimiter,
        quote: csv.quote,
        escape: csv.escape,
        comment: csv.comment,
        header: match csv.header {
            config::CsvHeader::None => CsvHeader::None,
            config::CsvHeader::Names => CsvHeader::Names,
            config::CsvHeader::Skip => CsvHeader::Skip,
        },
        null_value: csv.null_value.clone(),
        trim: csv.trim,
        mode: match csv.mode {
            config::CsvMode::Strict => CsvMode::Strict,
            config::CsvMode::Permissive => CsvMode::Permissive,
        },
        timestamps: timestamp_format(csv.times.timestamps),
        timestamps_by_column: timestamps_by_column(settings, place, &csv.times, schema)?,
        zone: csv.times.timezone,
    })
}

/// Reads a schema from a file that the configuration names.
pub(super) fn read_schema<T>(
    settings: &Settings,
    source: &SourceSettings,
    key: &str,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, CodecError>,
) -> Result<T, ConfigError> {
    let failed = |message: String| {
        settings.error_at(&["sources", &source.name, "format", key], message, None)
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))?;
    parse(&text).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn avro_options(
    settings: &Settings,
    source: &SourceSettings,
    avro: &AvroFormat,
) -> Result<AvroOptions, ConfigError> {
    let writer = match &avro.origin {
        SchemaOrigin::Registry(registry) => {
            AvroWriter::Registry(plan_registry(settings, source, registry)?)
        }
        SchemaOrigin::File(path) => AvroWriter::Schema {
            schema: Arc::new(read_schema(settings, source, "schema_file", path, |text| {
                AvroSchema::parse(text)
            })?),
            framed: avro.framing == Framing::Confluent,
        },
    };
    Ok(AvroOptions { writer, defaults: None })
}

fn protobuf_options(
    settings: &Settings,
    source: &SourceSettings,
    format: &ProtobufFormat,
) -> Result<ProtobufOptions, ConfigError> {
    let framed = format.framing == Framing::Confluent;
    let fail = |key: &str, message: String| {
        settings.error_at(&["sources", &source.name, "format", key], message, None)
    };
    let schema = match &format.origin {
        ProtobufOrigin::Registry(registry) => {
            ProtobufSource::Registry(plan_registry(settings, source, registry)?)
        }
        ProtobufOrigin::DescriptorFile(path) => {
            let key = "descriptor_file";
            let bytes = std::fs::read(path)
                .map_err(|error| fail(key, format!("cannot read {}: {error}", path.display())))?;
            let schema = ProtobufSchema::from_descriptor_set(&bytes)
                .map_err(|error| fail(key, format!("{}: {error}", path.display())))?;
            ProtobufSource::Schema { schema: Arc::new(schema), framed }
        }
        ProtobufOrigin::ProtoFile(path) => {
            let key = "proto_file";
            let imports = imports_of(path).map_err(|error| fail(key, error))?;
            let schema = read_schema(settings, source, key, path, |text| {
                ProtobufSchema::compile(text, &imports)
            })?;
            ProtobufSource::Schema { schema: Arc::new(schema), framed }
        }
    };
    if let (ProtobufSource::Schema { schema, .. }, Some(message)) = (&schema, &format.message) {
        schema.message(message).map_err(|error| fail("message", error.to_string()))?;
    }
    Ok(ProtobufOptions { schema, message: format.message.clone() })
}

/// The files that a `.proto` file imports, directly or not, found beside it.
fn imports_of(path: &Path) -> Result<Vec<(String, Arc<str>)>, String> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut imports: Vec<(String, Arc<str>)> = Vec::new();
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut waiting = vec![read(path)?];
    while let Some(text) = waiting.pop() {
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("import") else { continue };
            let Some(name) = rest.split('"').nth(1) else { continue };
            let known = imports.iter().any(|(known, _)| known == name);
            if known || name.starts_with("google/protobuf/") {
                continue;
            }
            let text = read(&directory.join(name))?;
            imports.push((name.to_owned(), Arc::from(text.as_str())));
            waiting.push(text);
        }
    }
    Ok(imports)
}

fn plan_registry(
    settings: &Settings,
    source: &SourceSettings,
    registry: &RegistrySettings,
) -> Result<Arc<Registry>, ConfigError> {
    let path = ["sources", &source.name, "format", "registry"];
    registry_client(registry).map_err(|error| settings.error_at(&path, error, None))
}

/// A client of a schema registry. Nothing is asked before the first record needs a schema.
pub(super) fn registry_client(registry: &RegistrySettings) -> Result<Arc<Registry>, String> {
    let ca = match &registry.ca_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        ),
        None => None,
    };
    let options = RegistryOptions {
        urls: registry.urls.clone(),
        auth: match &registry.auth {
            config::RegistryAuth::None {} => RegistryAuth::None,
            config::RegistryAuth::Basic { username, password } => RegistryAuth::Basic {
                user: username.clone(),
                password: password.expose().to_owned(),
            },
            config::RegistryAuth::Bearer { token } => {
                RegistryAuth::Bearer(token.expose().to_owned())
            }
        },
        ca,
        timeout: registry.timeout,
        ..RegistryOptions::default()
    };
    Registry::new(options).map(Arc::new).map_err(|error| error.to_string())
}

pub(super) fn json_options(
    settings: &Settings,
    place: Place<'_>,
    json: &JsonFormat,
    schema: &SchemaRef,
) -> Result<JsonOptions, ConfigError> {
    Ok(JsonOptions {
        timestamps: timestamp_format(json.times.timestamps),
        timestamps_by_column: timestamps_by_column(settings, place, &json.times, schema)?,
        zone: json.times.timezone,
        unknown_fields: match json.unknown_fields {
            config::UnknownFields::Ignore => UnknownFields::Ignore,
            config::UnknownFields::Reject => UnknownFields::Reject,
        },
        max_record_bytes: place.max_record_bytes,
        ..JsonOptions::default()
    })
}

fn timestamps_by_column(
    settings: &Settings,
    place: Place<'_>,
    times: &TimeSettings,
    schema: &SchemaRef,
) -> Result<HashMap<String, TimestampFormat>, ConfigError> {
    let mut by_column = HashMap::new();
    for (column, setting) in &times.columns {
        // A nested timestamp is named by its path; only the outermost name can be looked up here.
        let outermost = column.split('.').next().unwrap_or(column);
        find_column(schema, outermost).map_err(|help| {
            settings.error_at_key(
                &[place.section, place.name, "format", "columns", column],
                format!("the schema has no column '{column}'"),
                help,
            )
        })?;
        by_column.insert(column.clone(), timestamp_format(*setting));
    }
    Ok(by_column)
}

pub(super) fn timestamp_format(setting: TimestampSetting) -> TimestampFormat {
    match setting {
        TimestampSetting::Auto => TimestampFormat::Auto,
        TimestampSetting::EpochSeconds => TimestampFormat::EpochSeconds,
        TimestampSetting::EpochMillis => TimestampFormat::EpochMillis,
        TimestampSetting::EpochMicros => TimestampFormat::EpochMicros,
    }
}
