//! A Delta table whose rows are replaced: by key in update mode, all of them in complete mode.
//!
//! - **Update**: the last row of each key in the epoch is merged into the table (`MERGE ... WHEN
//!   MATCHED UPDATE WHEN NOT MATCHED INSERT`). NULL in a key matches NULL. Where partition columns
//!   are among the keys, only the partitions that the epoch's rows name are read. Of what is left,
//!   files are passed over by their statistics of those key columns that are no structs; of a
//!   `window` struct they are not, so that a table which grows for long wants a partition column, or
//!   `window.start` as a column of its own, among its keys. A key must not stand in the table twice.
//! - **Complete**: the epoch's rows replace all rows of the table, in one commit.
//! - **Append**: they are added.
//!
//! # Exactly once
//! The commit that changes the rows also sets three transaction versions (`txn` actions):
//! `millpond/PIPELINE/SINK/epoch@LEDGER`, the epoch; `millpond/PIPELINE/SINK/ledger`, a number that
//! stands for the ledger; and `millpond/PIPELINE/SINK/rows`, the token of the staged rows.
//!
//! - **Killed before the commit**: files may be there that no version names; the rows are committed
//!   at the next start. A vacuum removes the files.
//! - **Killed between the commit and our knowing it**, or a store that never says how a commit went:
//!   the versions are read before each attempt, and an epoch whose token is there is not committed
//!   again.
//! - **A second daemon**: both write the same transactions. The versions that an epoch was held
//!   against are checked once more in the very version of the table that its commit follows, and
//!   Delta takes only one of two commits that set the same transactions; the loser reads the versions
//!   again, finds the other's and is fenced.
//! - **A lost or older checkpoint**: the versions are of another ledger or ahead of this one's, and
//!   opening is refused.
//! - **Other writers** of the same table: a merge that read files which they changed is repeated on
//!   the newer version.

mod merge;
#[cfg(test)]
mod tests;

use std::hash::Hasher;
use std::time::Instant;

use deltalake::DeltaTable;

use self::merge::Merger;
use super::delta::DeltaWriter;
use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Decision, Guarantee, Marker, TargetContext};
use crate::lake::{Add, LakeTable, TableSpec};
use crate::sql::OutputMode;

/// The table.
#[derive(Clone, Debug)]
pub struct DeltaTableOptions {
    /// Where it is and how its files are written. Its schema is replaced by the sink's.
    pub table: TableSpec,
}

/// Merges rows into a Delta table, or replaces it.
pub struct DeltaTableTarget {
    context: TargetContext,
    table: LakeTable,
    way: Way,
    /// What the table has to hold before a commit.
    expected: Option<Marker>,
    /// The transactions' identifiers.
    epoch_app: String,
    ledger_app: String,
    rows_app: String,
    /// The table as a merge reads it; loaded when it is first needed.
    delta: Option<DeltaTable>,
    /// Files of an epoch whose commit failed, so that trying again does not write them again.
    prepared: Option<(u64, String, Vec<Add>)>,
}

/// Transactions' identifiers and the versions that the table has of them.
type Versions = Vec<(String, Option<i64>)>;

/// How rows get into the table.
enum Way {
    Append(Box<DeltaWriter>),
    Replace(Box<DeltaWriter>),
    Merge(Box<Merger>),
}

impl DeltaTableTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce(
        "rows and epoch are one commit of the table, and the epoch is looked up before each",
    );

    pub(super) async fn open(
        options: DeltaTableOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let spec = TableSpec { schema: context.schema.clone(), ..options.table };
        if context.mode == OutputMode::Update {
            Merger::check(&context)?;
        }
        let table = LakeTable::open_or_create(&spec).await?;
        let way = match context.mode {
            OutputMode::Append => Way::Append(Box::new(DeltaWriter::new(&table, &spec)?)),
            OutputMode::Complete => {
                table.may_remove()?;
                Way::Replace(Box::new(DeltaWriter::new(&table, &spec)?))
            }
            OutputMode::Update => {
                table.may_remove()?;
                Way::Merge(Box::new(Merger::new(&context, &table, &spec)?))
            }
        };
        let application = format!("millpond/{}/{}", context.pipeline, context.sink);
        let mut target = Self {
            epoch_app: format!("{application}/epoch@{}", context.instance),
            ledger_app: format!("{application}/ledger"),
            rows_app: format!("{application}/rows"),
            context,
            table,
            way,
            expected: None,
            delta: None,
            prepared: None,
        };
        let found = target.marker().await?;
        target.expected = target.context.check(&target.address(), found)?;
        Ok(target)
    }

    pub(super) fn address(&self) -> String {
        format!("the Delta table {}", self.table.uri())
    }

    pub(super) fn version(&self) -> i64 {
        self.table.version()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        Ok(self.found().await?.0)
    }

    /// What the table holds of this sink: in words, and the versions that say so.
    async fn found(&mut self) -> Result<(Option<Marker>, Versions), SinkError> {
        self.table.refresh().await?;
        let mut versions = Versions::with_capacity(3);
        for app in [&self.epoch_app, &self.ledger_app, &self.rows_app] {
            versions.push((app.clone(), self.table.transaction_version(app).await?));
        }
        let [epoch, ledger, rows] = [0, 1, 2].map(|place: usize| versions[place].1);
        let token = rows.map(|rows| format!("{rows:016x}")).unwrap_or_default();
        // A ledger that is not this one is known by its number only, and so is its epoch.
        let marker = ledger.map(|ledger| {
            if ledger == number_of(&self.context.instance) {
                let epoch = epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0);
                Marker { instance: self.context.instance.clone(), epoch, token }
            } else {
                Marker { instance: format!("number {ledger:x}"), epoch: 0, token }
            }
        });
        Ok((marker, versions))
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let (found, versions) = self.found().await?;
        let decision =
            self.context.decide(&self.address(), epoch, rows.token(), &self.expected, &found)?;
        if decision == Decision::AlreadyThere {
            info.already_there = true;
            info.version = Some(self.table.version());
            self.committed(epoch, rows);
            return Ok(info);
        }
        let transactions = self.transactions(epoch, rows.token())?;
        if let Way::Merge(merger) = &mut self.way {
            if self.delta.is_none() {
                self.delta = Some(self.table.delta());
            }
            // Taken out, so that a failed or abandoned merge leaves nothing half-loaded behind.
            let delta = self.delta.take().unwrap_or_else(|| self.table.delta());
            fail::fail_point!("delta_table::merge");
            let merged = merger.merge(delta, rows, transactions, &versions).await?;
            fail::fail_point!("delta_table::merged");
            self.delta = Some(merged.table);
            info.written = merged.rows;
            info.files = merged.files;
            info.version = Some(self.table.refresh().await?);
        } else {
            let done = self.write(epoch, rows, &transactions, &versions).await?;
            info.written = done.rows;
            info.files = done.files;
            info.bytes = done.bytes;
            info.version = Some(done.version);
            info.upkeep_error = done.upkeep_error;
        }
        self.committed(epoch, rows);
        info.took = started.elapsed();
        Ok(info)
    }

    async fn write(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
        transactions: &[(String, i64)],
        expected: &Versions,
    ) -> Result<crate::lake::CommitInfo, SinkError> {
        let (writer, replace) = match &mut self.way {
            Way::Append(writer) => (writer, false),
            Way::Replace(writer) => (writer, true),
            Way::Merge(_) => return Err(SinkError::internal("a merge has no files of its own")),
        };
        let adds = match &self.prepared {
            Some((prepared, token, adds)) if *prepared == epoch && token == rows.token() => {
                adds.clone()
            }
            _ => {
                // What an attempt before this one has not finished.
                writer.discard().await;
                for batch in rows.batches()? {
                    writer.write(&batch?).await?;
                }
                let adds = writer.prepare().await?;
                self.prepared = Some((epoch, rows.token().to_owned(), adds.clone()));
                adds
            }
        };
        Ok(if replace {
            self.table.replace(adds, transactions, expected).await?
        } else {
            self.table.commit(adds, transactions, expected).await?
        })
    }

    fn committed(&mut self, epoch: u64, rows: &StagedRows) {
        self.expected = Some(self.context.marker(epoch, rows.token()));
        self.prepared = None;
    }

    fn transactions(&self, epoch: u64, token: &str) -> Result<Vec<(String, i64)>, SinkError> {
        let rows = i64::from_str_radix(token, 16)
            .map_err(|e| SinkError::internal(format_args!("the token {token}: {e}")))?;
        let epoch = i64::try_from(epoch).map_err(SinkError::internal)?;
        Ok(vec![
            (self.epoch_app.clone(), epoch),
            (self.ledger_app.clone(), number_of(&self.context.instance)),
            (self.rows_app.clone(), rows),
        ])
    }
}

/// A number for a ledger: FNV-1a, cut to what a transaction's version can hold. It is written down,
/// so it has to be the same in every build.
fn number_of(instance: &str) -> i64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(instance.as_bytes());
    // Shifted, it fits.
    (hash.finish() >> 1) as i64
}
