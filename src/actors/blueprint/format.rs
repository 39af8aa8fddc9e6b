//! How the bytes of a source's records become columns.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;

use crate::codec::{FormatSpec, JsonOptions, TimestampFormat, UnknownFields};
use crate::config::{
    self, ConfigError, FormatSettings, JsonFormat, Settings, SourceSettings, TimeSettings,
    TimestampSetting,
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
        FormatSettings::Text => FormatSpec::Text,
        FormatSettings::Raw => FormatSpec::Raw,
        _ => {
            let path = ["sources", &source.name, "format", "type"];
            return Err(settings.error_at(&path, "not wired yet", None));
        }
    })
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
