//! Standard output: each epoch's rows as Spark's console sink prints a batch.
//!
//! **At least once.** A terminal takes no transactions. The number of the batch and the epoch are
//! written to a file beside the ledger after the rows are out; killed between the two, the next
//! start prints the same batch again, under the same number. A checkpoint that is lost takes that
//! file along, and numbers begin at 0 again; a second daemon has an output of its own.
//!
//! An epoch without rows prints nothing, except in complete mode, where the table is then empty.

mod java;
mod render;
mod show;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use self::render::{NULL, Renderer};
pub use self::show::{Show, show};
use super::disk;
use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};

/// Spark's line above and below a batch's number.
const RULE: &str = "-------------------------------------------";

/// How and where to print.
#[derive(Clone, Debug, Default)]
pub struct ConsoleOptions {
    /// The form of the table.
    pub show: Show,
    /// Where to.
    pub output: ConsoleOutput,
}

/// Where a console sink prints.
#[derive(Clone, Default)]
pub enum ConsoleOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// Something else that takes text.
    Other(Arc<Mutex<dyn Write + Send>>),
}

impl fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Other(_) => "Other",
        })
    }
}

/// What is remembered beside the ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Printed {
    last: Option<Marker>,
    next_batch: u64,
}

/// Prints batches.
pub struct ConsoleTarget {
    options: ConsoleOptions,
    context: TargetContext,
    state: PathBuf,
    printed: Printed,
}

impl ConsoleTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::AtLeastOnce(
        "a terminal takes no transactions: killed while it prints, the batch is printed again",
    );

    pub(super) async fn open(
        options: ConsoleOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let state = context.state_dir.join("console.json");
        let path = state.clone();
        let bytes = disk::blocking(move || disk::read(&path)).await?;
        // A file that cannot be understood only costs the batches' numbers.
        let printed: Printed =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(Self { options, context, state, printed })
    }

    pub(super) fn marker(&self) -> Option<Marker> {
        self.printed.last.clone()
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let marker = self.context.marker(epoch, rows.token());
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        if self.printed.last.as_ref() == Some(&marker) {
            info.already_there = true;
            return Ok(info);
        }
        let text = self.text(rows)?;
        info.written = rows.num_rows();
        info.bytes = text.len() as u64;
        let printed =
            Printed { last: Some(marker), next_batch: self.printed.next_batch.saturating_add(1) };
        let (output, state, remember) =
            (self.options.output.clone(), self.state.clone(), printed.clone());
        disk::blocking(move || print(&output, &text)).await?;
        // From here on the batch is out: a failure to remember it must not print it again now.
        self.printed = printed;
        fail::fail_point!("console::printed");
        let remembered = disk::blocking(move || {
            let bytes = serde_json::to_vec(&remember).map_err(SinkError::internal)?;
            disk::replace(&state, &bytes)
        })
        .await;
        info.upkeep_error = remembered.err().map(|error| error.to_string());
        info.took = started.elapsed();
        Ok(info)
    }

    fn text(&self, rows: &StagedRows) -> Result<String, SinkError> {
        let mut batches = Vec::new();
        let mut read = 0;
        for batch in rows.batches()? {
            let batch = batch?;
            read += batch.num_rows();
            batches.push(batch);
            // One more than is shown tells that there are more.
            if read > self.options.show.num_rows {
                break;
            }
        }
        let table =
            show(rows.schema(), &batches, &self.options.show).map_err(SinkError::internal)?;
        // `show` prints its table as a line: after a whole table, which ends with a line break, that
        // makes an empty one.
        Ok(format!("{RULE}\nBatch: {}\n{RULE}\n{table}\n", self.printed.next_batch))
    }
}

fn print(output: &ConsoleOutput, text: &str) -> Result<(), SinkError> {
    let write = |to: &mut dyn Write| to.write_all(text.as_bytes()).and_then(|()| to.flush());
    let result = match output {
        // Locked for the whole batch, so that two sinks do not print into each other's tables.
        ConsoleOutput::Stdout => write(&mut std::io::stdout().lock()),
        ConsoleOutput::Other(output) => {
            // Nothing is done under this lock that leaves half a state behind.
            write(&mut *output.lock().unwrap_or_else(PoisonError::into_inner))
        }
    };
    result.map_err(SinkError::io("write to", "standard output".as_ref()))
}
