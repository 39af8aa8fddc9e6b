//! Commits that do more than append: all files of the table replaced, or somebody else's operation
//! run against it.

use std::time::{Duration, Instant};

use deltalake::DeltaTable;
use deltalake::kernel::{Action, Add, Snapshot, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;

use super::{COMMIT_ATTEMPTS, CommitInfo, LakeTable, TOKEN_KEY, as_i64, now_ms, rows_of, stamp};
use crate::lake::LakeError;
use crate::lake::log::Written;

impl LakeTable {
    /// Makes the files in `adds` the *only* files of the table and sets the transaction versions,
    /// in one commit; otherwise as [`LakeTable::commit`]. What other writers have added before this
    /// commit is replaced as well, what they add at the same time is not lost: the files to be
    /// removed are those of exactly the version that the commit follows.
    ///
    /// A commit without files is only recognised by the [`LakeTable`] that made it.
    ///
    /// # Errors
    /// As [`LakeTable::commit`]; [`LakeError::Unsupported`] for a table that is append-only.
    pub async fn replace(
        &mut self,
        adds: Vec<Add>,
        transactions: &[(String, i64)],
        expected: &[(String, Option<i64>)],
    ) -> Result<CommitInfo, LakeError> {
        let started = Instant::now();
        self.may_remove()?;
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
        self.view.ensure_connected().await?;
        while outcome.attempts < COMMIT_ATTEMPTS {
            outcome.attempts += 1;
            // The files of the version that is followed have to be known, so there must be no newer
            // one that this view has not read.
            self.view.advance().await?;
            if let Some(version) = self.own_or_refused(&token, expected).await? {
                outcome.version = as_i64(version);
                outcome.already_there = true;
                outcome.took = started.elapsed();
                return Ok(outcome);
            }
            let actions = self.overwrite(&adds, transactions, &token, &outcome).await?;
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
                Written::Taken => {}
            }
        }
        Err(LakeError::Conflict { table: self.table.clone(), attempts: outcome.attempts })
    }

    /// Reads what other writers, or an operation of this process, have committed; returns the
    /// newest version.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Log`].
    pub async fn refresh(&mut self) -> Result<i64, LakeError> {
        self.view.ensure_connected().await?;
        self.view.advance().await?;
        Ok(self.version())
    }

    /// How many files the newest known version has.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Log`].
    pub async fn num_files(&self) -> Result<usize, LakeError> {
        let trouble = |e| LakeError::from_delta("list the files of", &self.table, e);
        let snapshot = Snapshot::try_new(self.store.as_ref(), Some(self.view.version));
        let snapshot = snapshot.await.map_err(trouble)?;
        let files = snapshot.file_views(self.store.as_ref(), None);
        let counted = files.try_fold(0, |count, _| async move { Ok(count + 1) });
        counted.await.map_err(trouble)
    }

    /// The table as deltalake knows it, not loaded yet; it shares this one's storage.
    pub(crate) fn delta(&self) -> DeltaTable {
        DeltaTable::new(self.store.clone())
    }

    /// An error if rows may not be taken out of the table.
    ///
    /// # Errors
    /// [`LakeError::Unsupported`].
    pub(crate) fn may_remove(&self) -> Result<(), LakeError> {
        let append_only = self.baseline.1.configuration().get("delta.appendOnly");
        if append_only.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(LakeError::Unsupported {
                table: self.table.clone(),
                reasons: vec![
                    "rows have to be replaced, and delta.appendOnly forbids that".to_owned(),
                ],
            });
        }
        Ok(())
    }

    async fn overwrite(
        &self,
        adds: &[Add],
        transactions: &[(String, i64)],
        token: &str,
        figures: &CommitInfo,
    ) -> Result<Vec<Action>, LakeError> {
        let trouble = |e| LakeError::from_delta("list the files of", &self.table, e);
        let snapshot = Snapshot::try_new(self.store.as_ref(), Some(self.view.version));
        let snapshot = snapshot.await.map_err(trouble)?;
        let files: Vec<_> =
            snapshot.file_views(self.store.as_ref(), None).try_collect().await.map_err(trouble)?;
        let partition_by = Some(self.partition_columns().to_vec()).filter(|p| !p.is_empty());
        let operation =
            DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by, predicate: None };
        let mut info = operation.get_commit_info();
        info.is_blind_append = Some(false);
        info.read_version = Some(self.view.version);
        stamp(&mut info);
        let metrics = serde_json::json!({
            "numFiles": figures.files.to_string(),
            "numOutputRows": figures.rows.to_string(),
            "numOutputBytes": figures.bytes.to_string(),
            "numRemovedFiles": files.len().to_string(),
        });
        info.info.insert("operationMetrics".to_owned(), metrics);
        info.info.insert(TOKEN_KEY.to_owned(), token.into());
        let now = now_ms();
        let removes = files.iter().map(|file| Action::Remove(file.remove_action(true)));
        let txns = transactions.iter().map(|(app_id, version)| {
            Action::Txn(Transaction::new_with_last_update(app_id, *version, Some(now)))
        });
        Ok(std::iter::once(Action::CommitInfo(info))
            .chain(removes)
            .chain(adds.iter().cloned().map(Action::Add))
            .chain(txns)
            .collect())
    }
}
