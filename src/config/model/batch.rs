//! `[batch.NAME]`: tables that are recomputed on a schedule.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::diagnostics::Location;
use super::super::text::TextLocation;
use super::super::units::serialize_duration;
use super::sink::DeltaSinkSettings;

/// `[batch.NAME]`: a SELECT over tables, whose result replaces a table.
#[derive(Clone, Debug, Serialize)]
pub struct BatchJobSettings {
    pub name: String,
    /// Spark SQL over the tables that the configuration names, and any other by its path.
    pub sql: String,
    #[serde(skip)]
    pub sql_location: TextLocation,
    /// Cron, in UTC. None: once at the end of a bounded run, and never otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How often a run that fails is tried again. Default 3.
    pub retries: u32,
    /// How long a run may take. None: as long as it takes.
    #[serde(serialize_with = "serialize_some_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The table whose rows are replaced.
    pub sink: DeltaSinkSettings,
    #[serde(skip)]
    pub location: Location,
}

/// `[batch_runs]`: the Delta table with a row for each run.
#[derive(Clone, Debug, Serialize)]
pub struct BatchRunsSettings {
    pub enabled: bool,
    /// Default `<data_dir>/batch_runs`.
    pub path: String,
    /// `storage`, over `[storage]`: options of its object store, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// What the catalogue calls the table. None: `<name>.batch_runs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

fn serialize_some_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}
