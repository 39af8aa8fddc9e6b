//! What the ledger's entries hold: epochs, and the tables of the state that each wrote.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{Position, PreCommit};
use crate::source::PartitionId;

/// A piece of state's identity: the epoch that wrote it, and which of that epoch's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub born: u64,
    pub ordinal: u32,
}

/// Whose state a piece is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Owner {
    Pane { query: Arc<str>, shard: u32, pane: i64 },
    Operator { name: Arc<str> },
}

/// Where bytes are, how many, and their crc32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    pub bytes: u64,
    pub crc: u32,
    /// Where they begin: in the file, or in what follows the entry's head in the ledger.
    pub offset: u64,
    /// The segment file that holds them; `None`: the ledger does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
}

impl Blob {
    /// Describes bytes that are not yet anywhere.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc: crc32fast::hash(bytes), offset: 0, file: None }
    }
}

/// How many entries an epoch consists of, and a digest of which: so that one that vanished from
/// the ledger is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LiveSet {
    pub count: u64,
    pub digest: u64,
}

impl LiveSet {
    /// Order does not matter, so the set can be kept up to date entry by entry.
    pub(super) fn add(&mut self, id: EntryId, blob: &Blob) {
        self.count = self.count.wrapping_add(1);
        self.digest = self.digest.wrapping_add(mix(id, blob));
    }

    pub(super) fn remove(&mut self, id: EntryId, blob: &Blob) {
        self.count = self.count.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(mix(id, blob));
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014), chained over the parts.
fn mix(id: EntryId, blob: &Blob) -> u64 {
    [id.born, u64::from(id.ordinal), blob.bytes, u64::from(blob.crc)].into_iter().fold(0, |h, x| {
        let mut z = (h ^ x).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// The head of an epoch's own entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochHead {
    pub pipeline: String,
    pub shards: u32,
    pub created_at_ms: i64,
    pub live: LiveSet,
    /// The [`Payload`] as JSON; follows the head if no file holds it.
    pub payload: Blob,
}

/// What of an epoch can be large.
#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    pub positions: BTreeMap<PartitionId, Position>,
    pub fingerprints: BTreeMap<String, String>,
    pub watermarks: BTreeMap<String, i64>,
    pub precommits: Vec<PreCommit>,
    pub killed: Killed,
}

/// [`Payload`] before it is written.
#[derive(Debug, Serialize)]
pub(super) struct PayloadRef<'a> {
    pub positions: &'a BTreeMap<PartitionId, Position>,
    pub fingerprints: &'a BTreeMap<String, String>,
    pub watermarks: &'a BTreeMap<String, i64>,
    pub precommits: &'a [PreCommit],
    pub killed: Killed,
}

/// Entries that are part of the epoch before and not of this one, by the epoch that wrote them.
pub(super) type Killed = Vec<(u64, Vec<u32>)>;

/// The head of a table's entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableHead {
    /// The [`Table`] as JSON; follows the head if no file holds it.
    pub table: Blob,
}

/// All state that one epoch wrote and that is still needed, without the bytes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Table {
    /// Names of queries and operators.
    names: Vec<Arc<str>>,
    /// Names of segment files.
    files: Vec<Arc<str>>,
    rows: Vec<Row>,
}

/// One piece of state, as an array of numbers: there may be thousands. Without a file, the offset
/// counts from the end of the table.
#[derive(Debug, Serialize, Deserialize)]
struct Row(
    /* ordinal */ u32,
    /* name */ usize,
    /* shard and pane; none of an operator */ Option<(u32, i64)>,
    /* groups */ u64,
    /* bytes */ u64,
    /* crc32 */ u32,
    /* offset */ u64,
    /* file */ Option<usize>,
);

impl Table {
    /// Of entries as ordinal, owner, groups and place.
    pub(super) fn new<'a>(
        entries: impl IntoIterator<Item = (u32, &'a Owner, u64, &'a Blob)>,
    ) -> Self {
        let mut table = Self::default();
        let mut names = HashMap::new();
        let mut files = HashMap::new();
        for (ordinal, owner, groups, blob) in entries {
            let (name, place) = match owner {
                Owner::Pane { query, shard, pane } => (query, Some((*shard, *pane))),
                Owner::Operator { name } => (name, None),
            };
            let name = position(&mut names, &mut table.names, name);
            let file = blob.file.as_ref().map(|file| position(&mut files, &mut table.files, file));
            let Blob { bytes, crc, offset, .. } = *blob;
            table.rows.push(Row(ordinal, name, place, groups, bytes, crc, offset, file));
        }
        table
    }

    /// The entries again; `None` for a row that names what is not there.
    pub(super) fn entries(&self) -> impl Iterator<Item = Option<(u32, Owner, u64, Blob)>> {
        self.rows.iter().map(|row| {
            let Row(ordinal, name, place, groups, bytes, crc, offset, file) = *row;
            let name = self.names.get(name)?.clone();
            let owner = match place {
                Some((shard, pane)) => Owner::Pane { query: name, shard, pane },
                None => Owner::Operator { name },
            };
            let file = match file {
                Some(file) => Some(self.files.get(file)?.clone()),
                None => None,
            };
            Some((ordinal, owner, groups, Blob { bytes, crc, offset, file }))
        })
    }
}

/// Where `name` is in `names`, appending it if it is new.
fn position(
    known: &mut HashMap<Arc<str>, usize>,
    names: &mut Vec<Arc<str>>,
    name: &Arc<str>,
) -> usize {
    *known.entry(name.clone()).or_insert_with(|| {
        names.push(name.clone());
        names.len() - 1
    })
}

/// Ordinals as a bitmap.
pub(super) fn bitmap<'a>(ordinals: impl IntoIterator<Item = &'a u32>) -> Vec<u8> {
    let mut bits: Vec<u8> = Vec::new();
    for ordinal in ordinals {
        let byte = *ordinal as usize / 8;
        if bits.len() <= byte {
            bits.resize(byte + 1, 0);
        }
        bits[byte] |= 1 << (ordinal % 8);
    }
    bits
}

/// The ordinals in a bitmap.
pub(super) fn ordinals(bitmap: &[u8]) -> impl Iterator<Item = u32> {
    (0..bitmap.len() as u32 * 8).filter(|n| bitmap[*n as usize / 8] & (1 << (n % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_hold_any_ordinals() {
        for set in [&[][..], &[0], &[7, 8], &[1, 63, 64, 5000]] {
            assert_eq!(ordinals(&bitmap(set)).collect::<Vec<_>>(), set);
        }
    }

    #[test]
    fn tables_survive_and_bad_rows_are_told() {
        let query = Owner::Pane { query: "q".into(), shard: 1, pane: -7 };
        let operator = Owner::Operator { name: "q".into() };
        let there = Blob { bytes: 1, crc: 2, offset: 3, file: Some("f".into()) };
        let here = Blob { file: None, ..there.clone() };
        let rows = [(0, &query, 9, &there), (7, &operator, 0, &here)];
        let text = serde_json::to_string(&Table::new(rows)).expect("plain data");
        let table: Table = serde_json::from_str(&text).expect("just written");
        let back: Vec<_> = table.entries().map(|entry| entry.expect("sound")).collect();
        assert_eq!(
            back,
            rows.map(|(n, owner, groups, blob)| (n, owner.clone(), groups, blob.clone()))
        );
        for bad in [text.replace("[\"q\"]", "[]"), text.replace("[\"f\"]", "[]")] {
            let table: Table = serde_json::from_str(&bad).expect("well formed");
            assert!(table.entries().any(|entry| entry.is_none()), "{bad}");
        }
    }
}
