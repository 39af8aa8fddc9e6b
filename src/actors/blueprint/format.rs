//! How the bytes of a source's records become columns.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::codec::registry::{Registry, RegistryAuth, RegistryOptions};
use crate::codec::{
    AvroOptions, AvroSchema, AvroWriter, CodecError, CsvHeader, CsvMode, CsvOptions, FormatSpec,
    JsonOptions, TimestampFormat, UnknownFields,
};
use crate::config::{
    self, ConfigError, FormatSettings, Framing, JsonFormat, RegistrySettings, SchemaOrigin,
    Settings, SourceSettings, TimeSettings, TimestampSetting,
};

use super::find_column;

pub(super) fn plan_format(
    settings: &Settings,
    source: &SourceSettings,
    format: &FormatSettings,
    schema: &SchemaRef,
) -> Result<FormatSpec, ConfigError> {
    Ok(match format {
        FormatSettings::Json(json) => {
            FormatSpec::Json(json_options(settings, source, json, schema)?)
        }
        FormatSettings::Csv(csv) => FormatSpec::Csv(CsvOptions {
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
            timestamps_by_column: timestamps_by_column(settings, source, &csv.times, schema)?,
            zone: csv.times.timezone,
        }),
        FormatSettings::Avro(avro) => FormatSpec::Avro(AvroOptions {
            writer: match &avro.origin {
                SchemaOrigin::Registry(registry) => {
                    AvroWriter::Registry(plan_registry(settings, source, registry)?)
                }
                SchemaOrigin::File(path) => AvroWriter::Schema {
                    schema: Arc::new(read_schema(settings, source, "schema_file", path, |text| {
                        AvroSchema::parse(text)
                    })?),
                    framed: avro.framing == Framing::Confluent,
                },
            },
            defaults: None,
        }),
        FormatSettings::Text => FormatSpec::Text,
        FormatSettings::Raw => FormatSpec::Raw,
        _ => {
            let path = ["sources", &source.name, "format", "type"];
            return Err(settings.error_at(&path, "not wired yet", None));
        }
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

fn json_options(
    settings: &Settings,
    source: &SourceSettings,
    json: &JsonFormat,
    schema: &SchemaRef,
) -> Result<JsonOptions, ConfigError> {
    Ok(JsonOptions {
        timestamps: timestamp_format(json.times.timestamps),
        timestamps_by_column: timestamps_by_column(settings, source, &json.times, schema)?,
        zone: json.times.timezone,
        unknown_fields: match json.unknown_fields {
            config::UnknownFields::Ignore => UnknownFields::Ignore,
            config::UnknownFields::Reject => UnknownFields::Reject,
        },
        max_record_bytes: source.max_record_bytes,
        ..JsonOptions::default()
    })
}

fn timestamps_by_column(
    settings: &Settings,
    source: &SourceSettings,
    times: &TimeSettings,
    schema: &SchemaRef,
) -> Result<HashMap<String, TimestampFormat>, ConfigError> {
    let mut by_column = HashMap::new();
    for (column, setting) in &times.columns {
        // A nested timestamp is named by its path; only the outermost name can be looked up here.
        let outermost = column.split('.').next().unwrap_or(column);
        find_column(schema, outermost).map_err(|help| {
            settings.error_at_key(
                &["sources", &source.name, "format", "columns", column],
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
