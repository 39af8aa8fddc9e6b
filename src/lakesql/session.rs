//! A session: the catalogue, the temporary views, and what runs the statements.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio::sync::mpsc;

use super::engine::{AbortOnDrop, Engine, EngineOptions};
use super::statement::{self, StatementText};
use super::views::View;
use super::{LakeSqlError, commands, split};
use crate::catalog::Catalog;
use crate::sql::SqlError;

/// Batches that wait for their reader. Each is of some thousand rows; a reader that is slow stops
/// the query, not the memory.
const BATCHES_AHEAD: usize = 2;

/// How far one statement may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Rows that are given back. What is left out is said by [`Answer::truncated`].
    pub max_rows: Option<usize>,
    /// From the call to the last row.
    pub timeout: Option<Duration>,
    /// Whether statements that change tables or files are refused: OPTIMIZE, VACUUM, RESTORE.
    pub read_only: bool,
}

/// All rows of a statement.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The columns. Two may have the same name, as in `SELECT a.id, b.id`.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// How many there are.
    pub rows: usize,
    /// Whether there were more than [`Limits::max_rows`].
    pub truncated: bool,
    /// What its author should know, such as a GROUP BY that was added.
    pub notices: Vec<String>,
    /// From the call to the last row.
    pub took: Duration,
}

/// The rows of a statement as they come. Dropping it stops the query.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    notices: Vec<String>,
    receiver: mpsc::Receiver<Piece>,
    deadline: Deadline,
    truncated: bool,
    done: bool,
    _task: AbortOnDrop,
}

/// What a running query says.
#[derive(Debug)]
enum Piece {
    Batch(RecordBatch),
    /// It is over, and rows were left out or not.
    End {
        truncated: bool,
    },
    Failed(LakeSqlError),
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What the statement's author should know.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Whether rows were left out; known once the last has come.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The next rows; `None` after the last. With a timeout it has to be awaited in a tokio runtime
    /// with a clock, of which [`Session::block_on`] has one.
    ///
    /// # Errors
    /// Reading or computing failed, or took too long.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, LakeSqlError> {
        if self.done {
            return Ok(None);
        }
        // The clock is looked at here and not by the query, which may compute for long without
        // letting anybody else have its thread.
        let receiver = &mut self.receiver;
        let piece = match within(self.deadline, async { Ok(receiver.recv().await) }).await {
            Ok(piece) => piece,
            Err(error) => {
                self.done = true;
                return Err(error);
            }
        };
        match piece {
            Some(Piece::Batch(batch)) => Ok(Some(batch)),
            Some(Piece::End { truncated }) => {
                self.done = true;
                self.truncated = truncated;
                Ok(None)
            }
            Some(Piece::Failed(error)) => {
                self.done = true;
                Err(error)
            }
            // A sender that says neither has panicked.
            None => {
                self.done = true;
                Err(LakeSqlError::Execution(
                    "the engine failed at this query, which is a fault of the engine; please \
                     report it with the query"
                        .to_owned(),
                ))
            }
        }
    }
}

/// Statements over the tables of a catalogue.
///
/// Has threads of its own, on which everything runs: its futures may be awaited anywhere. May be
/// shared; temporary views are then shared too.
#[derive(Debug, Clone)]
pub struct Session {
    engine: Arc<Engine>,
    world: Arc<World>,
}

/// What statements refer to.
#[derive(Debug)]
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) views: Mutex<Vec<View>>,
}

impl World {
    pub(super) fn views(&self) -> Vec<View> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Session {
    /// A session that may use the whole machine.
    ///
    /// # Errors
    /// No threads can be had.
    pub fn new(catalog: Catalog) -> Result<Self, LakeSqlError> {
        Self::with_options(catalog, &EngineOptions::default())
    }

    /// A session that may use what the options say.
    ///
    /// # Errors
    /// No threads can be had.
    pub fn with_options(catalog: Catalog, options: &EngineOptions) -> Result<Self, LakeSqlError> {
        Ok(Self {
            engine: Arc::new(Engine::new(options)?),
            world: Arc::new(World { catalog, views: Mutex::default() }),
        })
    }

    /// The tables that have a name.
    pub fn catalog(&self) -> &Catalog {
        &self.world.catalog
    }

    /// The names and columns of the temporary views.
    pub fn views(&self) -> Vec<(String, SchemaRef)> {
        let views = self.world.views();
        views.into_iter().map(|view| (view.name, view.schema)).collect()
    }

    /// Executes the one statement that `sql` is, and collects its rows.
    ///
    /// # Errors
    /// See [`LakeSqlError`].
    pub async fn execute(&self, sql: &str, limits: &Limits) -> Result<Answer, LakeSqlError> {
        let started = Instant::now();
        let mut statements = split(sql)?.into_iter();
        let statement = match (statements.next(), statements.next()) {
            (Some(statement), None) => statement,
            (None, _) => {
                return Err(SqlError::new("there is no statement").hint("write a SELECT").into());
            }
            (Some(_), Some(second)) => {
                return Err(SqlError::new("there is a second statement here")
                    .hint("execute one after the other")
                    .at_location(Some(second.at))
                    .into());
            }
        };
        let mut rows = self.start(statement, limits).await?;
        let mut batches = vec![];
        while let Some(batch) = rows.next().await? {
            batches.push(batch);
        }
        Ok(Answer {
            schema: rows.schema(),
            rows: batches.iter().map(RecordBatch::num_rows).sum(),
            batches,
            truncated: rows.is_truncated(),
            notices: std::mem::take(&mut rows.notices),
            took: started.elapsed(),
        })
    }

    /// Starts a statement; its rows come as they are asked for.
    ///
    /// # Errors
    /// Whatever is found before there are rows; see [`LakeSqlError`].
    pub async fn start(
        &self,
        statement: StatementText,
        limits: &Limits,
    ) -> Result<Rows, LakeSqlError> {
        let deadline = limits.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let (engine, world) = (Arc::clone(&self.engine), Arc::clone(&self.world));
        let own = limits.clone();
        let ready = self
            .engine
            .run(within(deadline, async move {
                let parsed = statement::parse(&statement)?;
                if let (true, Some(statement)) = (own.read_only, parsed.writes()) {
                    return Err(LakeSqlError::ReadOnly { statement });
                }
                commands::execute(parsed, &world, engine.state(), own.max_rows).await
            }))
            .await?;
        let commands::Ready { schema, notices, rows } = ready;
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let task = self.engine.start(pump(rows, limits.max_rows, sender));
        Ok(Rows { schema, notices, receiver, deadline, truncated: false, done: false, _task: task })
    }

    /// Waits for a future of this session on the calling thread, which must not be one of an
    /// asynchronous runtime.
    ///
    /// # Errors
    /// Those of the future.
    pub fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, LakeSqlError>>,
    ) -> Result<T, LakeSqlError> {
        self.engine.block_on(future)
    }
}

type Deadline = Option<(Instant, Duration)>;

async fn within<T>(
    deadline: Deadline,
    future: impl Future<Output = Result<T, LakeSqlError>>,
) -> Result<T, LakeSqlError> {
    match deadline {
        None => future.await,
        Some((at, timeout)) => match tokio::time::timeout_at(at.into(), future).await {
            Ok(result) => result,
            Err(_) => Err(LakeSqlError::Timeout(timeout)),
        },
    }
}

/// Brings the rows to whoever reads them.
async fn pump(mut rows: commands::Source, max_rows: Option<usize>, sender: mpsc::Sender<Piece>) {
    let mut left = max_rows;
    let last = loop {
        let batch = match rows.next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => break Piece::End { truncated: false },
            Err(error) => break Piece::Failed(error),
        };
        let taken = left.map_or(batch.num_rows(), |left| left.min(batch.num_rows()));
        let truncated = taken < batch.num_rows();
        if let Some(left) = &mut left {
            *left -= taken;
        }
        let sent = taken == 0 || sender.send(Piece::Batch(batch.slice(0, taken))).await.is_ok();
        if !sent {
            return;
        }
        if truncated {
            break Piece::End { truncated };
        }
    };
    // Nobody waits for it if it cannot be sent.
    let _ = sender.send(last).await;
}
