//! The tables as any reader of Delta Lake sees them, through deltalake and DataFusion, and not as
//! the pipeline that wrote them believes them to be.

use std::path::Path;

use anyhow::Context as _;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use serde::Serialize;
use url::Url;

use super::score::Detection;
use crate::telemetry::time::EventTime;

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Its name, which is its directory's.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// Its version.
    pub version: u64,
    /// Its rows, counted.
    pub rows: u64,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// All that is read back.
#[derive(Clone, Debug, Default)]
pub struct ReadBack {
    /// The tables that are there, in the order asked for.
    pub tables: Vec<Table>,
    /// Distinct request ids in bronze.
    pub distinct: u64,
    /// The end of the last closed window, microseconds since the Unix epoch.
    pub closed: Option<i64>,
    /// Rows of bronze with an event time before that.
    pub before_closed: u64,
    /// Requests that the closed windows count.
    pub in_windows: u64,
    /// The anomalies, in order of time.
    pub anomalies: Vec<Detection>,
}

impl ReadBack {
    /// Rows of a table; none if it is not there.
    pub fn rows(&self, name: &str) -> u64 {
        self.tables.iter().find(|table| table.name == name).map_or(0, |table| table.rows)
    }
}

/// Reads the tables `names` below `directory`. A table without a log is left out: the demo ended
/// before it was made.
///
/// # Errors
/// What could not be read.
pub async fn read_back(directory: &Path, names: &[&str]) -> anyhow::Result<ReadBack> {
    let context = SessionContext::new();
    let mut found = ReadBack::default();
    for name in names {
        let path = directory.join(name);
        if !path.join("_delta_log").is_dir() {
            continue;
        }
        let table = open(&context, name, &path).await;
        found.tables.push(table.with_context(|| format!("the table {}", path.display()))?);
    }
    let has = |name: &str| found.tables.iter().any(|table| table.name == name);
    if has("bronze") {
        // Reads the column: a count alone would be answered by the log's statistics.
        let sql = "SELECT count(DISTINCT request_id) FROM bronze";
        found.distinct = number(&context, sql).await?;
    }
    if has("traffic_windows") {
        let sql = "SELECT max(window_end) FROM traffic_windows";
        found.closed = instant(&context, sql).await?;
        let sql = "SELECT coalesce(sum(requests), 0) FROM traffic_windows";
        found.in_windows = number(&context, sql).await?;
    }
    if has("bronze") && has("traffic_windows") {
        let sql = "SELECT count(*) FROM bronze \
             WHERE timestamp < (SELECT max(window_end) FROM traffic_windows)";
        found.before_closed = number(&context, sql).await?;
    }
    if has("anomalies") {
        found.anomalies = anomalies(&context).await?;
    }
    Ok(found)
}

async fn open(context: &SessionContext, name: &str, path: &Path) -> anyhow::Result<Table> {
    let absolute = path.canonicalize()?;
    let url = Url::from_directory_path(&absolute)
        .map_err(|()| anyhow::anyhow!("its path cannot be written as a URL"))?;
    let table = deltalake::open_table(url).await?;
    let files: Vec<u64> = table
        .snapshot()?
        .log_data()
        .iter()
        .map(|file| u64::try_from(file.size()).unwrap_or(0))
        .collect();
    let version = table.version().context("it has no version")?;
    context.register_table(name, table.table_provider().await?)?;
    let rows = number(context, &format!("SELECT count(*) FROM {name}")).await?;
    Ok(Table {
        name: name.to_owned(),
        path: path.display().to_string(),
        version,
        rows,
        files: files.len(),
        bytes: files.iter().sum(),
    })
}

async fn rows(context: &SessionContext, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
    Ok(context.sql(sql).await?.collect().await?)
}

/// The one number that a query gives; 0 for NULL.
async fn number(context: &SessionContext, sql: &str) -> anyhow::Result<u64> {
    let batches = rows(context, sql).await?;
    let number = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .find_map(|batch| batch.column(0).as_primitive_opt::<Int64Type>())
        .filter(|column| column.is_valid(0))
        .map_or(0, |column| column.value(0));
    Ok(u64::try_from(number)?)
}

/// The one instant that a query gives.
async fn instant(context: &SessionContext, sql: &str) -> anyhow::Result<Option<i64>> {
    let batches = rows(context, sql).await?;
    Ok(batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .find_map(|batch| batch.column(0).as_primitive_opt::<TimestampMicrosecondType>())
        .filter(|column| column.is_valid(0))
        .map(|column| column.value(0)))
}

async fn anomalies(context: &SessionContext) -> anyhow::Result<Vec<Detection>> {
    // Readers of Delta may give text in any of Arrow's string layouts.
    // An anomaly is as its last event says.
    let sql = "SELECT arrow_cast(detector, 'Utf8'), arrow_cast(kind, 'Utf8'), \
             arrow_cast(key, 'Utf8'), started_at, window_end, arrow_cast(severity, 'Utf8'), \
             arrow_cast(reason, 'Utf8'), windows \
         FROM (SELECT *, row_number() OVER \
                 (PARTITION BY anomaly_id ORDER BY sequence DESC) AS nth FROM anomalies) \
         WHERE nth = 1 ORDER BY started_at, detector, key";
    let mut found = Vec::new();
    for batch in rows(context, sql).await? {
        let text = |column: usize| {
            batch.column(column).as_string_opt::<i32>().context("a column is not text")
        };
        let time = |column: usize| {
            let column = batch.column(column).as_primitive_opt::<TimestampMicrosecondType>();
            column.context("a column is not a timestamp")
        };
        let (detector, kind, key) = (text(0)?, text(1)?, text(2)?);
        let (start, end) = (time(3)?, time(4)?);
        let (severity, reason) = (text(5)?, text(6)?);
        let windows = batch.column(7).as_primitive_opt::<Int64Type>();
        let windows = windows.context("the windows are not a number")?;
        found.extend((0..batch.num_rows()).map(|row| Detection {
            detector: detector.value(row).to_owned(),
            kind: kind.value(row).to_owned(),
            key: key.value(row).to_owned(),
            window_start: EventTime(start.value(row)),
            window_end: EventTime(end.value(row)),
            windows: u64::try_from(windows.value(row)).unwrap_or(0),
            severity: severity.value(row).to_owned(),
            reason: reason.value(row).to_owned(),
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::anomaly::{AnomalyEvent, EventKind, Severity, to_batch};
    use crate::lake::{LakeTable, TableSpec};
    use crate::sink::delta::DeltaWriter;

    async fn write(directory: &Path, name: &str, batches: &[RecordBatch]) {
        let path = directory.join(name);
        let spec = TableSpec::new(path.to_str().expect("a name in UTF-8"), batches[0].schema());
        let mut table = LakeTable::open_or_create(&spec).await.expect("a table");
        for batch in batches {
            let mut writer = DeltaWriter::new(&table, &spec).expect("a writer");
            writer.write(batch).await.expect("rows");
            let adds = writer.prepare().await.expect("files");
            table.commit(adds, &[], &[]).await.expect("a commit");
        }
    }

    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit")
    }

    fn times(of: &[i64]) -> ArrayRef {
        let column = TimestampMicrosecondArray::from(of.to_vec()).with_timezone("UTC");
        assert_eq!(
            column.data_type(),
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
        Arc::new(column)
    }

    #[tokio::test]
    async fn what_the_tables_hold_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let bronze = |ids: &[&str], at: &[i64]| {
            let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
            rows(vec![("request_id", ids), ("timestamp", times(at))])
        };
        let batches = [bronze(&["a", "b", "c"], &[1, 5, 12]), bronze(&["c", "d"], &[19, 25])];
        write(dir.path(), "bronze", &batches).await;
        let requests: ArrayRef = Arc::new(Int64Array::from(vec![2, 1]));
        let windows = rows(vec![("window_end", times(&[10, 20])), ("requests", requests)]);
        write(dir.path(), "traffic_windows", &[windows]).await;
        let anomaly = |key: &str, start, sequence, windows: u64| AnomalyEvent {
            id: format!("spikes:{key}").into(),
            sequence,
            event: if sequence == 0 { EventKind::Opened } else { EventKind::Closed },
            corrected: false,
            started_at: start,
            ended_at: (sequence > 0).then_some(start + 10),
            windows,
            peak_value: 9.0,
            peak_score: 0.75,
            detector: "spikes".into(),
            kind: "traffic_spike",
            key: key.into(),
            window_start: start,
            window_end: start + 10,
            value: 9.0,
            expected: 3.0,
            lower: 1.0,
            upper: 5.0,
            score: 0.75,
            severity: Severity::Critical,
            reason: "why".into(),
        };
        let found =
            to_batch(&[anomaly("/b", 10, 0, 1), anomaly("/a", 0, 0, 1), anomaly("/b", 10, 1, 4)])
                .expect("rows");
        write(dir.path(), "anomalies", &[found]).await;
        std::fs::create_dir(dir.path().join("client_windows")).expect("no table yet");

        let names = ["bronze", "traffic_windows", "client_windows", "anomalies", "dead_letters"];
        let found = read_back(dir.path(), &names).await.expect("they can be read");
        let read: Vec<(&str, u64, usize)> =
            found.tables.iter().map(|t| (t.name.as_str(), t.rows, t.files)).collect();
        assert_eq!(read, [("bronze", 5, 2), ("traffic_windows", 2, 1), ("anomalies", 3, 1)]);
        assert!(found.tables.iter().all(|table| table.bytes > 0));
        assert_eq!((found.distinct, found.closed), (4, Some(20)));
        assert_eq!((found.before_closed, found.in_windows), (4, 3));
        let keys: Vec<&str> = found.anomalies.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["/a", "/b"], "in order of time, each once");
        assert_eq!(found.anomalies[1].windows, 4);
        assert_eq!(found.anomalies[1].window_end, EventTime(20));
        assert_eq!(found.anomalies[0].severity, "critical");
    }

    #[tokio::test]
    async fn without_tables_there_is_nothing_and_with_broken_ones_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let found = read_back(dir.path(), &["bronze", "anomalies"]).await.expect("nothing there");
        assert!(found.tables.is_empty() && found.rows("bronze") == 0);
        std::fs::create_dir_all(dir.path().join("bronze/_delta_log")).expect("an empty log");
        let error = read_back(dir.path(), &["bronze"]).await.expect_err("no table").to_string();
        assert!(error.contains("bronze"), "{error}");
    }
}
