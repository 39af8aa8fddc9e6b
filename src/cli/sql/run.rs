//! Statements one after the other: rows to where they belong, the rest to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use super::super::{FAILED, OK, USAGE};
use super::output::{self, Format};
use super::plot::{self, PlotArgs};
use super::text;
use crate::cli::table::grouped;
use crate::lakesql::{LakeSqlError, Limits, Rows, Session, StatementText, split};

/// How statements are run and shown; a shell may change them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) format: Format,
    pub(super) output: Option<PathBuf>,
    /// Rows of a table on the terminal; 0: all.
    pub(super) max_rows: usize,
    pub(super) plot: PlotArgs,
    pub(super) timeout: Option<Duration>,
    pub(super) read_only: bool,
    pub(super) quiet: bool,
}

/// Why a statement gave no rows, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("{0}")]
    Sql(LakeSqlError),
    #[error("{0}")]
    Plot(plot::ChartError),
    #[error("cannot write {to}: {reason}")]
    Output { to: String, reason: String },
    /// Whoever reads standard output has seen enough.
    #[error("nobody reads the output")]
    Closed,
    #[error("cancelled")]
    Cancelled,
}

impl From<LakeSqlError> for RunError {
    fn from(error: LakeSqlError) -> Self {
        Self::Sql(error)
    }
}

/// Runs statements.
pub(super) struct Runner {
    pub(super) session: Session,
    pub(super) settings: Settings,
}

impl Runner {
    pub(super) fn new(session: Session, settings: Settings) -> Self {
        Self { session, settings }
    }

    /// Runs all statements of a text, up to the first that fails; the status to exit with.
    pub(super) fn run_all(&mut self, text: &str) -> u8 {
        let statements = match split(text) {
            Ok(statements) => statements,
            Err(error) => {
                text::print_error(&LakeSqlError::Sql(error), text);
                return USAGE;
            }
        };
        if statements.is_empty() {
            eprintln!("error: there is no statement\n  = expected: SQL, or -f FILE");
            return USAGE;
        }
        let last = statements.len() - 1;
        for (n, statement) in statements.into_iter().enumerate() {
            // A file holds the rows of one statement.
            let to_file = n == last;
            match self.run(statement, to_file) {
                Ok(()) => {}
                Err(RunError::Closed) => return OK,
                Err(error) => return report(&error, text),
            }
        }
        OK
    }

    /// Runs one statement. Ctrl-C stops it.
    pub(super) fn run(&self, statement: StatementText, to_file: bool) -> Result<(), RunError> {
        let started = Instant::now();
        let output = self.settings.output.as_ref().filter(|_| to_file);
        let plots = self.settings.plot.is_asked_for() && to_file;
        // What is cut for the eye is cut before it is computed.
        let shown = match self.settings.format {
            Format::Table if output.is_none() && !plots && self.settings.max_rows > 0 => {
                Some(self.settings.max_rows)
            }
            _ => None,
        };
        let limits = Limits {
            max_rows: shown,
            timeout: self.settings.timeout,
            read_only: self.settings.read_only,
        };
        let outcome = self.session.block_on(async {
            Ok(interruptible(async {
                let mut rows = self.session.start(statement, &limits).await?;
                for notice in rows.notices() {
                    eprintln!("note: {notice}");
                }
                let told = if plots {
                    self.chart(&mut rows).await?
                } else {
                    self.write(&mut rows, output).await?
                };
                Ok((told, rows.is_truncated()))
            })
            .await)
        })?;
        let (rows, truncated) = outcome?;
        if let (Some(rows), false) = (rows, self.settings.quiet) {
            let took = text::took(started.elapsed());
            let word = if rows == 1 { "row" } else { "rows" };
            let count = grouped(rows);
            if truncated {
                eprintln!("the first {count} {word} ({took}); --max-rows 0 shows all");
            } else {
                eprintln!("{count} {word} ({took})");
            }
        }
        Ok(())
    }

    /// Writes the rows as they come; how many, unless the statement has none to give.
    async fn write(
        &self,
        rows: &mut Rows,
        output: Option<&PathBuf>,
    ) -> Result<Option<u64>, RunError> {
        let schema = rows.schema();
        if schema.fields().is_empty() {
            while rows.next().await?.is_some() {}
            return Ok(None);
        }
        let to = output.map_or_else(|| "standard output".to_owned(), |p| p.display().to_string());
        let failed = |error: output::WriteError| match error {
            output::WriteError::Closed => RunError::Closed,
            output::WriteError::Failed(reason) => RunError::Output { to: to.clone(), reason },
        };
        let mut sink = output::Sink::new(self.settings.format, schema, output).map_err(failed)?;
        let mut count = 0_u64;
        while let Some(batch) = rows.next().await? {
            count += batch.num_rows() as u64;
            sink.write(&batch).map_err(failed)?;
        }
        sink.finish().map_err(failed)?;
        Ok(Some(count))
    }

    async fn chart(&self, rows: &mut Rows) -> Result<Option<u64>, RunError> {
        let mut batches: Vec<RecordBatch> = vec![];
        let mut count = 0;
        while let Some(batch) = rows.next().await? {
            count += batch.num_rows();
            plot::check_size(count).map_err(RunError::Plot)?;
            batches.push(batch);
        }
        let text =
            plot::draw(&self.settings.plot, &rows.schema(), &batches).map_err(RunError::Plot)?;
        if let Some(text) = text {
            let mut out = std::io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                return Err(RunError::Closed);
            }
        }
        Ok(Some(count as u64))
    }
}

/// Waits for a future, or for Ctrl-C.
async fn interruptible<T>(
    future: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    tokio::select! {
        result = future => result,
        Ok(()) = tokio::signal::ctrl_c() => Err(RunError::Cancelled),
    }
}

/// Says what went wrong; the status to exit with.
pub(super) fn report(error: &RunError, text: &str) -> u8 {
    match error {
        RunError::Sql(error) => {
            text::print_error(error, text);
            if error.is_usage() { USAGE } else { FAILED }
        }
        RunError::Plot(error) => {
            eprintln!("error: {error}");
            if error.is_usage() { USAGE } else { FAILED }
        }
        RunError::Closed => OK,
        error => {
            eprintln!("error: {error}");
            FAILED
        }
    }
}

/// Whether colours are seen and wanted.
pub(super) fn coloured() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
