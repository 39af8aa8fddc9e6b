//! The table: where it is, what is in it, and where to begin.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::thread;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTableError;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::{Metadata, Protocol, Snapshot, StructField};
use deltalake::logstore::{LogStoreRef, commit_uri_from_version, object_store};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use super::commit::{Change, Commit, Piece, Rows};
use super::options::{DeltaOptions, DeltaStart};
use crate::lake::LakeError;
use crate::lake::store::redact;
use crate::source::SourceError;

/// The columns that a change feed adds.
pub(super) const CHANGE_TYPE: &str = "_change_type";
pub(super) const COMMIT_VERSION: &str = "_commit_version";
pub(super) const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

/// What readers have to know about, and this one does. `typeWidening` only asks for casts.
const READER_FEATURES: [&str; 8] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "inCommitTimestamp",
];

/// Where a source began: kept beside the checkpoint, since positions mean nothing without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Began {
    /// The table's id, by which another table at the same address is recognised.
    pub table_id: String,
    /// The first version that is read.
    pub version: i64,
    /// Whether all rows of that version are read, or only what it changed.
    pub snapshot: bool,
}

/// A table that is open for reading.
#[derive(Clone)]
pub(super) struct Table {
    pub options: Arc<DeltaOptions>,
    pub store: LogStoreRef,
}

impl Table {
    /// Finds the storage; nothing is read yet.
    pub fn open(options: Arc<DeltaOptions>) -> Result<Self, SourceError> {
        let location = options.location();
        if let Some(directory) = location.local_path() {
            std::fs::metadata(&directory).map_err(|error| SourceError::Table {
                action: "find",
                table: options.path.clone(),
                reason: error.to_string(),
                transient: true,
            })?;
        }
        let store = location.log_store().map_err(|error| refused("open", &options.path, error))?;
        Ok(Self { options, store })
    }

    /// How messages call the table.
    pub fn name(&self) -> &str {
        &self.options.path
    }

    pub fn trouble(&self, action: &'static str, error: &(dyn StdError + 'static)) -> SourceError {
        trouble(action, self.name(), error)
    }

    /// Protocol, metadata and version, of the newest version or of a given one.
    pub async fn snapshot(&self, version: Option<i64>) -> Result<Snapshot, SourceError> {
        let credentials = self.options.location().check_credentials().await;
        credentials.map_err(|error| refused("sign in to", self.name(), error))?;
        let exists = self.store.is_delta_table_location().await;
        if !exists.map_err(|error| self.trouble("find", &error))? {
            return Err(SourceError::Table {
                action: "find",
                table: self.name().to_owned(),
                reason: "there is no Delta table (yet)".to_owned(),
                transient: true,
            });
        }
        let wanted = version.and_then(|version| u64::try_from(version).ok());
        let existing =
            crate::lake::ExistingTable { store: self.store.clone(), table: self.name().to_owned() };
        let snapshot = existing.snapshot(wanted).await;
        let snapshot = snapshot.map_err(|error| match version {
            _ if matches!(error, LakeError::Damaged { .. }) => self.trouble("read", &error),
            None => self.trouble("read", &error),
            Some(version) => SourceError::Gone {
                table: self.name().to_owned(),
                version,
                reason: format!(
                    "its rows cannot be put together any more, because its log was cleaned up \
                     ({error}); begin anew with an empty checkpoint directory, and keep the log \
                     longer (delta.logRetentionDuration)"
                ),
            },
        })?;
        self.check_protocol(snapshot.protocol(), snapshot.version().cast_signed())?;
        Ok(snapshot)
    }

    /// Refuses tables that ask more of readers than this one does.
    pub fn check_protocol(&self, protocol: &Protocol, version: i64) -> Result<(), SourceError> {
        let mut changes = Vec::new();
        if protocol.min_reader_version() > 3 {
            changes.push(format!(
                "it needs reader version {}; this is version 3",
                protocol.min_reader_version()
            ));
        }
        for feature in protocol.reader_features().unwrap_or_default() {
            let name = feature.to_string();
            if !READER_FEATURES.contains(&name.as_str()) {
                changes.push(format!("the table feature '{name}' is not supported"));
            }
        }
        self.schema_error(version, changes)
    }

    pub fn schema_error(&self, version: i64, changes: Vec<String>) -> Result<(), SourceError> {
        if changes.is_empty() {
            return Ok(());
        }
        Err(SourceError::Schema { table: self.name().to_owned(), version, changes })
    }

    /// The files of a version, in an order that is always the same.
    pub async fn files(&self, version: i64) -> Result<(Snapshot, Vec<Piece>), SourceError> {
        let snapshot = self.snapshot(Some(version)).await?;
        let views = snapshot.file_views(self.store.as_ref(), None);
        let pieces = views
            .map_ok(|view| Piece {
                path: view.path().into_owned(),
                size: u64::try_from(view.size()).ok(),
                partition_values: view.partition_values_map(),
                rows: Rows::Left(view.deletion_vector_descriptor()),
                change: Change::Insert,
                modified_ms: Some(view.modification_time()),
            })
            .try_collect()
            .await
            .map_err(|error| self.trouble("list the files of", &error))?;
        Ok((snapshot, Commit::snapshot(pieces)))
    }

    /// The same files, each with its statistics as the log has them.
    pub async fn files_with_stats(
        &self,
        version: i64,
    ) -> Result<(Snapshot, Vec<(Piece, Option<String>)>), SourceError> {
        let (snapshot, pieces) = self.files(version).await?;
        let views = snapshot.file_views(self.store.as_ref(), None);
        let stats: HashMap<String, String> = views
            .map_ok(|view| (view.path().into_owned(), view.stats()))
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error| self.trouble("list the files of", &error))?
            .into_iter()
            .filter_map(|(path, stats)| Some((path, stats?)))
            .collect();
        let with_stats = |piece: Piece| {
            let stats = stats.get(&piece.path).cloned();
            (piece, stats)
        };
        Ok((snapshot, pieces.into_iter().map(with_stats).collect()))
    }

    /// A version's commit, `None` if it is not there.
    pub async fn commit(&self, version: i64) -> Result<Option<Commit>, SourceError> {
        let entry = self.store.read_commit_entry(version.cast_unsigned()).await;
        let bytes = entry.map_err(|error| self.trouble("read the log of", &error))?;
        let damaged = |reason: String| SourceError::Table {
            action: "read the log of",
            table: self.name().to_owned(),
            reason: format!(
                "the file {} is damaged: {reason}",
                commit_uri_from_version(Some(version.cast_unsigned()))
            ),
            transient: false,
        };
        let parse = |bytes: &[u8]| {
            // Every writer puts something into a commit. Taken for a version without rows, one
            // that lost its bytes would lose rows.
            if bytes.iter().all(u8::is_ascii_whitespace) {
                return Err(damaged("it is empty".to_owned()));
            }
            Commit::parse(bytes).map_err(|error| damaged(error.to_string()))
        };
        bytes.map(|bytes| parse(&bytes)).transpose()
    }

    /// When a version was committed: what its commit says, or else when the commit was written.
    pub async fn committed_us(&self, version: i64, commit: &Commit) -> Result<i64, SourceError> {
        if let Some(timestamp) = commit.timestamp_us {
            return Ok(timestamp);
        }
        let path = commit_uri_from_version(Some(version.cast_unsigned()));
        let head = object_store::ObjectStoreExt::head(&self.store.object_store(None), &path).await;
        head.map(|meta| meta.last_modified.timestamp_micros())
            .map_err(|error| self.trouble("read the log of", &error))
    }

    /// Decides where a source begins that has no checkpoint.
    pub async fn begin(&self, newest: &Snapshot) -> Result<Began, SourceError> {
        let latest = newest.version().cast_signed();
        let began = |version, snapshot| {
            Ok(Began { table_id: newest.metadata().id().to_owned(), version, snapshot })
        };
        match self.options.start {
            DeltaStart::Snapshot => began(latest, true),
            DeltaStart::Latest => began(latest + 1, false),
            DeltaStart::Version(version) if version < 0 || version > latest + 1 => {
                Err(SourceError::Option {
                    option: "start",
                    problem: format!("the table has no version {version}; its newest is {latest}"),
                })
            }
            DeltaStart::Version(version) => {
                if version <= latest && self.commit(version).await?.is_none() {
                    return Err(self.cleaned(version));
                }
                began(version, false)
            }
            DeltaStart::Timestamp(time) => began(self.version_at(time, latest).await?, false),
        }
    }

    /// The first version that was committed at `time` or later; the next one if there is none.
    async fn version_at(&self, time: i64, latest: i64) -> Result<i64, SourceError> {
        // Commits that are there are the newest ones, without a gap: both searches are binary.
        let (mut low, mut high) = (0, latest + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let before = match self.commit(middle).await? {
                None => true,
                Some(commit) => self.committed_us(middle, &commit).await? < time,
            };
            if before { low = middle + 1 } else { high = middle }
        }
        if low > 0 && low <= latest && self.commit(low - 1).await?.is_none() {
            // Versions before this one were committed at or after that time too, perhaps.
            return Err(self.cleaned(low - 1));
        }
        Ok(low)
    }

    /// The error for a version whose commit was cleaned up.
    pub fn cleaned(&self, version: i64) -> SourceError {
        SourceError::Gone {
            table: self.name().to_owned(),
            version,
            reason: "its commit is not in the log any more: it was cleaned up before it was read. \
                     Begin anew with an empty checkpoint directory, and keep the log longer \
                     (delta.logRetentionDuration)"
                .to_owned(),
        }
    }
}

/// An error of the lake as one of a source.
fn refused(action: &'static str, table: &str, error: LakeError) -> SourceError {
    match error {
        LakeError::Location { reason, .. } => {
            SourceError::Option { option: "path", problem: format!("'{table}': {reason}") }
        }
        LakeError::Store { reason, .. } => SourceError::Table {
            action,
            table: table.to_owned(),
            reason: format!("its object store cannot be used: {reason}"),
            transient: false,
        },
        other => trouble(action, table, &other),
    }
}

/// Sorts an error of deltalake: storage trouble may pass.
fn trouble(action: &'static str, table: &str, error: &(dyn StdError + 'static)) -> SourceError {
    let causes: Vec<&(dyn StdError + 'static)> =
        std::iter::successors(Some(error), |cause| StdError::source(*cause)).collect();
    let transient =
        causes.iter().any(|c| c.is::<std::io::Error>() || c.is::<object_store::Error>());
    let mut reason = error.to_string();
    for cause in &causes[1..] {
        let words = cause.to_string();
        if !reason.contains(&words) {
            reason.push_str(": ");
            reason.push_str(&words);
        }
    }
    SourceError::Table { action, table: table.to_owned(), reason: redact(&reason), transient }
}

/// Waits for the answer to a question that needs a runtime; not to be called by one that is in a
/// hurry. It has a thread of its own, since the caller's may have a runtime already.
pub(super) fn ask<T, F>(question: F) -> Result<T, SourceError>
where
    T: Send,
    F: Future<Output = Result<T, SourceError>> + Send,
{
    let lost = || SourceError::Thread("the thread that asks a Delta table is gone".to_owned());
    thread::scope(|scope| {
        let asking = thread::Builder::new().name("delta-ask".into()).spawn_scoped(scope, || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| SourceError::Thread(error.to_string()))?;
            runtime.block_on(question)
        });
        let asking = asking.map_err(|error| SourceError::Thread(error.to_string()))?;
        asking.join().map_err(|_| lost())?
    })
}

/// The table's columns as a source declares them: every one may be NULL, as in Spark, since what
/// a table promises now it need not promise tomorrow. With a change feed, its three at the end.
pub(super) fn declared(snapshot: &Snapshot, change_feed: bool) -> SchemaRef {
    let table = snapshot.arrow_schema();
    let mut fields: Vec<Field> = table
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    if change_feed {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        fields.push(Field::new(CHANGE_TYPE, DataType::Utf8, true));
        fields.push(Field::new(COMMIT_VERSION, DataType::Int64, true));
        fields.push(Field::new(COMMIT_TIMESTAMP, utc, true));
    }
    Arc::new(Schema::new(fields))
}

/// A column of the table, as its files have it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub logical: String,
    /// What files call it: with column mapping, not what users do.
    pub physical: String,
    pub data_type: DataType,
}

/// The table's columns as of some metadata.
pub(super) fn columns(metadata: &Metadata) -> Result<Vec<Column>, DeltaTableError> {
    let schema = metadata.parse_schema()?;
    let column = |field: &StructField| -> Result<Column, DeltaTableError> {
        let arrow: Field = TryIntoArrow::<Field>::try_into_arrow(field)?;
        let physical = arrow.metadata().get("delta.columnMapping.physicalName").cloned();
        let mapped = metadata
            .configuration()
            .get("delta.columnMapping.mode")
            .is_some_and(|mode| mode != "none");
        Ok(Column {
            logical: field.name().clone(),
            physical: physical.filter(|_| mapped).unwrap_or_else(|| field.name().clone()),
            data_type: arrow.data_type().clone(),
        })
    };
    schema.fields().map(column).collect()
}
