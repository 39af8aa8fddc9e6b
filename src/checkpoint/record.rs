//! The form of a ledger entry: keys, and values that verify themselves.
//!
//! A value is `"mp"`, format version (u8), kind (u8), crc32 (u32), length of the head (u32), the
//! head as JSON, then raw bytes. Numbers are little-endian in values and big-endian in keys, so
//! that keys sort by epoch. The checksum covers everything but itself, and the key, so that a
//! value under another's key does not pass.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of every entry, of the segment files and of the directory as a whole.
pub(super) const FORMAT_VERSION: u8 = 1;

const MAGIC: [u8; 2] = *b"mp";
const HEADER: usize = 12;

/// A ledger key. All of them are about one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Its pre-commits reached their tables. Empty.
    Committed(u64),
    /// Which rows of its table no kept epoch needs: a bitmap by ordinal.
    Dead(u64),
    /// The epoch itself: an `EpochHead`, then its `Payload` unless a file holds that.
    Epoch(u64),
    /// The state that it wrote: a `TableHead`, then its `Table` unless a file holds that, then
    /// the bytes of those of its rows that no file holds.
    Table(u64),
}

impl Key {
    const BYTES: usize = 9;

    fn parts(self) -> (u8, u64) {
        match self {
            Key::Committed(epoch) => (b'C', epoch),
            Key::Dead(epoch) => (b'D', epoch),
            Key::Epoch(epoch) => (b'E', epoch),
            Key::Table(epoch) => (b'T', epoch),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (kind, epoch) = self.parts();
        let mut bytes = [kind; Self::BYTES];
        bytes[1..].copy_from_slice(&epoch.to_be_bytes());
        bytes
    }

    /// The key at the front of `bytes`, and what follows it.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Key, &[u8])> {
        let ([kind, epoch @ ..], rest) = bytes.split_first_chunk::<{ Self::BYTES }>()?;
        let epoch = u64::from_be_bytes(*epoch);
        let key = match kind {
            b'C' => Key::Committed(epoch),
            b'D' => Key::Dead(epoch),
            b'E' => Key::Epoch(epoch),
            b'T' => Key::Table(epoch),
            _ => return None,
        };
        Some((key, rest))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, epoch) = match self {
            Key::Committed(epoch) => ("committed", epoch),
            Key::Dead(epoch) => ("dead", epoch),
            Key::Epoch(epoch) => ("epoch", epoch),
            Key::Table(epoch) => ("state", epoch),
        };
        write!(f, "ledger entry {name}/{epoch}")
    }
}

/// Why a value or a file does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged(String),
    Newer(u8),
}

/// Frames `head` and the parts that follow it as the value of `key`.
pub(super) fn encode(
    key: Key,
    head: &impl Serialize,
    parts: &[&[u8]],
) -> Result<Vec<u8>, serde_json::Error> {
    let head = serde_json::to_vec(head)?;
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut value = Vec::with_capacity(HEADER + head.len() + length);
    value.extend(MAGIC);
    value.push(FORMAT_VERSION);
    value.push(key.parts().0);
    value.extend([0; 4]);
    // Heads are a few hundred bytes of our own making.
    value.extend((head.len() as u32).to_le_bytes());
    value.extend(head);
    for part in parts {
        value.extend_from_slice(part);
    }
    let crc = checksum(&key.to_bytes(), &value);
    value[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(value)
}

/// Verifies `value` and takes it apart into its head and what follows.
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
    if kind != key.parts().0 {
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
        for key in [Key::Epoch(7), Key::Committed(u64::MAX), Key::Dead(0), Key::Table(258)] {
            assert_eq!(Key::parse(&key.to_bytes()), Some((key, &[][..])));
        }
        assert!(Key::Epoch(255).to_bytes() < Key::Epoch(256).to_bytes());
        for bad in [&b""[..], b"E", b"E1234567", b"X12345678"] {
            assert_eq!(Key::parse(bad), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = Key::Epoch(9);
        let value = encode(key, &vec![1, 2], &[b"ta", b"il"]).expect("plain data");
        let (head, tail) = decode::<Vec<u8>>(key, &value).expect("just written");
        assert_eq!((head, tail), (vec![1, 2], &b"tail"[..]));
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode::<Vec<u8>>(key, &bad), Err(Fault::Damaged(_))), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode::<Vec<u8>>(key, &value[..length]).is_err());
        }
        assert!(decode::<Vec<u8>>(Key::Epoch(10), &value).is_err(), "under another key");
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let key = Key::Committed(1);
        let mut value = encode(key, &(), &[]).expect("plain data");
        value[2] = 9;
        let crc = checksum(&key.to_bytes(), &value);
        value[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode::<()>(key, &value), Err(Fault::Newer(9)));
    }
}
