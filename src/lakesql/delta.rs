//! Delta Lake's own statements, which the upkeep room carries out.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, Utc};
use datafusion::execution::session_state::SessionState;
use serde_json::Value;

use super::LakeSqlError;
use super::commands::Ready;
use super::select::time_of;
use super::statement::TableRef;
use super::travel::{AsOf, Mentioned};
use crate::catalog::TableEntry;
use crate::upkeep::{self, NoProgress, OptimizeOptions, RestoreTo, VacuumOptions};

fn text<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn number(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    let values = values.map(|value| value.and_then(|value| i64::try_from(value).ok()));
    Arc::new(values.collect::<Int64Array>())
}

fn time(values: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let values = values.map(|time| time.map(|time| time.timestamp_micros()));
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn json(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

fn ready<'a>(
    columns: impl IntoIterator<Item = (&'a str, ArrayRef)>,
) -> Result<Ready, LakeSqlError> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    Ok(Ready::batch(RecordBatch::try_from_iter_with_nullable(columns)?))
}

/// `DESCRIBE HISTORY`: the columns are Delta's; maps are JSON.
pub(super) async fn history(
    entry: &TableEntry,
    limit: Option<usize>,
) -> Result<Ready, LakeSqlError> {
    let rows = upkeep::history(&entry.location, limit).await?;
    let map = |map: &serde_json::Map<String, Value>| (!map.is_empty()).then(|| json(map)).flatten();
    ready([
        ("version", number(rows.iter().map(|row| Some(row.version)))),
        ("timestamp", time(rows.iter().map(|row| row.timestamp))),
        ("userName", text(rows.iter().map(|row| row.user_name.as_ref()))),
        ("operation", text(rows.iter().map(|row| row.operation.as_ref()))),
        ("operationParameters", text(rows.iter().map(|row| map(&row.operation_parameters)))),
        ("readVersion", number(rows.iter().map(|row| row.read_version))),
        ("isolationLevel", text(rows.iter().map(|row| row.isolation_level.as_ref()))),
        (
            "isBlindAppend",
            Arc::new(rows.iter().map(|row| row.is_blind_append).collect::<BooleanArray>()),
        ),
        ("operationMetrics", text(rows.iter().map(|row| map(&row.operation_metrics)))),
        ("userMetadata", text(rows.iter().map(|row| row.user_metadata.as_ref()))),
        ("engineInfo", text(rows.iter().map(|row| row.engine_info.as_ref()))),
    ])
}

/// `DESCRIBE DETAIL`: the columns are Delta's, and then our own.
pub(super) async fn detail(entry: &TableEntry) -> Result<Ready, LakeSqlError> {
    let row = upkeep::detail(&entry.location).await?;
    let one = |value: Option<u64>| number([value].into_iter());
    ready([
        ("format", text([Some(row.format)].into_iter())),
        ("id", text([Some(&row.id)].into_iter())),
        ("name", text([row.name.as_ref()].into_iter())),
        ("description", text([row.description.as_ref()].into_iter())),
        ("location", text([Some(&row.location)].into_iter())),
        ("createdAt", time([row.created_at].into_iter())),
        ("lastModified", time([row.last_modified].into_iter())),
        ("partitionColumns", text([json(&row.partition_columns)].into_iter())),
        ("numFiles", one(Some(row.num_files))),
        ("sizeInBytes", one(Some(row.size_in_bytes))),
        ("properties", text([json(&row.properties)].into_iter())),
        ("minReaderVersion", Arc::new(Int32Array::from(vec![row.min_reader_version]))),
        ("minWriterVersion", Arc::new(Int32Array::from(vec![row.min_writer_version]))),
        ("tableFeatures", text([json(&row.table_features)].into_iter())),
        ("version", one(Some(row.version))),
        ("numRows", one(Some(row.num_rows))),
        ("numSmallFiles", one(Some(row.num_small_files))),
        ("checkpointVersion", one(row.checkpoint_version)),
    ])
}

/// `OPTIMIZE`: the table's path, and what was done as JSON, as in Delta.
pub(super) async fn optimize(
    entry: &TableEntry,
    filter: Option<String>,
    zorder: Vec<String>,
) -> Result<Ready, LakeSqlError> {
    let options = OptimizeOptions { filter, zorder, ..OptimizeOptions::default() };
    let report = upkeep::optimize(&entry.location, options, &NoProgress).await?;
    ready([
        ("path", text([Some(entry.location.uri())].into_iter())),
        ("metrics", text([json(&report)].into_iter())),
    ])
}

/// `VACUUM`: the table's path; of a dry run, the files that would be removed.
pub(super) async fn vacuum(
    entry: &TableEntry,
    retain_hours: Option<f64>,
    dry_run: bool,
) -> Result<Ready, LakeSqlError> {
    // It is finite and not negative; what is too long for a duration is for ever.
    let retain = retain_hours
        .map(|hours| Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX));
    let options = VacuumOptions { retain, dry_run, ..VacuumOptions::default() };
    let report = upkeep::vacuum(&entry.location, options, &NoProgress).await?;
    let base = entry.location.uri().trim_end_matches('/').to_owned();
    let mut ready = if dry_run {
        ready([("path", text(report.files.iter().map(|file| Some(format!("{base}/{file}")))))])?
    } else {
        ready([("path", text([Some(entry.location.uri())].into_iter()))])?
    };
    let verb = if dry_run { "would be removed" } else { "removed" };
    ready.notices.push(format!("{} files ({} bytes) {verb}", report.files.len(), report.bytes));
    Ok(ready)
}

/// `RESTORE`: what changed, as in Delta.
pub(super) async fn restore(
    entry: &TableEntry,
    to: AsOf,
    table: &TableRef,
    state: &SessionState,
) -> Result<Ready, LakeSqlError> {
    let at = |us: i64| {
        DateTime::from_timestamp_micros(us).map(RestoreTo::Timestamp).ok_or_else(|| {
            LakeSqlError::Version {
                table: entry.shown(),
                asked: format!("version as of {us} microseconds"),
                reason: "that is no time".to_owned(),
            }
        })
    };
    let to = match to {
        AsOf::Version(version) => RestoreTo::Version(version.unsigned_abs()),
        AsOf::Time(us) => at(us)?,
        AsOf::Timestamp(expr) => {
            let mentioned = Mentioned {
                parts: table.parts.clone(),
                as_of: None,
                key: entry.shown(),
                span: table.span,
            };
            at(time_of(&expr, state, &mentioned).await?)?
        }
    };
    let report = upkeep::restore(&entry.location, to, &NoProgress).await?;
    let one = |value: u64| number([Some(value)].into_iter());
    ready([
        ("version", one(report.version)),
        ("restored_version", one(report.restored_version)),
        ("num_removed_files", one(report.files_removed)),
        ("num_restored_files", one(report.files_restored)),
    ])
}
