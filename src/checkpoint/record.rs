//! The form of a ledger entry: keys, and values that verify themselves.
//!
//! A value is `"mp"`, format version (u8), kind (u8), crc32 (u32), length of the head (u32), the
//! head as JSON, then raw bytes. Numbers are little-endian in values and big-endian in keys, so
//! that keys sort by epoch. The checksum covers everything but itself, and the key, so that a
//! value under another's key does not pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::model::{Position, PreCommit};
use crate::source::PartitionId;

/// Version of every entry, of the segment files and of the directory as a whole.
pub(super) const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 2] = *b"mp";
const HEADER: usize = 12;

/// A segment's identity: the epoch that wrote it, and which of that epoch's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub born: u64,
    pub ordinal: u32,
}

/// A ledger key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One epoch: [`EpochHead`], then its [`Payload`] unless a file holds that.
    Epoch(u64),
    /// The epoch's pre-commits reached their tables.
    Committed(u64),
    /// One segment or operator: [`EntryHead`], then its bytes unless a file holds them.
    Entry(EntryId),
}

impl Key {
    fn kind(self) -> u8 {
        match self {
            Key::Committed(_) => b'C',
            Key::Epoch(_) => b'E',
            Key::Entry(_) => b'S',
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.kind()];
        match self {
            Key::Epoch(epoch) | Key::Committed(epoch) => bytes.extend(epoch.to_be_bytes()),
            Key::Entry(id) => {
                bytes.extend(id.born.to_be_bytes());
                bytes.extend(id.ordinal.to_be_bytes());
            }
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Key> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'C' => Some(Key::Committed(u64::from_be_bytes(rest.try_into().ok()?))),
            b'E' => Some(Key::Epoch(u64::from_be_bytes(rest.try_into().ok()?))),
            b'S' => {
                let (born, ordinal) = rest.split_first_chunk::<8>()?;
                Some(Key::Entry(EntryId {
                    born: u64::from_be_bytes(*born),
                    ordinal: u32::from_be_bytes(ordinal.try_into().ok()?),
                }))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Epoch(epoch) => write!(f, "ledger entry epoch/{epoch}"),
            Key::Committed(epoch) => write!(f, "ledger entry committed/{epoch}"),
            Key::Entry(id) => write!(f, "ledger entry segment/{}/{}", id.born, id.ordinal),
        }
    }
}

/// Whose state an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    Pane { query: Arc<str>, shard: u32, pane: i64 },
    Operator { name: Arc<str> },
}

/// Where bytes are, how many, and their crc32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    pub bytes: u64,
    pub crc: u32,
    /// `None`: they follow the head in the ledger itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileRef>,
}

/// A place in a segment file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRef {
    pub name: Arc<str>,
    pub offset: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntryHead {
    pub owner: Owner,
    pub groups: u64,
    pub blob: Blob,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochHead {
    pub pipeline: String,
    pub shards: u32,
    pub created_at_ms: i64,
    pub live: LiveSet,
    /// The [`Payload`], as JSON.
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

/// Entries that are live up to the epoch before and dead from this one on, by the epoch that
/// wrote them.
pub(super) type Killed = Vec<(u64, Vec<u32>)>;

/// Why a value or a file does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged(String),
    Newer(u8),
}

/// Frames `head` and `tail` as the value of `key`.
pub(super) fn encode(
    key: Key,
    head: &impl Serialize,
    tail: &[u8],
) -> Result<Vec<u8>, serde_json::Error> {
    let head = serde_json::to_vec(head)?;
    let mut value = Vec::with_capacity(HEADER + head.len() + tail.len());
    value.extend(MAGIC);
    value.push(FORMAT_VERSION);
    value.push(key.kind());
    value.extend([0; 4]);
    // Heads are a few hundred bytes of our own making.
    value.extend((head.len() as u32).to_le_bytes());
    value.extend(head);
    value.extend(tail);
    let crc = checksum(&key.to_bytes(), &value);
    value[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(value)
}

/// Verifies `value` and takes it apart.
pub(super) fn decode<T: DeserializeOwned>(key: Key, value: &[u8]) -> Result<(T, &[u8]), Fault> {
    let damaged = |detail: &str| Fault::Damaged(detail.to_owned());
    let Some((header, rest)) = value.split_first_chunk::<HEADER>() else {
        return Err(Fault::Damaged(format!("it is only {} bytes long", value.len())));
    };
    if header[..2] != MAGIC {
        return Err(damaged("it does not start like a ledger entry"));
    }
    let [_, _, version, kind, c0, c1, c2, c3, l0, l1, l2, l3] = *header;
    let expected = u32::from_le_bytes([c0, c1, c2, c3]);
    let actual = checksum(&key.to_bytes(), value);
    if expected != actual {
        return Err(Fault::Damaged(format!(
            "its checksum is {actual:08x}, it was written with {expected:08x}"
        )));
    }
    // Only now: a flipped bit in the version is damage, not a newer Millpond.
    if version > FORMAT_VERSION {
        return Err(Fault::Newer(version));
    }
    if kind != key.kind() {
        return Err(damaged("it is of another kind than its key"));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let Some((head, tail)) = rest.split_at_checked(length) else {
        return Err(damaged("its head is longer than the entry"));
    };
    match serde_json::from_slice(head) {
        Ok(head) => Ok((head, tail)),
        Err(error) => Err(Fault::Damaged(format!("its head cannot be read: {error}"))),
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&value[..4]);
    hasher.update(&value[8..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_and_sort_by_epoch() {
        for key in
            [Key::Epoch(7), Key::Committed(u64::MAX), Key::Entry(EntryId { born: 258, ordinal: 3 })]
        {
            assert_eq!(Key::parse(&key.to_bytes()), Some(key));
        }
        assert!(Key::Epoch(255).to_bytes() < Key::Epoch(256).to_bytes());
        for bad in [&b""[..], b"E", b"E123", b"X00000000", b"S00000000", b"S000000000000000"] {
            assert_eq!(Key::parse(bad), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = Key::Epoch(9);
        let value = encode(key, &LiveSet { count: 1, digest: 2 }, b"tail").expect("plain data");
        let (head, tail) = decode::<LiveSet>(key, &value).expect("just written");
        assert_eq!((head, tail), (LiveSet { count: 1, digest: 2 }, &b"tail"[..]));
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode::<LiveSet>(key, &bad), Err(Fault::Damaged(_))), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode::<LiveSet>(key, &value[..length]).is_err());
        }
        assert!(decode::<LiveSet>(Key::Epoch(10), &value).is_err(), "under another key");
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let key = Key::Committed(1);
        let mut value = encode(key, &(), b"").expect("plain data");
        value[2] = 9;
        let crc = checksum(&key.to_bytes(), &value);
        value[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode::<()>(key, &value), Err(Fault::Newer(9)));
    }
}
