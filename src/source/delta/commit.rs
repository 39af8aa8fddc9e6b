//! What a version of the table has for a reader: which files, which rows of them, and as what.

use std::collections::HashMap;

use deltalake::kernel::{Add, AddCDCFile, DeletionVectorDescriptor, Metadata, Protocol, Remove};
use serde::Deserialize;

use super::options::DeltaOptions;
use crate::source::SourceError;

/// Rows of one file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Relative to the table, decoded.
    pub path: String,
    pub size: Option<u64>,
    /// By physical name.
    pub partition_values: HashMap<String, Option<String>>,
    pub rows: Rows,
    pub change: Change,
    /// Milliseconds since the Unix epoch.
    pub modified_ms: Option<i64>,
}

/// Which rows of a file.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    /// Those that this vector does not delete.
    Left(Option<DeletionVectorDescriptor>),
    /// Those that the second vector deletes and the first does not.
    Between(Option<DeletionVectorDescriptor>, Option<DeletionVectorDescriptor>),
}

/// What happened to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Insert,
    Delete,
    /// The file says it itself, in its column `_change_type`.
    InFile,
}

/// A commit, as far as a reader is interested.
#[derive(Debug, Default)]
pub(super) struct Commit {
    adds: Vec<Add>,
    removes: Vec<Remove>,
    changes: Vec<AddCDCFile>,
    pub metadata: Option<Metadata>,
    pub protocol: Option<Protocol>,
    /// When it was committed, microseconds since the Unix epoch, if it says so.
    pub timestamp_us: Option<i64>,
    operation: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    cdc: Option<AddCDCFile>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    protocol: Option<Protocol>,
    commit_info: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    timestamp: Option<i64>,
    in_commit_timestamp: Option<i64>,
    operation: Option<String>,
}

impl Commit {
    /// Reads a commit's JSON lines.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut commit = Self::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line: Line = serde_json::from_slice(line)?;
            commit.adds.extend(line.add);
            commit.removes.extend(line.remove);
            commit.changes.extend(line.cdc);
            commit.metadata = line.metadata.or(commit.metadata);
            commit.protocol = line.protocol.or(commit.protocol);
            if let Some(info) = line.commit_info {
                let ms = info.in_commit_timestamp.or(info.timestamp);
                commit.timestamp_us = ms.and_then(|ms| ms.checked_mul(1000));
                commit.operation = info.operation;
            }
        }
        Ok(commit)
    }

    /// The files to read, in the order of the commit; which never changes, so that a row's number
    /// in its version does not.
    pub fn pieces(self, options: &DeltaOptions, version: i64) -> Result<Vec<Piece>, SourceError> {
        if options.change_feed {
            self.changes(options, version)
        } else {
            self.appends(options, version)
        }
    }

    /// As Spark's source: what changes no data (OPTIMIZE) is left out, and what changes data that
    /// was there before is an error unless one of the options says what to do with it.
    fn appends(self, options: &DeltaOptions, version: i64) -> Result<Vec<Piece>, SourceError> {
        let rewrites = options.rewrites;
        let adds = self.adds.into_iter().filter(|add| add.data_change);
        if self.removes.iter().any(|remove| remove.data_change) {
            if rewrites.skip_change_commits {
                return Ok(Vec::new());
            }
            let pieces: Vec<Piece> = adds.map(Piece::inserted).collect();
            let operation = self.operation.unwrap_or_else(|| "a commit".to_owned());
            let (what, advice) = if pieces.is_empty() {
                if rewrites.ignore_deletes || rewrites.ignore_changes {
                    return Ok(pieces);
                }
                (
                    format!("deleted rows ({operation})"),
                    "set ignore_deletes to go on without the deleted rows' removal",
                )
            } else {
                if rewrites.ignore_changes {
                    return Ok(pieces);
                }
                (
                    format!("rewrote files ({operation})"),
                    "set skip_change_commits to leave such versions out, ignore_changes to get the \
                     rewritten rows again with the others of their files",
                )
            };
            return Err(SourceError::Rewritten {
                table: options.path.clone(),
                version,
                what,
                advice: format!(
                    "{advice}, or change_feed to read the changes themselves (the table has to \
                     record them: delta.enableChangeDataFeed)"
                ),
            });
        }
        Ok(adds.map(Piece::inserted).collect())
    }

    /// As the protocol has it ("Reader Requirements for AddCDCFile"): the change files if there
    /// are any, or else what was added and what was removed.
    fn changes(self, options: &DeltaOptions, version: i64) -> Result<Vec<Piece>, SourceError> {
        if !self.changes.is_empty() {
            return Ok(self.changes.into_iter().map(Piece::changed).collect());
        }
        let mut removes: Vec<Remove> =
            self.removes.into_iter().filter(|remove| remove.data_change).collect();
        let mut pieces = Vec::new();
        for add in self.adds.into_iter().filter(|add| add.data_change) {
            // The same file with another deletion vector: the difference is what happened.
            let twin = removes.iter().position(|remove| remove.path == add.path);
            match twin.map(|twin| removes.swap_remove(twin)) {
                None => pieces.push(Piece::inserted(add)),
                Some(before) => {
                    let (old, new) = (before.deletion_vector, add.deletion_vector.clone());
                    let piece = Piece::inserted(add);
                    let deleted = Rows::Between(old.clone(), new.clone());
                    pieces.push(Piece { rows: deleted, change: Change::Delete, ..piece.clone() });
                    pieces.push(Piece { rows: Rows::Between(new, old), ..piece });
                }
            }
        }
        // `swap_remove` has changed their order; the path's is as good, and always the same.
        removes.sort_by(|a, b| a.path.cmp(&b.path));
        for remove in removes {
            pieces.push(Piece::deleted(remove).ok_or_else(|| SourceError::Table {
                action: "read the changes of",
                table: options.path.clone(),
                reason: format!(
                    "version {version} removes a file without saying its partition, so its \
                     rows cannot be shown as deleted"
                ),
                transient: false,
            })?);
        }
        Ok(pieces)
    }

    /// Files that a snapshot has, in an order that never changes: the oldest first.
    pub fn snapshot(mut adds: Vec<Piece>) -> Vec<Piece> {
        adds.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
        adds
    }
}

impl Piece {
    fn inserted(add: Add) -> Self {
        Self {
            path: add.path,
            size: u64::try_from(add.size).ok(),
            partition_values: add.partition_values,
            rows: Rows::Left(add.deletion_vector),
            change: Change::Insert,
            modified_ms: Some(add.modification_time),
        }
    }

    fn deleted(remove: Remove) -> Option<Self> {
        Some(Self {
            path: remove.path,
            size: remove.size.and_then(|size| u64::try_from(size).ok()),
            partition_values: remove.partition_values?,
            rows: Rows::Left(remove.deletion_vector),
            change: Change::Delete,
            modified_ms: remove.deletion_timestamp,
        })
    }

    fn changed(file: AddCDCFile) -> Self {
        Self {
            path: file.path,
            size: u64::try_from(file.size).ok(),
            partition_values: file.partition_values,
            rows: Rows::Left(None),
            change: Change::InFile,
            modified_ms: None,
        }
    }
}
