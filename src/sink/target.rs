//! Where staged rows go: one type for all targets, and what they have in common.

use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::console::{ConsoleOptions, ConsoleTarget};
use super::delta_table::{DeltaTableOptions, DeltaTableTarget};
use super::error::SinkError;
use super::files::{FilesOptions, FilesTarget};
use super::kafka::{KafkaOptions, KafkaTarget};
use super::memory::{MemoryOptions, MemoryTarget};
use super::postgres::{PostgresOptions, PostgresTarget};
use super::staged::StagedRows;
use super::webhook::{WebhookOptions, WebhookTarget};
use crate::sql::OutputMode;

/// Which epoch a target holds as the last one of a sink.
///
/// The token is that of the staged rows, new for every epoch of every process in the world: two
/// ledgers that are copies of each other count the same epochs under the same instance, and only
/// the token tells whose rows are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Marker {
    /// The ledger that counted the epoch.
    pub instance: String,
    /// The epoch.
    pub epoch: u64,
    /// The token of the rows; empty where the target does not keep it.
    pub token: String,
}

impl Marker {
    pub(crate) fn is_of(&self, instance: &str, epoch: u64, token: &str) -> bool {
        self.instance == instance && self.epoch == epoch && self.token == token
    }
}

/// What a sink promises about each row of a query's output, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Whatever is killed, whenever, the target ends up as if each epoch had been applied once.
    ExactlyOnce(&'static str),
    /// No row is left out; after a crash the rows of the last epoch may appear again.
    AtLeastOnce(&'static str),
}

impl Guarantee {
    /// `exactly once` or `at least once`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::ExactlyOnce(_) => "exactly once",
            Self::AtLeastOnce(_) => "at least once",
        }
    }

    /// How it comes about, for `explain`: a phrase without a full stop.
    pub fn words(&self) -> &'static str {
        match self {
            Self::ExactlyOnce(words) | Self::AtLeastOnce(words) => words,
        }
    }
}

/// What a commit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitInfo {
    /// Rows of the epoch.
    pub rows: u64,
    /// Rows that were written, after all but the last of each key were left out.
    pub written: u64,
    /// Files written, for targets that have files.
    pub files: usize,
    /// Bytes written, as far as the target tells.
    pub bytes: u64,
    /// The version of the table that the commit made, for targets that have versions.
    pub version: Option<i64>,
    /// The target held the epoch already: an earlier call had committed it without learning so.
    pub already_there: bool,
    /// From the call to its return.
    pub took: Duration,
    /// Something that failed after the commit and will be tried again; the commit stands.
    pub upkeep_error: Option<String>,
}

/// What a target has to know of the sink it belongs to.
#[derive(Clone, Debug)]
pub struct TargetContext {
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink's name, unique in the pipeline.
    pub sink: String,
    /// The rows: a schema whose columns a Delta table could hold.
    pub schema: SchemaRef,
    /// Which rows come: those that are final, those that changed, or all.
    pub mode: OutputMode,
    /// What a row is the newest version of, in update mode: the query's group keys, or what the
    /// sink's configuration says. Empty: none.
    pub keys: Vec<String>,
    /// The ledger that counts the epochs.
    pub instance: String,
    /// The ledger's newest epoch; `None` for a ledger that has none.
    pub last_epoch: Option<u64>,
    /// Take the target as it is, even if it holds epochs that the ledger does not know.
    pub adopt: bool,
    /// A directory of this sink's own, beside the ledger. Set by
    /// [`StagedSink::open`](super::staged::StagedSink::open).
    pub state_dir: PathBuf,
}

impl TargetContext {
    /// The index of a column.
    pub(crate) fn column(&self, name: &str) -> Result<usize, SinkError> {
        self.schema.index_of(name).map_err(|_| {
            let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
            SinkError::definition(
                &self.sink,
                format!("the query has no column `{name}`; it has {}", names.join(", ")),
            )
        })
    }

    /// The indexes of the key columns.
    pub(crate) fn key_columns(&self) -> Result<Vec<usize>, SinkError> {
        self.keys.iter().map(|key| self.column(key)).collect()
    }

    /// Holds what was found in the target at the start against the ledger; returns what every
    /// commit has to find there.
    pub(crate) fn check(
        &self,
        target: &str,
        found: Option<Marker>,
    ) -> Result<Option<Marker>, SinkError> {
        let Some(marker) = found else { return Ok(None) };
        if self.adopt {
            return Ok(Some(marker));
        }
        let own = marker.instance == self.instance;
        if own && self.last_epoch.is_some_and(|last| marker.epoch <= last) {
            return Ok(Some(marker));
        }
        Err(SinkError::Ahead {
            target: target.to_owned(),
            found: marker,
            known: self.last_epoch.filter(|_| own),
        })
    }

    /// Whether the rows of an epoch have to be written, given what a target holds now and what it
    /// held when this daemon last knew.
    pub(crate) fn decide(
        &self,
        target: &str,
        epoch: u64,
        token: &str,
        expected: &Option<Marker>,
        found: &Option<Marker>,
    ) -> Result<Decision, SinkError> {
        if found.as_ref().is_some_and(|m| m.is_of(&self.instance, epoch, token)) {
            Ok(Decision::AlreadyThere)
        } else if found == expected {
            Ok(Decision::Write)
        } else if found.as_ref().is_some_and(|m| m.is_of(&self.instance, epoch, "")) {
            // A target that does not keep tokens: the epoch has moved to this one since this daemon
            // looked, and who else would have moved it is for the target to rule out.
            Ok(Decision::AlreadyThere)
        } else {
            Err(SinkError::Fenced {
                target: target.to_owned(),
                expected: expected.clone().map(Box::new),
                found: found.clone().map(Box::new),
            })
        }
    }

    pub(crate) fn marker(&self, epoch: u64, token: &str) -> Marker {
        Marker { instance: self.instance.clone(), epoch, token: token.to_owned() }
    }
}

/// What a commit has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Write,
    AlreadyThere,
}

/// Which target, with its options.
#[derive(Clone, Debug)]
pub enum TargetSpec {
    /// Standard output.
    Console(ConsoleOptions),
    /// This process's memory, for the API and the SQL command.
    Memory(MemoryOptions),
    /// Files in a directory.
    Files(FilesOptions),
    /// A Delta table by key (update mode), as a whole (complete mode), or appended to.
    DeltaTable(DeltaTableOptions),
    /// A PostgreSQL table.
    Postgres(PostgresOptions),
    /// A Kafka topic.
    Kafka(KafkaOptions),
    /// Somebody's HTTP server; takes events of anomalies only.
    Webhook(WebhookOptions),
}

impl TargetSpec {
    /// `console`, `memory`, `files`, `delta`, `postgres`, `kafka` or `webhook`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Console(_) => "console",
            Self::Memory(_) => "memory",
            Self::Files(_) => "files",
            Self::DeltaTable(_) => "delta",
            Self::Postgres(_) => "postgres",
            Self::Kafka(_) => "kafka",
            Self::Webhook(_) => "webhook",
        }
    }

    /// What it promises. Does not need the target to be there.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Self::Console(_) => ConsoleTarget::GUARANTEE,
            Self::Memory(_) => MemoryTarget::GUARANTEE,
            Self::Files(_) => FilesTarget::GUARANTEE,
            Self::DeltaTable(_) => DeltaTableTarget::GUARANTEE,
            Self::Postgres(_) => PostgresTarget::GUARANTEE,
            Self::Kafka(_) => KafkaTarget::GUARANTEE,
            Self::Webhook(_) => WebhookTarget::GUARANTEE,
        }
    }

    /// Where the rows go, in words, without secrets: a path, a topic, a table.
    pub fn address(&self) -> String {
        match self {
            Self::Console(_) => "standard output".to_owned(),
            Self::Memory(_) => "memory".to_owned(),
            Self::Files(options) => options.path.display().to_string(),
            Self::DeltaTable(options) => options.table.uri.clone(),
            Self::Postgres(options) => options.address(),
            Self::Kafka(options) => options.address(),
            Self::Webhook(options) => options.address(),
        }
    }
}

/// An open target. Must be used inside a tokio runtime.
///
/// All methods can be repeated after a transient error: a target connects again by itself, and
/// finds out what became of a commit whose outcome it never learnt.
pub enum Target {
    /// See [`ConsoleTarget`].
    Console(ConsoleTarget),
    /// See [`MemoryTarget`].
    Memory(MemoryTarget),
    /// See [`FilesTarget`].
    Files(Box<FilesTarget>),
    /// See [`DeltaTableTarget`].
    DeltaTable(Box<DeltaTableTarget>),
    /// See [`PostgresTarget`].
    Postgres(Box<PostgresTarget>),
    /// See [`KafkaTarget`].
    Kafka(Box<KafkaTarget>),
    /// See [`WebhookTarget`].
    Webhook(Box<WebhookTarget>),
}

impl Target {
    /// Opens the target, makes it if it is missing and may be made, and holds what it has of this
    /// sink against the ledger.
    ///
    /// # Errors
    /// [`SinkError::Definition`] and [`SinkError::Schema`] for what does not fit,
    /// [`SinkError::Ahead`] when the target has epochs that the ledger does not know,
    /// [`SinkError::Unavailable`], [`SinkError::Io`], [`SinkError::Rejected`],
    /// [`SinkError::Lake`].
    pub async fn open(spec: TargetSpec, context: TargetContext) -> Result<Self, SinkError> {
        Ok(match spec {
            TargetSpec::Console(options) => {
                Self::Console(ConsoleTarget::open(options, context).await?)
            }
            TargetSpec::Memory(options) => Self::Memory(MemoryTarget::open(options, context)?),
            TargetSpec::Files(options) => {
                Self::Files(Box::new(FilesTarget::open(options, context).await?))
            }
            TargetSpec::DeltaTable(options) => {
                Self::DeltaTable(Box::new(DeltaTableTarget::open(options, context).await?))
            }
            TargetSpec::Postgres(options) => {
                Self::Postgres(Box::new(PostgresTarget::open(options, context).await?))
            }
            TargetSpec::Kafka(options) => {
                Self::Kafka(Box::new(KafkaTarget::open(options, context).await?))
            }
            TargetSpec::Webhook(options) => {
                Self::Webhook(Box::new(WebhookTarget::open(options, context).await?))
            }
        })
    }

    /// The last epoch of this sink that the target holds.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        match self {
            Self::Console(target) => Ok(target.marker()),
            Self::Memory(target) => Ok(target.marker()),
            Self::Files(target) => target.marker().await,
            Self::DeltaTable(target) => target.marker().await,
            Self::Postgres(target) => target.marker().await,
            Self::Kafka(target) => target.marker().await,
            Self::Webhook(target) => target.marker().await,
        }
    }

    /// Makes the rows of `epoch` visible, together with the marker that says so, unless the target
    /// has them.
    ///
    /// # Errors
    /// After a transient one the same call may be made again. [`SinkError::Fenced`] when the target
    /// holds an epoch that this daemon has not put there; [`SinkError::Data`] and
    /// [`SinkError::Rejected`] when rows are refused, of which none has then been written;
    /// [`SinkError::Staged`] when the rows cannot be read back.
    pub async fn commit(&mut self, epoch: u64, rows: &StagedRows) -> Result<CommitInfo, SinkError> {
        match self {
            Self::Console(target) => target.commit(epoch, rows).await,
            Self::Memory(target) => target.commit(epoch, rows),
            Self::Files(target) => target.commit(epoch, rows).await,
            Self::DeltaTable(target) => target.commit(epoch, rows).await,
            Self::Postgres(target) => target.commit(epoch, rows).await,
            Self::Kafka(target) => target.commit(epoch, rows).await,
            Self::Webhook(target) => target.commit(epoch, rows).await,
        }
    }

    /// What it promises.
    pub fn guarantee(&self) -> Guarantee {
        match self {
            Self::Console(_) => ConsoleTarget::GUARANTEE,
            Self::Memory(_) => MemoryTarget::GUARANTEE,
            Self::Files(_) => FilesTarget::GUARANTEE,
            Self::DeltaTable(_) => DeltaTableTarget::GUARANTEE,
            Self::Postgres(_) => PostgresTarget::GUARANTEE,
            Self::Kafka(_) => KafkaTarget::GUARANTEE,
            Self::Webhook(_) => WebhookTarget::GUARANTEE,
        }
    }

    /// Where the rows go, in words, without secrets.
    pub fn address(&self) -> String {
        match self {
            Self::Console(_) => "standard output".to_owned(),
            Self::Memory(_) => "memory".to_owned(),
            Self::Files(target) => target.address(),
            Self::DeltaTable(target) => target.address(),
            Self::Postgres(target) => target.address(),
            Self::Kafka(target) => target.address(),
            Self::Webhook(target) => target.address(),
        }
    }

    /// The version of the target, for those that have versions.
    pub fn version(&self) -> Option<i64> {
        match self {
            Self::DeltaTable(target) => Some(target.version()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn context(last_epoch: Option<u64>) -> TargetContext {
        TargetContext {
            pipeline: "p".into(),
            sink: "s".into(),
            schema: Arc::new(Schema::empty()),
            mode: OutputMode::Append,
            keys: Vec::new(),
            instance: "me".into(),
            last_epoch,
            adopt: false,
            state_dir: PathBuf::new(),
        }
    }

    fn marker(instance: &str, epoch: u64) -> Option<Marker> {
        Some(Marker { instance: instance.into(), epoch, token: format!("{instance}{epoch}") })
    }

    #[test]
    fn a_target_may_be_behind_the_ledger_and_never_ahead_of_it() {
        assert_eq!(context(None).check("t", None).unwrap(), None);
        for epoch in [3, 7] {
            let found = marker("me", epoch);
            assert_eq!(context(Some(7)).check("t", found.clone()).unwrap(), found);
        }
        for (last, found) in
            [(Some(7), marker("me", 8)), (Some(7), marker("you", 2)), (None, marker("you", 2))]
        {
            let error = context(last).check("t", found.clone()).unwrap_err();
            assert!(matches!(error, SinkError::Ahead { .. }), "{error}");
            let adopting = TargetContext { adopt: true, ..context(last) };
            assert_eq!(adopting.check("t", found.clone()).unwrap(), found);
        }
    }

    #[test]
    fn an_epoch_is_written_once_and_only_over_what_was_known() {
        let context = context(Some(7));
        let decide = |expected: Option<Marker>, found: Option<Marker>| {
            context.decide("t", 8, "me8", &expected, &found)
        };
        assert_eq!(decide(marker("me", 7), marker("me", 7)).unwrap(), Decision::Write);
        assert_eq!(decide(None, None).unwrap(), Decision::Write);
        assert_eq!(decide(marker("me", 7), marker("me", 8)).unwrap(), Decision::AlreadyThere);
        for found in [None, marker("you", 8), marker("me", 9)] {
            assert!(decide(marker("me", 7), found).unwrap_err().is_fenced());
        }
        // The same epoch of a copy of the ledger, with other rows.
        let copy = Some(Marker { instance: "me".into(), epoch: 8, token: "copy".into() });
        assert!(decide(marker("me", 7), copy).unwrap_err().is_fenced());
    }
}
