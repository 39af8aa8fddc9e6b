//! `[tables.NAME]`: static tables that queries join with.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::super::diagnostics::Location;
use super::super::text::TextLocation;
use super::super::units::serialize_optional_duration;
use super::format::{CsvFormat, JsonFormat};

/// `[tables.NAME]`: rows that are read as a whole, and again when they change.
#[derive(Clone, Debug, Serialize)]
pub struct TableSettings {
    pub name: String,
    #[serde(flatten)]
    pub kind: TableKind,
    /// A Delta table's directory; else a file, a directory of files, or a glob pattern.
    pub path: String,
    /// `storage`, over `[storage]`: options of a Delta table's object store, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// `schema`, as of a source. Parquet and Delta tables may leave it out, others have it.
    #[serde(rename = "schema", skip_serializing_if = "Option::is_none")]
    pub schema_text: Option<String>,
    /// Where `schema_text` stands: for [`Settings::error_at_table_schema`](super::Settings).
    #[serde(skip)]
    pub schema_location: TextLocation,
    /// Time between two looks at whether it has changed; `None`: it is read once. Default 30 s.
    #[serde(serialize_with = "serialize_optional_duration")]
    pub refresh: Option<Duration>,
    #[serde(skip)]
    pub location: Location,
}

/// `type`, and `[tables.NAME.format]` where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "format", rename_all = "snake_case")]
pub enum TableKind {
    Delta,
    Parquet,
    Csv(CsvFormat),
    Json(JsonFormat),
}
