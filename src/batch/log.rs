//! The log of runs: a Delta table with a row for each.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::lake::{LakeError, LakeTable, TableSpec};
use crate::sink::delta::DeltaWriter;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The table has the new rows.
    Succeeded,
    /// It has the rows that it had.
    Failed,
}

impl Outcome {
    /// As the log and metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One run of a job, all of its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Names the run.
    pub id: String,
    /// The job.
    pub job: Arc<str>,
    /// What the run was due for, in microseconds since the Unix epoch; `None`: it was not scheduled.
    pub due_us: Option<i64>,
    /// When it began, in microseconds since the Unix epoch.
    pub started_us: i64,
    /// When it ended.
    pub ended_us: i64,
    /// How.
    pub outcome: Outcome,
    /// How often it was tried.
    pub attempts: u32,
    /// Rows of the tables it read.
    pub rows_read: Option<u64>,
    /// Rows of the table it filled.
    pub rows_written: Option<u64>,
    /// The version of that table.
    pub version: Option<i64>,
    /// What the last attempt failed of.
    pub error: Option<String>,
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("run_id", DataType::Utf8, true),
        Field::new("job", DataType::Utf8, true),
        Field::new("due_at", utc(), true),
        Field::new("started_at", utc(), true),
        Field::new("ended_at", utc(), true),
        Field::new("outcome", DataType::Utf8, true),
        Field::new("attempts", DataType::Int64, true),
        Field::new("rows_read", DataType::Int64, true),
        Field::new("rows_written", DataType::Int64, true),
        Field::new("version", DataType::Int64, true),
        Field::new("error", DataType::Utf8, true),
    ]))
});

/// The columns of the log.
pub fn runs_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The table of runs.
#[derive(Debug, Clone)]
pub struct RunLog {
    spec: TableSpec,
}

impl RunLog {
    /// The table at `spec.uri`, which is made with the first run; its columns are those of
    /// [`runs_schema`].
    pub fn new(spec: TableSpec) -> Self {
        Self { spec: TableSpec { schema: runs_schema(), evolve: true, ..spec } }
    }

    /// Adds a row. It is durable when this returns.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn append(&self, run: &Run) -> Result<(), LakeError> {
        let mut table = LakeTable::open_or_create(&self.spec).await?;
        let mut writer = DeltaWriter::new(&table, &self.spec)?;
        writer.write(&row(run, table.uri())?).await?;
        let adds = writer.prepare().await?;
        table.commit(adds, &[], &[]).await?;
        Ok(())
    }
}

fn row(run: &Run, table: &str) -> Result<RecordBatch, LakeError> {
    let time = |us: Option<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC"))
    };
    let text = |text: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let count = |count: Option<u64>| -> ArrayRef {
        let count = count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        Arc::new(Int64Array::from(vec![count]))
    };
    let columns = vec![
        text(Some(&run.id)),
        text(Some(&run.job)),
        time(run.due_us),
        time(Some(run.started_us)),
        time(Some(run.ended_us)),
        text(Some(run.outcome.name())),
        count(Some(u64::from(run.attempts))),
        count(run.rows_read),
        count(run.rows_written),
        Arc::new(Int64Array::from(vec![run.version])),
        text(run.error.as_deref()),
    ];
    RecordBatch::try_new(runs_schema(), columns)
        .map_err(|error| LakeError::Data { table: table.to_owned(), reason: error.to_string() })
}
