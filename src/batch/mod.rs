//! Batch jobs: SQL over whole tables, whose result replaces a table at once.
//!
//! A [`Job`] is one SELECT and the Delta table that it fills. [`Job::run`] computes it and replaces
//! all rows of its table in one commit: readers see the old rows or the new ones, and a run that is
//! killed or fails leaves the old ones. [`RunLog`] keeps a row for each run. When jobs are run is
//! the caller's matter (`actors::batch_jobs`).

mod log;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::catalog::CatalogError;
use crate::lake::{LakeError, LakeTable, TableSpec};
use crate::lakesql::{LakeSqlError, Limits, Session};
use crate::sink::delta::DeltaWriter;
use crate::source::SourceError;
use crate::source::delta::WholeTable;
use crate::sql;

pub use log::{Outcome, Run, RunLog, runs_schema};
pub use schedule::Schedule;

/// A SELECT whose result a table holds.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: Arc<str>,
    /// The SELECT.
    pub sql: Arc<str>,
    /// The table; its columns are those of the SELECT, whatever stands here.
    pub table: TableSpec,
    /// How long a run may take.
    pub timeout: Option<Duration>,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Rows of the tables that the job names, as they stood when it began.
    pub rows_read: Option<u64>,
    /// Rows that the table has now.
    pub rows_written: u64,
    /// The version of the table that has them.
    pub version: i64,
    /// How long it took.
    pub took: Duration,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The SELECT, or a table that it reads.
    #[error(transparent)]
    Sql(#[from] LakeSqlError),
    /// It is more than a SELECT.
    #[error("a batch job is one SELECT")]
    NotASelect,
    /// The table that it fills.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A name in FROM.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A table that it reads.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Job {
    /// Computes the SELECT and replaces the rows of the table.
    ///
    /// # Errors
    /// See [`BatchError`]. The table has the rows that it had.
    pub async fn run(&self, session: &Session) -> Result<Done, BatchError> {
        let began = Instant::now();
        let limits = Limits { max_rows: None, timeout: self.timeout, read_only: true };
        let mut statements =
            crate::lakesql::split(&self.sql).map_err(LakeSqlError::from)?.into_iter();
        let (Some(statement), None) = (statements.next(), statements.next()) else {
            return Err(BatchError::NotASelect);
        };
        let rows_read = self.rows_of_inputs(session).await;
        let mut rows = session.start(statement, &limits).await?;
        let schema = crate::sink::storage_schema(&self.name, &rows.schema()).map_err(|error| {
            LakeError::Definition {
                table: self.table.uri.clone(),
                problems: vec![error.to_string()],
            }
        })?;
        let spec = TableSpec { schema: schema.clone(), ..self.table.clone() };
        let mut table = LakeTable::open_or_create(&spec).await?;
        table.may_remove()?;
        let mut writer = DeltaWriter::new(&table, &spec)?;
        let filled = async {
            while let Some(batch) = rows.next().await? {
                write(&mut writer, &batch).await?;
            }
            fail::fail_point!("batch::computed");
            Ok::<_, BatchError>(writer.prepare().await?)
        };
        let adds = match filled.await {
            Ok(adds) => adds,
            Err(error) => {
                writer.discard().await;
                return Err(error);
            }
        };
        fail::fail_point!("batch::prepared");
        let info = table.replace(adds, &[], &[]).await?;
        Ok(Done {
            rows_read,
            rows_written: info.rows,
            version: info.version,
            took: began.elapsed(),
        })
    }

    /// How many rows the tables have that the SELECT names, as far as their statistics tell.
    async fn rows_of_inputs(&self, session: &Session) -> Option<u64> {
        let names = sql::relations(&self.sql).ok()?;
        let catalog = session.catalog().clone();
        let count = move || {
            let rows = names.iter().map(|name| {
                let table = catalog.resolve(name).ok()?;
                WholeTable::open(&table.location, None, None).ok()?.num_rows()
            });
            rows.sum::<Option<u64>>()
        };
        // It asks disks and blocks.
        tokio::task::spawn_blocking(count).await.ok().flatten()
    }
}

async fn write(writer: &mut DeltaWriter, batch: &RecordBatch) -> Result<(), LakeError> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    writer.write(batch).await
}
