//! Which file of a log is damaged.
//!
//! Libraries say that a log cannot be read, seldom which of its files is at fault, and take a
//! commit of no bytes for one that changed nothing: rows would be missing without a word. Every
//! reader of this program looks at the sizes of the commits that a version is made of; and where
//! reading fails, the log is gone through until the culprit is found.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use deltalake::kernel::{Snapshot, Version};
use deltalake::logstore::object_store::{ObjectStoreExt, path::Path};
use deltalake::logstore::{LogStoreRef, commit_uri_from_version};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::LakeError;

/// Looks at the files of the log that a version is made of: each has to have something in it. Costs
/// nothing, because their sizes came with the listing.
///
/// # Errors
/// [`LakeError::Damaged`], [`LakeError::Log`].
pub(crate) fn check_log(snapshot: &Snapshot, table: &str) -> Result<(), LakeError> {
    let scan = snapshot.scan_builder().build().map_err(|e| LakeError::log(table, e))?;
    let listed = &scan.snapshot().log_segment().listed;
    match listed.ascending_commit_files.iter().find(|file| file.location.size == 0) {
        Some(file) => {
            Err(damaged(table, &commit_uri_from_version(Some(file.version)), "it is empty"))
        }
        None => Ok(()),
    }
}

/// The first damaged file among those that the newest version is made of; `None` if none is, or if
/// the storage does not answer.
pub(crate) async fn find(store: &LogStoreRef, table: &str) -> Option<LakeError> {
    let objects = store.object_store(None);
    let log = store.log_path().clone();
    let listed: Vec<_> = objects.list(Some(&log)).try_collect().await.ok()?;
    let mut commits = BTreeMap::new();
    let mut checkpoints: BTreeMap<Version, Vec<Path>> = BTreeMap::new();
    for meta in &listed {
        let Some(name) = meta.location.filename() else { continue };
        let Some((digits, rest)) = name.split_at_checked(20) else { continue };
        let Ok(version) = digits.parse::<Version>() else { continue };
        if rest == ".json" {
            commits.insert(version, (meta.location.clone(), meta.size));
        } else if rest.starts_with(".checkpoint.") && rest.ends_with(".parquet") {
            checkpoints.entry(version).or_default().push(meta.location.clone());
        }
    }
    let hinted = super::table::last_checkpoint(store, table).await.ok()?;
    let newest = checkpoints.keys().next_back().copied();
    if let Some(hinted) = hinted
        && newest.is_none_or(|newest| newest < hinted)
    {
        let path = log.clone().join(format!("{hinted:020}.checkpoint.parquet"));
        return Some(damaged(table, &path, "it is missing, and _last_checkpoint names it"));
    }
    for path in newest.and_then(|version| checkpoints.get(&version)).into_iter().flatten() {
        let bytes = async { objects.get(path).await?.bytes().await };
        match bytes.await {
            Ok(bytes) => {
                if let Err(reason) = parquet_reads(bytes) {
                    return Some(damaged(table, path, &reason));
                }
            }
            Err(e) => return Some(LakeError::io("read", shown(table, path), e)),
        }
    }
    let first = newest.map_or(0, |version| version + 1);
    let there: BTreeSet<Version> = commits.range(first..).map(|(version, _)| *version).collect();
    let missing = there.last().and_then(|last| {
        (first..=*last).find(|version| !there.contains(version)).map(|missing| (missing, last))
    });
    if let Some((missing, last)) = missing {
        let path = commit_uri_from_version(Some(missing));
        let reason = match newest {
            Some(checkpoint) => format!(
                "it is missing, and version {last} needs every commit after the checkpoint of \
                 version {checkpoint}"
            ),
            None => format!(
                "it is missing, and without a checkpoint version {last} needs every commit before \
                 it"
            ),
        };
        return Some(damaged(table, &path, &reason));
    }
    for version in there {
        let (path, size) = &commits[&version];
        if *size == 0 {
            return Some(damaged(table, path, "it is empty"));
        }
        let bytes = async { objects.get(path).await?.bytes().await };
        match bytes.await {
            Ok(bytes) => {
                if let Err(reason) = commit_reads(&bytes) {
                    return Some(damaged(table, path, &reason));
                }
            }
            Err(e) => return Some(LakeError::io("read", shown(table, path), e)),
        }
    }
    None
}

/// Whether a commit is lines of JSON objects, one at least.
pub(crate) fn commit_reads(bytes: &[u8]) -> Result<(), String> {
    let mut lines = 0;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        lines += 1;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line)
            .map_err(|error| format!("line {} is no action: {error}", index + 1))?;
    }
    if lines == 0 { Err("it is empty".to_owned()) } else { Ok(()) }
}

fn parquet_reads(bytes: Bytes) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| format!("it is no whole Parquet file: {error}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| words(&e))?;
    for batch in reader.build().map_err(|e| words(&e))? {
        batch.map_err(|e| words(&e))?;
    }
    Ok(())
}

/// The error for a damaged file of the log.
pub(crate) fn damaged(table: &str, path: &Path, reason: &str) -> LakeError {
    LakeError::Damaged { file: shown(table, path), reason: reason.to_owned() }
}

fn shown(table: &str, path: &Path) -> String {
    format!("{}/{path}", table.trim_end_matches('/'))
}
