//! Static tables, ready to be read.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::{FormatSpec, parse_schema};
use crate::config::{ConfigError, CsvFormat, Settings, TableKind, TableSettings};
use crate::source::files::Framing;
use crate::source::table::{TableFormat, TableOptions, TableReader};
use crate::sql::StaticTable;

use super::format::{Place, csv_options, json_options};
use super::source::csv_framing;

/// A record of a table that is longer is refused.
const MAX_RECORD: usize = 16 << 20;

/// A static table, ready to be read.
#[derive(Debug, Clone)]
pub struct TableBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// The table's type, as configured.
    pub kind: &'static str,
    /// What reads its rows.
    pub reader: Arc<TableReader>,
    /// What queries join with. It is empty until somebody puts rows in.
    pub table: Arc<StaticTable>,
    /// Time between two looks at whether it has changed; `None`: it is read once.
    pub refresh: Option<Duration>,
}

/// Plans a table. One whose columns are not declared has to be there.
pub(super) fn plan_table(
    settings: &Settings,
    table: &TableSettings,
) -> Result<TableBlueprint, ConfigError> {
    let declared = match &table.schema_text {
        Some(text) => Some(parse_schema(text).map_err(|error| {
            settings.error_at_table_schema(table, error.offset, error.message.clone(), None)
        })?),
        None => None,
    };
    let place = Place { section: "tables", name: &table.name, max_record_bytes: MAX_RECORD };
    let records = |spec: FormatSpec, csv: Option<&CsvFormat>| TableFormat::Records {
        framing: match csv {
            Some(csv) => csv_framing(csv),
            None => Framing::Lines { skip_blank: true },
        },
        spec,
    };
    let (kind, format) = match (&table.kind, &declared) {
        (TableKind::Delta, _) => ("delta", TableFormat::Delta),
        (TableKind::Parquet, _) => ("parquet", TableFormat::Parquet),
        (TableKind::Csv(csv), Some(schema)) => {
            let spec = FormatSpec::Csv(csv_options(settings, place, csv, schema)?);
            ("csv", records(spec, Some(csv)))
        }
        (TableKind::Json(json), Some(schema)) => {
            let spec = FormatSpec::Json(json_options(settings, place, json, schema)?);
            ("json", records(spec, None))
        }
        (TableKind::Csv(_) | TableKind::Json(_), None) => {
            return Err(settings.error_at(&["tables", &table.name], "it has no schema", None));
        }
    };
    let is_declared = declared.is_some();
    let options = TableOptions {
        storage_options: table.storage.clone(),
        ..TableOptions::new(table.path.clone(), format)
    };
    let reader = TableReader::open(options, declared).map_err(|error| {
        if is_declared {
            settings.error_at_table_schema(table, 0, error.to_string(), None)
        } else {
            let help = "declare the columns as `schema`, to plan without the table".to_owned();
            let path = ["tables", &table.name, "path"];
            settings.error_at(&path, error.to_string(), Some(help))
        }
    })?;
    Ok(TableBlueprint {
        name: table.name.as_str().into(),
        kind,
        table: Arc::new(StaticTable::new(table.name.as_str(), reader.schema())),
        reader: Arc::new(reader),
        refresh: table.refresh,
    })
}
