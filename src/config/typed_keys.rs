//! Which keys belong to which `type`: to say so where one stands beside another type.

use super::suggest::alternatives;

const SOURCE: &[&str] = &["sources", "*"];
const FORMAT: &[&str] = &["sources", "*", "format"];
const TABLE_FORMAT: &[&str] = &["tables", "*", "format"];
const TABLE: &[&str] = &["tables", "*"];
const SINK: &[&str] = &["queries", "*", "sink"];
const SINKS: &[&str] = &["queries", "*", "sinks"];

const OF_SOURCES: &[(&str, &[&str])] = &[
    ("brokers", &["kafka"]),
    ("topics", &["kafka"]),
    ("topic_pattern", &["kafka"]),
    ("group_id", &["kafka"]),
    ("options", &["kafka"]),
    ("start", &["kafka", "delta"]),
    ("path", &["files", "delta"]),
    ("recursive", &["files"]),
    ("compression", &["files"]),
    ("order", &["files"]),
    ("settle", &["files"]),
    ("max_file_age", &["files"]),
    ("after", &["files"]),
    ("max_files_per_trigger", &["files", "delta"]),
    ("poll_interval", &["files", "delta"]),
    ("host", &["socket"]),
    ("port", &["socket"]),
    ("initial_backoff", &["socket"]),
    ("max_backoff", &["socket"]),
    ("rows_per_second", &["rate"]),
    ("ramp_up", &["rate"]),
    ("change_feed", &["delta"]),
    ("ignore_deletes", &["delta"]),
    ("ignore_changes", &["delta"]),
    ("skip_change_commits", &["delta"]),
    ("format", &["kafka", "files", "socket"]),
    ("max_record", &["kafka", "files", "socket"]),
];

const OF_FORMATS: &[(&str, &[&str])] = &[
    ("timestamps", &["json", "csv", "json_schema", "debezium"]),
    ("timezone", &["json", "csv", "json_schema", "debezium"]),
    ("columns", &["json", "csv", "json_schema", "debezium"]),
    ("unknown_fields", &["json", "json_schema", "debezium"]),
    ("delimiter", &["csv"]),
    ("quote", &["csv"]),
    ("escape", &["csv"]),
    ("header", &["csv"]),
    ("null_value", &["csv"]),
    ("comment", &["csv"]),
    ("multiline", &["csv"]),
    ("trim", &["csv"]),
    ("mode", &["csv"]),
    ("registry", &["avro", "protobuf", "json_schema", "debezium"]),
    ("framing", &["avro", "protobuf", "json_schema", "debezium"]),
    ("schema_file", &["avro", "json_schema", "debezium"]),
    ("descriptor_file", &["protobuf"]),
    ("proto_file", &["protobuf"]),
    ("message", &["protobuf"]),
    ("validate", &["json_schema"]),
    ("payload", &["debezium"]),
    ("decimals", &["debezium"]),
    ("op_column", &["debezium"]),
    ("ts_column", &["debezium"]),
];

const OF_TABLES: &[(&str, &[&str])] = &[("format", &["csv", "json"])];

const OF_SINKS: &[(&str, &[&str])] = &[
    ("path", &["delta", "files"]),
    ("partition_by", &["delta", "files"]),
    ("compression", &["delta", "files"]),
    ("key", &["delta", "kafka", "postgres"]),
    ("target_file_size", &["delta"]),
    ("evolve", &["delta"]),
    ("on_type_change", &["delta"]),
    ("checkpoint_interval", &["delta"]),
    ("properties", &["delta"]),
    ("brokers", &["kafka"]),
    ("topic", &["kafka"]),
    ("topic_column", &["kafka"]),
    ("key_column", &["kafka"]),
    ("headers", &["kafka"]),
    ("headers_column", &["kafka"]),
    ("value", &["kafka"]),
    ("registry", &["kafka"]),
    ("subject", &["kafka"]),
    ("partition_column", &["kafka"]),
    ("timestamp_column", &["kafka"]),
    ("tombstone_column", &["kafka"]),
    ("transaction_timeout", &["kafka"]),
    ("options", &["kafka"]),
    ("url", &["postgres"]),
    ("host", &["postgres"]),
    ("port", &["postgres"]),
    ("user", &["postgres"]),
    ("password", &["postgres"]),
    ("database", &["postgres"]),
    ("table", &["postgres"]),
    ("mode", &["postgres"]),
    ("create_table", &["postgres"]),
    ("tls", &["postgres"]),
    ("ca_file", &["postgres"]),
    ("connect_timeout", &["postgres"]),
    ("lock_timeout", &["postgres"]),
    ("format", &["files"]),
    ("max_file_rows", &["files"]),
    ("header", &["files"]),
    ("delimiter", &["files"]),
    ("truncate", &["console"]),
    ("rows", &["console"]),
    ("vertical", &["console"]),
    ("max_rows", &["memory"]),
];

/// What to say of a key that its table does not take: that it is one of another type. `pattern`:
/// the table's path, with `*` for names that the user chose.
pub(crate) fn other_type(pattern: &[String], key: &str) -> Option<String> {
    let keys = match pattern {
        _ if pattern == SOURCE => OF_SOURCES,
        _ if pattern == FORMAT || pattern == TABLE_FORMAT => OF_FORMATS,
        _ if pattern == TABLE => OF_TABLES,
        _ if pattern == SINK || pattern == SINKS => OF_SINKS,
        _ => return None,
    };
    let (_, types) = keys.iter().find(|(name, _)| *name == key)?;
    Some(format!("`{key}` is a key of type {}", alternatives(types.iter().copied())))
}
