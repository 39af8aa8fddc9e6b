//! One open Delta table and its commits.

mod replace;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::checkpoints::cleanup_expired_logs_for;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::{Action, Add, Metadata, Protocol, Snapshot, StructType, Transaction};
use deltalake::logstore::LogStoreRef;
use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt, path::Path};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::config::TablePropertiesExt;
use serde::Deserialize;
use uuid::Uuid;

use super::compat::{changes, compare, objections};
use super::create::{add_columns, check_definition, create, stamp};
use super::log::{LogView, TOKEN_KEY, Written};
use super::types::delta_fields;
use super::{ExistingTable, LakeError, TableSpec, now_ms};

/// How often a commit is tried against writers that take its version, before the caller gets
/// [`LakeError::Conflict`]. Each try costs one small read, so this is far from patience's end.
const COMMIT_ATTEMPTS: u32 = 64;

/// How long a commit waits, times its attempts, for a version that is taken and not there yet.
const TAKEN_PAUSE: Duration = Duration::from_millis(10);

/// How often opening starts over because another creator or evolver was first.
const OPEN_ATTEMPTS: u32 = 16;

/// A Delta table that is open for appending.
///
/// Holds none of the table's files in memory, whatever their number. Must be used inside a
/// tokio runtime.
pub struct LakeTable {
    store: LogStoreRef,
    table: String,
    view: LogView,
    /// Protocol and metadata that files are being written for.
    baseline: (Protocol, Metadata),
    schema: SchemaRef,
    /// Where [`TableSpec::evolve`] allows it, rows may lack nullable columns.
    pub(crate) pad_missing: bool,
    checkpoint_interval: u64,
    /// The version of the newest checkpoint of the log that is known of.
    checkpointed: u64,
    /// Marks commits without files, which have nothing else to be recognised by.
    instance: Uuid,
}

/// What a commit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The version of the table that the commit made.
    pub version: i64,
    /// Files added.
    pub files: usize,
    /// Rows in them, by their statistics.
    pub rows: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// From the call to its return, upkeep of the log included.
    pub took: Duration,
    /// Tries it took; more than one when other writers write to the same table.
    pub attempts: u32,
    /// The commit was already in the table: an earlier call had made it without learning so.
    pub already_there: bool,
    /// A checkpoint of the log was written after the commit.
    pub checkpointed: bool,
    /// Expired files of the log that were removed after the commit.
    pub log_files_removed: usize,
    /// Why the upkeep of the log failed, if it did. The commit stands; the upkeep is tried again
    /// after the next one.
    pub upkeep_error: Option<String>,
}

impl LakeTable {
    /// Opens the table at `spec.uri`; creates it if there is none; adds new nullable columns to
    /// it if `spec.evolve` allows that. Of several processes that create the same table one
    /// does and the others open it.
    ///
    /// # Errors
    /// [`LakeError::Definition`] for columns, partitioning or properties that no table can have;
    /// [`LakeError::Schema`] when the table there does not fit, with every difference;
    /// [`LakeError::Unsupported`] when the table asks of writers what is not done here;
    /// [`LakeError::Location`], [`LakeError::Io`], [`LakeError::Log`].
    pub async fn open_or_create(spec: &TableSpec) -> Result<Self, LakeError> {
        let columns = check_definition(spec, delta_fields(&spec.schema))?;
        let store = spec.location().writable().await?;
        let table = shown_uri(&store);
        for _ in 0..OPEN_ATTEMPTS {
            let Some(view) = LogView::load(&store, &table).await? else {
                create(&store, spec, &columns).await?;
                continue;
            };
            let reasons = objections(&view.protocol, &view.metadata);
            if !reasons.is_empty() {
                return Err(LakeError::Unsupported { table, reasons });
            }
            let there = delta_schema(&table, &view.metadata)?;
            let comparison = compare(
                &columns,
                &there,
                &spec.partition_by,
                view.metadata.partition_columns(),
                spec.evolve,
            );
            if !comparison.differences.is_empty() {
                return Err(LakeError::Schema { table, differences: comparison.differences });
            }
            if !comparison.to_add.is_empty() {
                // Whether it was written or another writer was first: look again.
                add_columns(&view, &table, comparison.to_add).await?;
                fail::fail_point!("lake::evolved");
                continue;
            }
            let checkpointed = last_checkpoint(&store, &table).await?.unwrap_or(0);
            return Ok(Self {
                schema: arrow_schema(&table, &there)?,
                baseline: (view.protocol.clone(), view.metadata.clone()),
                pad_missing: spec.evolve,
                checkpoint_interval: spec.checkpoint_interval,
                checkpointed,
                instance: Uuid::new_v4(),
                store,
                table,
                view,
            });
        }
        Err(LakeError::Conflict { table, attempts: OPEN_ATTEMPTS })
    }

    /// The columns of the table at `spec.uri`; `None` if there is no table yet.
    ///
    /// # Errors
    /// [`LakeError::Location`], [`LakeError::Io`], [`LakeError::Log`].
    pub async fn existing_schema(spec: &TableSpec) -> Result<Option<SchemaRef>, LakeError> {
        let Some(ExistingTable { store, table }) = spec.location().existing().await? else {
            return Ok(None);
        };
        let Some(view) = LogView::load(&store, &table).await? else { return Ok(None) };
        Ok(Some(arrow_schema(&table, &delta_schema(&table, &view.metadata)?)?))
    }

    /// The newest version this process knows of.
    pub fn version(&self) -> i64 {
        as_i64(self.view.version)
    }

    /// The table's address: an absolute path for local tables, a URL for others.
    pub fn uri(&self) -> &str {
        &self.table
    }

    /// The table's columns, partition columns among them, in the table's order.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The partition columns, outermost first.
    pub fn partition_columns(&self) -> &[String] {
        self.baseline.1.partition_columns()
    }

    /// The table's properties.
    pub fn properties(&self) -> BTreeMap<String, String> {
        self.baseline.1.configuration().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// The table's directory as an object store.
    pub(crate) fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.store.object_store(None)
    }

    /// The newest transaction version that the table has for `app_id`, `None` if it has none.
    /// Reads what other writers have committed since.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Log`].
    pub async fn transaction_version(&self, app_id: &str) -> Result<Option<i64>, LakeError> {
        let mut view = self.view.clone();
        view.ensure_connected().await?;
        view.advance().await?;
        view.transaction(app_id).await
    }

    /// Those of `adds` whose file is not there (any more): a pre-commit that has lain for long
    /// may have lost its files to a full vacuum, and committing it would break the table.
    ///
    /// # Errors
    /// [`LakeError::Io`].
    pub async fn missing_files(&self, adds: &[Add]) -> Result<Vec<String>, LakeError> {
        let store = self.object_store();
        let mut missing = Vec::new();
        for add in adds {
            let found = match Path::parse(&add.path) {
                Ok(path) => store.head(&path).await,
                Err(e) => return Err(LakeError::log(&self.table, e)),
            };
            match found {
                Ok(_) => {}
                Err(deltalake::ObjectStoreError::NotFound { .. }) => missing.push(add.path.clone()),
                Err(e) => return Err(LakeError::io("find", self.shown(&add.path), e)),
            }
        }
        Ok(missing)
    }

    /// Makes the files in `adds` part of the table and sets the transaction version of each
    /// application id in `transactions`, in one commit, provided that each id in `expected` has
    /// the version beside it (`None`: has none).
    ///
    /// May be called again with the same arguments after a transient error, by this process or,
    /// as long as there are files in it, by the next one: if the commit had landed after all, it
    /// is found and not repeated. A commit without files is only recognised by the [`LakeTable`]
    /// that made it; recovery has to ask [`LakeTable::transaction_version`] first.
    ///
    /// # Errors
    /// [`LakeError::Fenced`] when a version is not the expected one; [`LakeError::Changed`] when
    /// the table's schema, partitioning or protocol is not what the files were written for;
    /// [`LakeError::Conflict`] when others took every version tried for; [`LakeError::Io`],
    /// [`LakeError::Log`]. Except for an I/O error the commit is then certainly not in the table.
    pub async fn commit(
        &mut self,
        adds: Vec<Add>,
        transactions: &[(String, i64)],
        expected: &[(String, Option<i64>)],
    ) -> Result<CommitInfo, LakeError> {
        let started = Instant::now();
        let mut outcome = CommitInfo {
            version: 0,
            files: adds.len(),
            rows: adds.iter().map(rows_of).sum(),
            bytes: adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum(),
            took: Duration::ZERO,
            attempts: 0,
            already_there: false,
            checkpointed: false,
            log_files_removed: 0,
            upkeep_error: None,
        };
        let token = self.token(&adds, transactions);
        let mut actions = self.actions(adds, transactions, &token, &outcome);
        self.view.ensure_connected().await?;
        while outcome.attempts < COMMIT_ATTEMPTS {
            outcome.attempts += 1;
            if let Some(version) = self.own_or_refused(&token, expected).await? {
                outcome.version = as_i64(version);
                outcome.already_there = true;
                outcome.took = started.elapsed();
                return Ok(outcome);
            }
            if let Some(Action::CommitInfo(info)) = actions.first_mut() {
                info.read_version = Some(self.view.version);
                stamp(info);
            }
            fail::fail_point!("lake::commit");
            match self.view.write(&actions).await? {
                Written::Yes => {
                    fail::fail_point!("lake::committed");
                    self.view.committed(transactions, token);
                    outcome.version = self.version();
                    self.upkeep(&mut outcome).await;
                    outcome.took = started.elapsed();
                    return Ok(outcome);
                }
                Written::Taken => {
                    if !self.view.advance().await? {
                        // S3 says so too of a version that somebody is writing at this moment.
                        tokio::time::sleep(TAKEN_PAUSE * outcome.attempts).await;
                    }
                }
            }
        }
        Err(LakeError::Conflict { table: self.table.clone(), attempts: outcome.attempts })
    }

    /// The version of this very commit if it is in the table; an error if it may not go in.
    async fn own_or_refused(
        &mut self,
        token: &str,
        expected: &[(String, Option<i64>)],
    ) -> Result<Option<u64>, LakeError> {
        if let Some(version) = self.view.seen(token) {
            return Ok(Some(version));
        }
        let now = (&self.view.protocol, &self.view.metadata);
        if now != (&self.baseline.0, &self.baseline.1) {
            let changes = changes((&self.baseline.0, &self.baseline.1), now);
            if !changes.is_empty() {
                return Err(LakeError::Changed { table: self.table.clone(), changes });
            }
        }
        let Some(fence) = self.fence(expected).await? else { return Ok(None) };
        // Before anyone is told to stop: is the view behind, or is that our own commit?
        let fence = if self.view.advance().await? {
            match self.fence(expected).await? {
                Some(fence) => fence,
                None => return Ok(None),
            }
        } else {
            fence
        };
        match self.view.seen(token) {
            Some(version) => Ok(Some(version)),
            None => match self.view.find_own(token, &fence.0).await? {
                Some(version) => Ok(Some(version)),
                None => Err(LakeError::Fenced {
                    table: self.table.clone(),
                    app_id: fence.0,
                    expected: fence.1,
                    found: fence.2,
                }),
            },
        }
    }

    /// The first application id whose version is not the expected one: id, expected, found.
    async fn fence(
        &mut self,
        expected: &[(String, Option<i64>)],
    ) -> Result<Option<(String, Option<i64>, Option<i64>)>, LakeError> {
        for (app_id, version) in expected {
            let found = self.view.transaction(app_id).await?;
            if found != *version {
                return Ok(Some((app_id.clone(), *version, found)));
            }
        }
        Ok(None)
    }

    /// A token of what the commit holds. The names of files are unique in the world, so the
    /// same files are the same commit, in this process or the next; a commit without files is
    /// known by this instance and its transactions.
    fn token(&self, adds: &[Add], transactions: &[(String, i64)]) -> String {
        let mut words: Vec<String> = adds.iter().map(|add| add.path.clone()).collect();
        if words.is_empty() {
            words.push(self.instance.to_string());
        }
        words.sort();
        words.extend(transactions.iter().map(|(app_id, version)| format!("{app_id}={version}")));
        fnv128(words.iter().map(String::as_bytes))
    }

    /// The commit's actions; the first is its `commitInfo`.
    fn actions(
        &self,
        adds: Vec<Add>,
        transactions: &[(String, i64)],
        token: &str,
        figures: &CommitInfo,
    ) -> Vec<Action> {
        let partition_by = Some(self.partition_columns().to_vec()).filter(|p| !p.is_empty());
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None };
        let mut info = operation.get_commit_info();
        info.is_blind_append = Some(true);
        // Named and spelled as Spark does, whose history readers expect strings.
        let metrics = serde_json::json!({
            "numFiles": figures.files.to_string(),
            "numOutputRows": figures.rows.to_string(),
            "numOutputBytes": figures.bytes.to_string(),
        });
        info.info = HashMap::from([
            ("operationMetrics".to_owned(), metrics),
            (TOKEN_KEY.to_owned(), token.into()),
        ]);
        let now = now_ms();
        let txns = transactions.iter().map(|(app_id, version)| {
            Action::Txn(Transaction::new_with_last_update(app_id, *version, Some(now)))
        });
        std::iter::once(Action::CommitInfo(info))
            .chain(adds.into_iter().map(Action::Add))
            .chain(txns)
            .collect()
    }

    /// Writes a checkpoint of the log when one is due, and lets expired log files go.
    async fn upkeep(&mut self, outcome: &mut CommitInfo) {
        if self.checkpoint_interval == 0
            || self.view.version < self.checkpointed.saturating_add(self.checkpoint_interval)
        {
            return;
        }
        match self.checkpoint().await {
            Ok((written, removed)) => {
                outcome.checkpointed = written;
                outcome.log_files_removed = removed;
            }
            Err(error) => outcome.upkeep_error = Some(error.to_string()),
        }
    }

    async fn checkpoint(&mut self) -> Result<(bool, usize), LakeError> {
        let trouble = |e| LakeError::from_delta("write a checkpoint of", &self.table, e);
        // Another writer of the table may have seen to it.
        let newest = last_checkpoint(&self.store, &self.table).await?.unwrap_or(0);
        if newest > self.checkpointed {
            self.checkpointed = newest;
            if self.view.version < newest.saturating_add(self.checkpoint_interval) {
                return Ok((false, 0));
            }
        }
        let version = self.view.version;
        let snapshot =
            Snapshot::try_new(self.store.as_ref(), Some(version)).await.map_err(trouble)?;
        let scan = snapshot.scan_builder().build().map_err(trouble)?;
        let (kernel, engine) = (scan.snapshot().clone(), self.store.engine(None));
        tokio::task::spawn_blocking(move || kernel.checkpoint(engine.as_ref(), None).map(|_| ()))
            .await
            .map_err(|e| LakeError::log(&self.table, e))?
            .map_err(|e| trouble(e.into()))?;
        self.checkpointed = version;
        let properties = snapshot.table_properties();
        let mut removed = 0;
        if properties.enable_expired_log_cleanup() {
            let keep =
                i64::try_from(properties.log_retention_duration().as_millis()).unwrap_or(i64::MAX);
            let cutoff = now_ms().saturating_sub(keep);
            removed = cleanup_expired_logs_for(version, self.store.as_ref(), cutoff, None)
                .await
                .map_err(trouble)?;
        }
        self.view.rebase(Arc::new(snapshot));
        Ok((true, removed))
    }

    fn shown(&self, path: &str) -> String {
        format!("{}/{path}", self.table.trim_end_matches('/'))
    }
}

/// A path for local tables, the URL for others.
pub(super) fn shown_uri(store: &LogStoreRef) -> String {
    let url = store.root_url();
    match url.scheme() {
        "file" => url.to_file_path().map_or_else(
            |()| url.to_string(),
            |path| path.display().to_string().trim_end_matches('/').to_owned(),
        ),
        _ => url.to_string(),
    }
}

fn delta_schema(table: &str, metadata: &Metadata) -> Result<StructType, LakeError> {
    metadata.parse_schema().map_err(|e| LakeError::log(table, e))
}

fn arrow_schema(table: &str, schema: &StructType) -> Result<SchemaRef, LakeError> {
    let arrow: Schema = schema.try_into_arrow().map_err(|e| LakeError::log(table, e))?;
    Ok(Arc::new(arrow))
}

/// The version of the newest checkpoint that `_last_checkpoint` names. The file is a hint: one
/// that is missing or unreadable is none.
pub(super) async fn last_checkpoint(
    store: &LogStoreRef,
    table: &str,
) -> Result<Option<u64>, LakeError> {
    #[derive(Deserialize)]
    struct Hint {
        version: u64,
    }
    let path = Path::from_iter(["_delta_log", "_last_checkpoint"]);
    let read = async { store.object_store(None).get(&path).await?.bytes().await };
    match read.await {
        Ok(bytes) => Ok(serde_json::from_slice::<Hint>(&bytes).ok().map(|hint| hint.version)),
        Err(deltalake::ObjectStoreError::NotFound { .. }) => Ok(None),
        Err(e) => Err(LakeError::io("read", format!("{table}/{path}"), e)),
    }
}

/// The number of rows that an action's statistics tell, 0 without.
pub(crate) fn rows_of(add: &Add) -> u64 {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_records: u64,
    }
    let stats = add.stats.as_deref().and_then(|text| serde_json::from_str::<Stats>(text).ok());
    stats.map_or(0, |stats| stats.num_records)
}

/// FNV-1a over the words, each ended by a zero byte, 128 bits, in hexadecimal. It has to be the
/// same in every build that ever reads the table, which the standard hasher does not promise.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
fn fnv128<'a>(words: impl Iterator<Item = &'a [u8]>) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = words
        .flat_map(|word| word.iter().chain(std::iter::once(&0)))
        .fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

/// Versions are counted from 0 and never come near the limit.
fn as_i64(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod hash_tests {
    use super::fnv128;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published value for the empty input, and the step for one zero byte.
        assert_eq!(fnv128(std::iter::empty()), "6c62272e07bb014262b821756295c58d");
        let (ab, a_b) = (["ab"], ["a", "b"]);
        let hash = |words: &[&str]| fnv128(words.iter().map(|w| w.as_bytes()));
        assert_ne!(hash(&ab), hash(&a_b), "where a word ends counts");
    }
}
