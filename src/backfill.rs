//! A query computed again over tables instead of its sources.
//!
//! The same plan runs on the same feeds and operators as in the daemon, stepped by hand
//! ([`Trial`]), and what comes out is committed to one table at once: a run that is killed leaves
//! nothing to be seen.
//!
//! # Event time
//! A table is one bounded input, whose files are in no order of event time. Going by the newest event
//! time seen, as a stream has to, would drop most of it as late. So the watermark is not guessed here
//! but known: files are read in the order of their oldest event time, which the table's statistics
//! tell, and after each file the watermark is the oldest event time that is left. No row is ever late,
//! windows close as soon as nothing can reach them any more, and state stays as small as the table's
//! order allows. Where a file has no statistics, the watermark waits until all such files have been
//! read. In the end it goes to infinity, so that every window closes.
//!
//! The rows are those that the stream gave, once its last windows have closed, if the table holds what
//! the stream read: rows that the stream dropped because they were late are not missing here. Of
//! duplicates the one that comes first in event time (by file) stays, which may be another one than
//! arrived first.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::graph::{Graph, GraphError};
use crate::lake::{LakeError, LakeTable, TableSpec};
use crate::sink::delta::DeltaWriter;
use crate::source::SourceError;
use crate::source::delta::{WholeItem, WholeTable};
use crate::sql::{Finish, Origin, QueryPlan, SqlError};
use crate::trial::{Dropped, Trial};

/// What a query reads, and the table that stands for it.
pub struct Relation {
    /// Its name in FROM.
    pub name: Arc<str>,
    /// The columns that it has in the configuration.
    pub schema: SchemaRef,
    /// Whether the query goes by its event time.
    pub timed: bool,
    /// The table.
    pub table: WholeTable,
}

/// Why a query cannot be computed again.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The table that is read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A feed, an operator or a rule.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// ORDER BY.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The table that is written.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// No query was given.
    #[error("there is no query to compute")]
    Nothing,
    /// The table that is written holds rows.
    #[error(
        "the table {table} holds rows already, in {files} files; --overwrite replaces them, \
         --into writes to another table"
    )]
    NotEmpty {
        /// Its address.
        table: String,
        /// How many files it has.
        files: usize,
    },
    /// Somebody else has written to the table meanwhile.
    #[error(
        "the table {table} was changed while it was computed anew (version {before} became \
         {after}), by a daemon that is running, as likely as not; nothing was written: stop the \
         daemon, or write to another table with --into"
    )]
    Changed {
        /// Its address.
        table: String,
        /// The version at the beginning.
        before: i64,
        /// The version at the end.
        after: i64,
    },
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files read to their end.
    pub files: usize,
    /// Rows read.
    pub read: u64,
    /// Rows that have come out.
    pub written: u64,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Files and rows.
    pub progress: Progress,
    /// Rows that rules sent to the dead letters; they are counted here and not written.
    pub rejected: u64,
    /// Rows without an event time, where the query goes by it.
    pub null_time: u64,
    /// Rows that came too late; none, unless statistics are wrong.
    pub late: u64,
    /// The version of the table that holds the rows.
    pub version: i64,
}

struct Reading {
    name: Arc<str>,
    timed: bool,
    /// `None` once it has been read to its end.
    items: Option<Receiver<WholeItem>>,
    /// No row that follows is older.
    floor: Option<i64>,
}

/// Computes the last of `plans` over `relations` and commits its rows to the table `spec`, whose
/// columns are that plan's. Each plan reads relations and plans before it. With `overwrite` they replace all rows of a table that
/// is there. `watch` hears of every batch.
///
/// Blocks; must not be called on a thread that runs an asynchronous runtime.
///
/// # Errors
/// See [`BackfillError`]. Nothing has been written then.
pub fn run(
    plans: &[Arc<QueryPlan>],
    relations: Vec<Relation>,
    spec: &TableSpec,
    overwrite: bool,
    mut watch: impl FnMut(Progress),
) -> Result<Report, BackfillError> {
    let Some(plan) = plans.last() else { return Err(BackfillError::Nothing) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SourceError::Thread(error.to_string()))?;
    let mut output = runtime.block_on(Output::open(plan, spec, overwrite))?;
    let graph = Arc::new(graph_of(plans, &relations)?);
    let decoded: Vec<SchemaRef> =
        relations.iter().map(|relation| read_columns(&graph, relation)).collect();
    let timed: Vec<bool> = relations.iter().map(|relation| relation.timed).collect();
    let mut trial = Trial::new(graph, &decoded, &timed)?;
    let mut readings = Vec::new();
    for (relation, columns) in relations.into_iter().zip(&decoded) {
        readings.push(Reading {
            name: relation.name,
            timed: relation.timed,
            floor: relation.table.least(),
            items: Some(relation.table.read(columns)?),
        });
    }
    let mut progress = Progress::default();
    let mut rejected = 0;
    // The input that is furthest behind is read next, so that a join keeps no more than it must.
    while let Some(next) = furthest_behind(&readings) {
        let reading = &mut readings[next];
        let item = reading.items.as_ref().map(Receiver::recv);
        match item {
            Some(Ok(WholeItem::Rows(rows))) => {
                progress.read += rows.num_rows() as u64;
                trial.rows(next, &rows)?;
            }
            Some(Ok(WholeItem::File(floor))) => {
                progress.files += 1;
                reading.floor = floor;
                if let Some(floor) = floor.filter(|_| reading.timed) {
                    // A deduplication takes a row at the watermark itself for late.
                    trial.watermark(next, floor.saturating_sub(1))?;
                }
            }
            Some(Ok(WholeItem::End)) => {
                reading.items = None;
                if reading.timed {
                    trial.watermark(next, i64::MAX)?;
                }
            }
            Some(Ok(WholeItem::Failed(error))) => return Err(error.into()),
            Some(Err(_)) | None => {
                let gone = format!("the thread that reads the table for '{}'", reading.name);
                return Err(SourceError::Thread(format!("{gone} is gone")).into());
            }
        }
        rejected += runtime.block_on(output.take(&mut trial, &mut progress))?;
        watch(progress);
    }
    trial.trigger()?;
    rejected += runtime.block_on(output.take(&mut trial, &mut progress))?;
    watch(progress);
    let dropped: Dropped = (0..plans.len()).map(|query| trial.dropped(query)).sum();
    let version = runtime.block_on(output.commit(&mut progress))?;
    let (null_time, late) = (dropped.null_time, dropped.late);
    Ok(Report { progress, rejected, null_time, late, version })
}

/// The queries with the relations for sources.
fn graph_of(plans: &[Arc<QueryPlan>], relations: &[Relation]) -> Result<Graph, GraphError> {
    let cut = |plan: &Arc<QueryPlan>| {
        let mut plan = (**plan).clone();
        for feed in &mut plan.feeds {
            if let Origin::Query(name) = &feed.from
                && relations.iter().any(|relation| *relation.name == **name)
            {
                feed.from = Origin::Source(name.clone());
            }
        }
        Arc::new(plan)
    };
    let sources = relations.iter().map(|relation| relation.name.clone()).collect();
    Graph::new(sources, plans.iter().map(cut).collect())
}

/// The columns of a relation that are read; at least one, so that rows can be counted.
fn read_columns(graph: &Graph, relation: &Relation) -> SchemaRef {
    let place = graph.sources().iter().position(|name| *name == relation.name);
    let mut reads = place.map(|place| graph.reads(place)).unwrap_or_default();
    if reads.is_empty() {
        reads.insert(0);
    }
    let fields: Vec<_> =
        reads.into_iter().filter_map(|at| relation.schema.fields().get(at).cloned()).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

fn furthest_behind(readings: &[Reading]) -> Option<usize> {
    let open = readings.iter().enumerate().filter(|(_, reading)| reading.items.is_some());
    open.min_by_key(|(_, reading)| reading.floor).map(|(at, _)| at)
}

/// The table that is written.
struct Output {
    table: LakeTable,
    writer: DeltaWriter,
    began_at: i64,
    overwrite: bool,
    finish: Option<(Finish, Vec<RecordBatch>)>,
}

impl Output {
    async fn open(
        plan: &QueryPlan,
        spec: &TableSpec,
        overwrite: bool,
    ) -> Result<Self, BackfillError> {
        let table = LakeTable::open_or_create(spec).await?;
        let files = table.num_files().await?;
        if !overwrite && files > 0 {
            return Err(BackfillError::NotEmpty { table: table.uri().to_owned(), files });
        }
        if overwrite {
            table.may_remove()?;
        }
        let writer = DeltaWriter::new(&table, spec)?;
        let finish = match &plan.finish {
            Some(finish) => Some((finish.bind(&plan.name, &plan.output_schema)?, Vec::new())),
            None => None,
        };
        Ok(Self { began_at: table.version(), table, writer, overwrite, finish })
    }

    /// Writes what has come out since the last call; returns how many rows rules have put aside.
    async fn take(
        &mut self,
        trial: &mut Trial,
        progress: &mut Progress,
    ) -> Result<u64, BackfillError> {
        let last = trial.graph().queries().len().saturating_sub(1);
        for output in trial.take_output().into_iter().filter(|output| output.query == last) {
            match &mut self.finish {
                // ORDER BY and LIMIT are about all rows.
                Some((_, waiting)) => waiting.push(output.rows),
                None => {
                    self.writer.write(&output.rows).await?;
                    progress.written += output.rows.num_rows() as u64;
                }
            }
        }
        trial.take_checked();
        let rejected = trial.take_rejected();
        Ok(rejected.iter().map(|(_, rows)| rows.rules.len() as u64).sum())
    }

    async fn commit(mut self, progress: &mut Progress) -> Result<i64, BackfillError> {
        if let Some((finish, waiting)) = &self.finish {
            for rows in finish.apply(waiting)? {
                self.writer.write(&rows).await?;
                progress.written += rows.num_rows() as u64;
            }
        }
        let adds = self.writer.prepare().await?;
        let now = self.table.refresh().await?;
        if now != self.began_at {
            self.writer.discard().await;
            let (table, before) = (self.table.uri().to_owned(), self.began_at);
            return Err(BackfillError::Changed { table, before, after: now });
        }
        let info = match self.overwrite {
            true => self.table.replace(adds, &[], &[]).await?,
            false if adds.is_empty() => return Ok(now),
            false => self.table.commit(adds, &[], &[]).await?,
        };
        Ok(info.version)
    }
}

#[cfg(test)]
mod tests;
