//! What a checkpoint holds of one operator.

use std::collections::BTreeMap;

use crate::operator::StateDelta;

/// A segment's bytes, with its place in the order in which all were written.
type Piece = (u64, Vec<u8>);

/// The live segments of one operator, by the rules of the checkpoint: a pane's later segments add
/// to earlier ones unless they are `whole`, and go when the pane is closed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By the shard that wrote them and the pane, each with its place in the order of all.
    segments: BTreeMap<(usize, i64), Vec<Piece>>,
    written: u64,
    /// Of each shard.
    watermarks: Vec<Option<i64>>,
    /// The operator was restored since: its next snapshots are all that there is.
    stale: bool,
}

impl Kept {
    /// Adds what one barrier gave, a delta from each shard.
    pub(super) fn add(&mut self, deltas: Vec<StateDelta>) {
        if std::mem::take(&mut self.stale) {
            self.segments.clear();
        }
        self.watermarks = deltas.iter().map(|delta| delta.watermark).collect();
        for (shard, delta) in deltas.into_iter().enumerate() {
            // A pane that was closed may have been opened again since.
            for pane in delta.closed {
                self.segments.remove(&(shard, pane));
            }
            for segment in delta.segments {
                let pane = self.segments.entry((shard, segment.pane)).or_default();
                if segment.whole {
                    pane.clear();
                }
                pane.push((self.written, segment.bytes));
                self.written += 1;
            }
        }
    }

    /// All live segments, in the order they were written.
    pub(super) fn segments(&self) -> Vec<&[u8]> {
        let mut all: Vec<&(u64, Vec<u8>)> = self.segments.values().flatten().collect();
        all.sort_by_key(|(written, _)| *written);
        all.into_iter().map(|(_, bytes)| bytes.as_slice()).collect()
    }

    /// The oldest and the newest watermark of any shard.
    pub(super) fn watermarks(&self) -> (Option<i64>, Option<i64>) {
        let marks = || self.watermarks.iter().copied();
        (marks().min().flatten(), marks().max().flatten())
    }

    /// The operator has what is here.
    pub(super) fn restored(&mut self) {
        self.stale = true;
    }
}
