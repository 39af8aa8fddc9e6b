//! A view of a table's log that costs nothing to keep: protocol, metadata and transaction
//! versions, but none of the files.
//!
//! deltalake's table state holds the statistics of every file of the table, and each commit
//! makes it replay more; a writer that only appends needs none of that. The view is read once
//! from a snapshot and then kept up by reading the commits that follow, one small JSON file
//! each, so that the thousandth commit costs what the first did.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{Action, Metadata, Protocol, Snapshot, Transaction, Version};
use deltalake::logstore::object_store::{ObjectStoreExt, path::Path};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, commit_uri_from_version};
use serde::Deserialize;
use uuid::Uuid;

use super::{ExistingTable, LakeError, damage};

/// The key of `commitInfo` under which a commit carries the token of what it holds, by which a
/// writer recognises its own commit when it could not learn how a write ended.
pub(super) const TOKEN_KEY: &str = "millpondCommit";

/// How many tokens of commits seen are remembered, and how many commits are searched backwards.
const TOKENS_KEPT: usize = 1024;

/// What a writer has to know of a table's log, as of `version`.
#[derive(Clone)]
pub(super) struct LogView {
    store: LogStoreRef,
    /// How messages call the table.
    table: String,
    /// Where the view started; asked for transactions that no later commit mentions.
    base: Arc<Snapshot>,
    pub version: Version,
    pub protocol: Protocol,
    pub metadata: Metadata,
    /// Transaction versions learnt so far; `None`: known to be absent.
    transactions: HashMap<String, Option<i64>>,
    tokens: VecDeque<(String, Version)>,
}

/// How an attempt to write a version ended, if it did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// The version exists: another writer was first.
    Taken,
}

/// The parts of one line of a commit that a view is interested in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    protocol: Option<Protocol>,
    txn: Option<Transaction>,
    commit_info: Option<Provenance>,
}

#[derive(Deserialize)]
struct Provenance {
    #[serde(rename = "millpondCommit")]
    token: Option<String>,
}

impl LogView {
    /// Reads the newest version, or returns `None` where there is no table yet.
    pub async fn load(store: &LogStoreRef, table: &str) -> Result<Option<Self>, LakeError> {
        Self::load_at(store, table, None).await
    }

    /// Reads a version, the newest without one, or returns `None` where there is no table.
    pub async fn load_at(
        store: &LogStoreRef,
        table: &str,
        version: Option<Version>,
    ) -> Result<Option<Self>, LakeError> {
        let trouble = |e: DeltaTableError| LakeError::from_delta("read the log of", table, e);
        // Asked first, so that an empty directory is told from a log that cannot be read: only
        // the former may be answered by creating a table.
        if !store.is_delta_table_location().await.map_err(trouble)? {
            return Ok(None);
        }
        let existing = ExistingTable { store: store.clone(), table: table.to_owned() };
        let snapshot = Arc::new(existing.snapshot(version).await?);
        Ok(Some(Self {
            store: store.clone(),
            table: table.to_owned(),
            version: snapshot.version(),
            protocol: snapshot.protocol().clone(),
            metadata: snapshot.metadata().clone(),
            base: snapshot,
            transactions: HashMap::new(),
            tokens: VecDeque::new(),
        }))
    }

    /// How messages call the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Follows the log to its newest version; returns whether there was anything new.
    pub async fn advance(&mut self) -> Result<bool, LakeError> {
        let from = self.version;
        while let Some(bytes) = self.read(self.version + 1).await? {
            self.apply(self.version + 1, &bytes)?;
        }
        Ok(self.version > from)
    }

    /// Makes sure that the next version really is the next: had someone cleaned the log while
    /// this view slept, a free version number would lie in the past. The commit at the view's
    /// own version goes no later than those after it, so as long as it is there, so are they.
    pub async fn ensure_connected(&mut self) -> Result<(), LakeError> {
        let path = commit_uri_from_version(Some(self.version));
        match self.store.object_store(None).head(&path).await {
            Ok(_) => Ok(()),
            Err(deltalake::ObjectStoreError::NotFound { .. }) => {
                let fresh = Self::load(&self.store, &self.table).await?.ok_or_else(|| {
                    LakeError::io(
                        "find the log of",
                        self.table.as_str(),
                        "there is no table any more",
                    )
                })?;
                let tokens = std::mem::take(&mut self.tokens);
                *self = Self { tokens, ..fresh };
                Ok(())
            }
            Err(e) => Err(LakeError::io("read", self.shown(&path), e)),
        }
    }

    /// The newest transaction version of `app_id` as of this view, `None` if it has none.
    pub async fn transaction(&mut self, app_id: &str) -> Result<Option<i64>, LakeError> {
        if let Some(known) = self.transactions.get(app_id) {
            return Ok(*known);
        }
        let found = match self.transaction_in_base(app_id).await {
            Ok(found) => found,
            // Upkeep, or another writer, may have cleaned up the commits that the base is made of.
            Err(_) => {
                let table = ExistingTable { store: self.store.clone(), table: self.table.clone() };
                self.base = Arc::new(table.snapshot(Some(self.version)).await?);
                self.transaction_in_base(app_id).await?
            }
        };
        self.transactions.insert(app_id.to_owned(), found);
        Ok(found)
    }

    async fn transaction_in_base(&self, app_id: &str) -> Result<Option<i64>, LakeError> {
        let scan = self
            .base
            .scan_builder()
            .build()
            .map_err(|e| LakeError::from_delta("read the log of", &self.table, e))?;
        let engine = self.store.engine(None);
        let app = app_id.to_owned();
        let snapshot = scan.snapshot().clone();
        let found =
            tokio::task::spawn_blocking(move || snapshot.get_app_id_version(&app, engine.as_ref()))
                .await
                .map_err(|e| LakeError::log(&self.table, e))?;
        found.map_err(|e| LakeError::from_delta("read the log of", &self.table, e.into()))
    }

    /// The version of the commit with this token, if the view has seen it go by.
    pub fn seen(&self, token: &str) -> Option<Version> {
        self.tokens.iter().find(|(seen, _)| seen == token).map(|(_, version)| *version)
    }

    /// Looks back for the commit that set the transaction version of `app_id`, and returns its
    /// version if it carries `token`.
    pub async fn find_own(&self, token: &str, app_id: &str) -> Result<Option<Version>, LakeError> {
        let oldest = self.version.saturating_sub(TOKENS_KEPT as u64);
        for version in (oldest..=self.version).rev() {
            let Some(bytes) = self.read(version).await? else { return Ok(None) };
            let lines = self.parse(version, &bytes)?;
            if lines.iter().any(|line| line.txn.as_ref().is_some_and(|t| t.app_id == app_id)) {
                let own = lines
                    .iter()
                    .filter_map(|line| line.commit_info.as_ref()?.token.as_deref())
                    .any(|found| found == token);
                return Ok(own.then_some(version));
            }
        }
        Ok(None)
    }

    /// Writes `actions` as the version after this view's, if nobody has. The view moves only
    /// when [`LogView::advance`] or [`LogView::committed`] is called.
    pub async fn write(&self, actions: &[Action]) -> Result<Written, LakeError> {
        write_version(&self.store, &self.table, self.version + 1, actions).await
    }

    /// Records that the version after this view's was written with these transactions.
    pub fn committed(&mut self, transactions: &[(String, i64)], token: String) {
        self.version += 1;
        for (app_id, version) in transactions {
            self.transactions.insert(app_id.clone(), Some(*version));
        }
        self.remember(token, self.version);
    }

    /// Takes a newer snapshot as the base, so that the older log may be cleaned up.
    pub fn rebase(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.version() <= self.version {
            self.base = snapshot;
        }
    }

    pub(super) async fn read(&self, version: Version) -> Result<Option<Bytes>, LakeError> {
        self.store
            .read_commit_entry(version)
            .await
            .map_err(|e| LakeError::from_delta("read the log of", &self.table, e))
    }

    fn parse(&self, version: Version, bytes: &[u8]) -> Result<Vec<Line>, LakeError> {
        parse_lines(&self.table, version, bytes)
    }

    pub(super) fn apply(&mut self, version: Version, bytes: &[u8]) -> Result<(), LakeError> {
        for line in self.parse(version, bytes)? {
            if let Some(metadata) = line.metadata {
                self.metadata = metadata;
            }
            if let Some(protocol) = line.protocol {
                self.protocol = protocol;
            }
            if let Some(txn) = line.txn {
                self.transactions.insert(txn.app_id, Some(txn.version));
            }
            if let Some(token) = line.commit_info.and_then(|info| info.token) {
                self.remember(token, version);
            }
        }
        self.version = version;
        Ok(())
    }

    fn remember(&mut self, token: String, version: Version) {
        if self.tokens.len() == TOKENS_KEPT {
            self.tokens.pop_front();
        }
        self.tokens.push_back((token, version));
    }

    fn shown(&self, path: &Path) -> String {
        shown(&self.table, path)
    }
}

/// The lines of a commit, as much of them as `T` has a place for. A commit without any is damaged:
/// every writer puts something into it.
pub(super) fn parse_lines<T: serde::de::DeserializeOwned>(
    table: &str,
    version: Version,
    bytes: &[u8],
) -> Result<Vec<T>, LakeError> {
    let path = || commit_uri_from_version(Some(version));
    let lines = bytes
        .split(|b| *b == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace))
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|e| {
                damage::damaged(table, &path(), &format!("line {} is no action: {e}", index + 1))
            })
        })
        .collect::<Result<Vec<T>, _>>()?;
    if lines.is_empty() {
        return Err(damage::damaged(table, &path(), "it is empty"));
    }
    Ok(lines)
}

fn shown(table: &str, path: &Path) -> String {
    format!("{}/{path}", table.trim_end_matches('/'))
}

/// Writes `actions` as `version`, if nobody has.
///
/// Storage trouble may hide a commit that did land; the caller finds out by its token.
pub(super) async fn write_version(
    store: &LogStoreRef,
    table: &str,
    version: Version,
    actions: &[Action],
) -> Result<Written, LakeError> {
    let mut lines = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut lines, action).map_err(|e| LakeError::log(table, e))?;
        lines.push(b'\n');
    }
    let bytes = Bytes::from(lines);
    let operation = Uuid::new_v4();
    // Stores that can put if absent take the bytes; the others move a temporary file into place.
    let entry = if matches!(store.name().as_str(), "DefaultLogStore" | "LakeFSLogStore") {
        CommitOrBytes::LogBytes(bytes)
    } else {
        let path = Path::from_iter(["_delta_log", &format!("_commit_{operation}.json.tmp")]);
        store
            .object_store(Some(operation))
            .put(&path, bytes.into())
            .await
            .map_err(|e| LakeError::io("write", shown(table, &path), e))?;
        CommitOrBytes::TmpCommit(path)
    };
    let error = match store.write_commit_entry(version, entry.clone(), operation).await {
        Ok(()) => return Ok(Written::Yes),
        Err(error) => error,
    };
    if let CommitOrBytes::TmpCommit(_) = &entry {
        // Best effort: what is left behind is never read.
        let _ = store.abort_commit_entry(version, entry, operation).await;
    }
    let path = shown(table, &commit_uri_from_version(Some(version)));
    match error {
        TransactionError::VersionAlreadyExists(_) => Ok(Written::Taken),
        TransactionError::ObjectStore { source } => Err(LakeError::io("write", path, source)),
        TransactionError::LogStoreError { msg, source } => {
            Err(LakeError::io("write", path, format!("{msg}: {source}")))
        }
        other => Err(LakeError::log(table, other)),
    }
}
