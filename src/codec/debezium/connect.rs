//! The schema that Kafka Connect's JSON converter puts beside each record.

use serde_json::Value;

use crate::codec::TimestampFormat;
use crate::codec::json::Formats;

/// How deep a schema is followed.
const MAX_NESTING: usize = 64;

/// How columns are written by an envelope's schema. What it does not say is as `plain` says; a schema
/// that is none says nothing.
pub(super) fn formats(schema: &[u8], plain: &Formats) -> Formats {
    let mut formats = plain.clone();
    if let Ok(envelope) = serde_json::from_slice::<Value>(schema) {
        // Both rows are of the same type.
        let row = fields(&envelope).iter().find(|field| {
            matches!(field.get("field").and_then(Value::as_str), Some("after" | "before"))
        });
        if let Some(row) = row {
            for field in fields(row) {
                if let Some(name) = field.get("field").and_then(Value::as_str) {
                    collect(field, name.to_owned(), &mut formats, 0);
                }
            }
        }
    }
    formats
}

fn fields(schema: &Value) -> &[Value] {
    schema.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn collect(schema: &Value, path: String, formats: &mut Formats, depth: usize) {
    if depth > MAX_NESTING {
        return;
    }
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let timestamp = match text("name").unwrap_or_default() {
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            Some(TimestampFormat::EpochMillis)
        }
        "io.debezium.time.MicroTimestamp" => Some(TimestampFormat::EpochMicros),
        "io.debezium.time.NanoTimestamp" => Some(TimestampFormat::EpochNanos),
        "io.debezium.time.ZonedTimestamp" | "io.debezium.time.IsoTimestamp" => {
            Some(TimestampFormat::Auto)
        }
        "org.apache.kafka.connect.data.Decimal" => {
            let scale = schema.get("parameters").and_then(|parameters| parameters.get("scale"));
            let scale = scale.and_then(Value::as_str).and_then(|scale| scale.parse().ok());
            if let Some(scale @ 0..=10_000) = scale {
                formats.decimals.insert(path.clone(), scale);
            }
            None
        }
        _ => None,
    };
    if let Some(timestamp) = timestamp {
        formats.timestamps.insert(path.clone(), timestamp);
    }
    match text("type") {
        Some("struct") => {
            for field in fields(schema) {
                if let Some(name) = field.get("field").and_then(Value::as_str) {
                    collect(field, format!("{path}.{name}"), formats, depth + 1);
                }
            }
        }
        Some("array") => {
            if let Some(items) = schema.get("items") {
                collect(items, format!("{path}.element"), formats, depth + 1);
            }
        }
        Some("map") => {
            if let Some(values) = schema.get("values") {
                collect(values, format!("{path}.value"), formats, depth + 1);
            }
        }
        _ => {}
    }
}
