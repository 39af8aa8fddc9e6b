//! Which files are worth rewriting together.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use deltalake::kernel::{Add, Remove, Snapshot};
use futures::TryStreamExt;

use super::UpkeepError;
use super::filter::PartitionFilter;
use crate::lake::ExistingTable;

/// Under this share of the target size a file is small, in per cent: one that is nearly as large
/// as it should be gains nothing by being written again.
const SMALL_PERCENT: u64 = 75;

/// The tag of a file that was written in z-order, with the columns; Databricks' own name for it.
pub(super) const ZORDER_TAG: &str = "ZCUBE_ZORDER_BY";

/// Which files a run chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Whatever can be merged: at least two small files of a partition.
    All,
    /// Only what pays, for runs that come again and again: files are merged when there are at least
    /// `min_files` of them, or enough to fill a file, and a file that is larger than all those it
    /// would be merged with waits until they have caught up. Each row is then written again only
    /// when the file that it is in has doubled, and not once an hour.
    ///
    /// Partitions that were written to within `settle` are still being written to, and are left
    /// alone until they have four times as many files.
    Worthwhile {
        /// The fewest files worth merging.
        min_files: usize,
        /// How long a partition has to be quiet to be taken for finished.
        settle: Duration,
    },
}

/// A data file of the table.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub add: Add,
    pub remove: Remove,
}

impl Candidate {
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or(0)
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.add.tags.as_ref()?.get(name)?.as_deref()
    }
}

/// Files of one partition that become new ones together.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub partition: HashMap<String, Option<String>>,
    pub files: Vec<Candidate>,
}

impl Job {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(Candidate::bytes).sum()
    }
}

/// The files of a version, oldest first, those only whose partition `filter` means.
pub(super) async fn candidates(
    table: &ExistingTable,
    snapshot: &Snapshot,
    filter: Option<&PartitionFilter>,
) -> Result<Vec<Candidate>, UpkeepError> {
    let views = snapshot.file_views(table.store.as_ref(), None);
    // The view itself does not give tags away.
    #[allow(deprecated)]
    let files: Result<Vec<Candidate>, _> = views
        .map_ok(|view| {
            let add = view.add_action();
            let mut remove = view.remove_action(false);
            remove.tags.clone_from(&add.tags);
            Candidate { add, remove }
        })
        .try_collect()
        .await;
    let mut files = match files {
        Ok(files) => files,
        Err(error) => return Err(table.explained("list the files of", error).await.into()),
    };
    if let Some(filter) = filter {
        let partitions: Vec<_> = files.iter().map(|file| &file.add.partition_values).collect();
        let mut wanted = filter.matches(&partitions)?.into_iter();
        files.retain(|_| wanted.next().unwrap_or(false));
    }
    // In the order in which rows came, so that rows of one time stay together.
    files.sort_by(|a, b| {
        (a.add.modification_time, &a.add.path).cmp(&(b.add.modification_time, &b.add.path))
    });
    Ok(files)
}

/// Files by partition, in a fixed order.
fn by_partition(files: Vec<Candidate>) -> Vec<Job> {
    let mut partitions: BTreeMap<BTreeMap<String, Option<String>>, Vec<Candidate>> =
        BTreeMap::new();
    for file in files {
        let key = file.add.partition_values.clone().into_iter().collect();
        partitions.entry(key).or_default().push(file);
    }
    let job =
        |(key, files): (BTreeMap<_, _>, _)| Job { partition: key.into_iter().collect(), files };
    partitions.into_iter().map(job).collect()
}

/// Small files in groups that make one file of about `target` bytes each.
pub(super) fn compaction(
    files: Vec<Candidate>,
    target: u64,
    selection: Selection,
    now_ms: i64,
) -> Vec<Job> {
    let small = target.saturating_mul(SMALL_PERCENT) / 100;
    let mut jobs = Vec::new();
    for Job { partition, files } in by_partition(files) {
        let newest = files.iter().map(|file| file.add.modification_time).max().unwrap_or(0);
        let mut group: Vec<Candidate> = Vec::new();
        let mut bytes = 0;
        let mut groups = Vec::new();
        for file in files {
            // A file in z-order stays as it is: merged with others it would be neither.
            let rewritten = file.bytes() < small && file.tag(ZORDER_TAG).is_none();
            if !rewritten && file.add.deletion_vector.is_none() {
                continue;
            }
            if bytes + file.bytes() > target && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += file.bytes();
            group.push(file);
        }
        groups.push(group);
        for group in groups {
            let group = match selection {
                Selection::All => group,
                Selection::Worthwhile { min_files, settle } => {
                    let settle = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
                    let live = now_ms.saturating_sub(newest) < settle;
                    let least = if live { min_files.saturating_mul(4) } else { min_files };
                    worthwhile(group, small, least)
                }
            };
            // One file alone is rewritten only to be rid of its deleted rows.
            if group.len() > 1 || group.iter().any(|file| file.add.deletion_vector.is_some()) {
                jobs.push(Job { partition: partition.clone(), files: group });
            }
        }
    }
    jobs
}

/// Leaves out what is larger than the rest together, and everything if too little remains.
fn worthwhile(mut group: Vec<Candidate>, small: u64, min_files: usize) -> Vec<Candidate> {
    loop {
        let bytes: u64 = group.iter().map(Candidate::bytes).sum();
        if group.len() > 1 && bytes >= small {
            return group; // it makes a whole file, which nobody needs to touch again
        }
        let largest = group.iter().enumerate().max_by_key(|(_, file)| file.bytes());
        match largest {
            Some((index, file)) if group.len() > 1 && file.bytes() > bytes - file.bytes() => {
                group.remove(index);
            }
            _ => break,
        }
    }
    if group.len() < min_files.max(2) { Vec::new() } else { group }
}

/// All files of each partition that is not in z-order by these columns yet.
pub(super) fn zorder(files: Vec<Candidate>, tag: &str, selection: Selection) -> Vec<Job> {
    let mut jobs = Vec::new();
    for Job { partition, files } in by_partition(files) {
        let total: u64 = files.iter().map(Candidate::bytes).sum();
        let other: u64 =
            files.iter().filter(|f| f.tag(ZORDER_TAG) != Some(tag)).map(Candidate::bytes).sum();
        let pays = match selection {
            Selection::All => other > 0,
            // Rewriting a partition for a few new rows in it costs more than it brings.
            Selection::Worthwhile { .. } => other > 0 && other >= total / 10,
        };
        if pays {
            jobs.push(Job { partition, files });
        }
    }
    jobs
}
