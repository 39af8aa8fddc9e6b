//! Deletion vectors: which rows of a file are not there any more.
//!
//! Formats: the Delta protocol, "Deletion Vectors" and "Deletion Vector Format"; inside them,
//! roaring bitmaps in the portable format (<https://github.com/RoaringBitmap/RoaringFormatSpec>).

use arrow::array::{BooleanBufferBuilder, builder};
use arrow::buffer::BooleanBuffer;
use uuid::Uuid;

/// Of the portable serialisation of a 64-bit bitmap, little-endian.
const PORTABLE: u32 = 1_681_511_377;
/// Of the one that is found in some logs (and in the protocol's example), big-endian.
const NATIVE: u32 = 1_681_511_376;
const WITH_RUNS: u32 = 12_347;
const WITHOUT_RUNS: u32 = 12_346;
/// From so many containers on, there is a list of their offsets even with runs.
const OFFSETS_FROM: usize = 4;
/// An array container holds no more values.
const ARRAY: usize = 4096;

const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// A bit for each of a file's `rows`, set where the row is deleted. `bytes` begin with the magic
/// number.
pub(super) fn deleted(bytes: &[u8], rows: usize) -> Result<BooleanBuffer, String> {
    let mut bits: BooleanBufferBuilder = builder::BooleanBufferBuilder::new(rows);
    bits.append_n(rows, false);
    let mut delete = |high: u64, low: u32| {
        // A row beyond the file's end deletes nothing.
        if let Ok(row) = usize::try_from(high << 32 | u64::from(low))
            && row < rows
        {
            bits.set_bit(row, true);
        }
    };
    let mut input = Input(bytes);
    let magic: [u8; 4] = input.array()?;
    if u32::from_le_bytes(magic) == PORTABLE {
        for _ in 0..input.u64()? {
            let high = u64::from(input.u32()?);
            input.bitmap(&mut |low| delete(high, low))?;
        }
    } else if u32::from_be_bytes(magic) == NATIVE {
        for high in 0..u64::from(u32::from_be_bytes(input.array()?)) {
            let size = u32::from_be_bytes(input.array()?);
            let mut bitmap = Input(input.bytes(size as usize)?);
            bitmap.bitmap(&mut |low| delete(high, low))?;
        }
    } else {
        return Err("it is no deletion vector".to_owned());
    }
    Ok(bits.finish())
}

/// The part of a deletion vector file that holds the vector of `size` bytes at `offset`.
pub(super) fn in_file(file: &[u8], offset: usize, size: usize) -> Result<&[u8], String> {
    let stored = file.get(offset..).unwrap_or_default();
    let length: [u8; 4] = stored.first_chunk().copied().ok_or("it ends before the vector")?;
    if usize::try_from(u32::from_be_bytes(length)).ok() != Some(size) {
        return Err(format!("the vector should have {size} bytes and has another size"));
    }
    let data = stored.get(4..4 + size).ok_or("it ends within the vector")?;
    let sum: [u8; 4] = stored[4 + size..].first_chunk().copied().ok_or("it has no checksum")?;
    if u32::from_be_bytes(sum) != crc32fast::hash(data) {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(data)
}

/// The path, relative to the table, of a vector that is stored as `u`: an optional directory and
/// a UUID.
pub(super) fn relative_path(encoded: &str) -> Result<String, String> {
    let at = encoded.len().checked_sub(20).filter(|at| encoded.is_char_boundary(*at));
    let (prefix, id) = encoded.split_at(at.ok_or("its name is too short")?);
    let id: [u8; 16] =
        decode(id.as_bytes())?.try_into().map_err(|_| "its name holds no UUID".to_owned())?;
    let name = format!("deletion_vector_{}.bin", Uuid::from_bytes(id));
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

/// A vector that is in the log itself, of `size` bytes.
pub(super) fn inline(encoded: &str, size: usize) -> Result<Vec<u8>, String> {
    let mut bytes = decode(encoded.as_bytes())?;
    if bytes.len() < size {
        return Err("it is shorter than it says".to_owned());
    }
    bytes.truncate(size);
    Ok(bytes)
}

/// Z85 (<https://rfc.zeromq.org/spec/32/>): five characters for four bytes.
fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(5) {
        return Err("its text is not base 85".to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    for five in text.chunks(5) {
        let mut value: u64 = 0;
        for character in five {
            let digit = Z85.iter().position(|known| known == character);
            value = value * 85 + digit.ok_or("its text is not base 85")? as u64;
        }
        let value = u32::try_from(value).map_err(|_| "its text is not base 85")?;
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    Ok(bytes)
}

/// Little-endian numbers, as roaring bitmaps are written.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// Shows the values of one 32-bit bitmap.
    fn bitmap(&mut self, show: &mut dyn FnMut(u32)) -> Result<(), String> {
        let cookie = self.u32()?;
        let (count, runs) = if cookie & 0xffff == WITH_RUNS {
            let count = (cookie >> 16) as usize + 1;
            (count, Some(self.bytes(count.div_ceil(8))?))
        } else if cookie == WITHOUT_RUNS {
            (self.u32()? as usize, None)
        } else {
            return Err("it is no roaring bitmap".to_owned());
        };
        if count > 1 << 16 {
            return Err("it has more containers than there can be".to_owned());
        }
        let mut containers = Vec::with_capacity(count);
        for _ in 0..count {
            containers.push((self.u16()?, usize::from(self.u16()?) + 1));
        }
        if runs.is_none() || count >= OFFSETS_FROM {
            self.bytes(4 * count)?;
        }
        for (index, (key, cardinality)) in containers.into_iter().enumerate() {
            let high = u32::from(key) << 16;
            if runs.is_some_and(|flags| flags[index / 8] >> (index % 8) & 1 == 1) {
                for _ in 0..self.u16()? {
                    let (start, more) = (u32::from(self.u16()?), u32::from(self.u16()?));
                    (start..=(start + more).min(0xffff)).for_each(|low| show(high | low));
                }
            } else if cardinality <= ARRAY {
                for _ in 0..cardinality {
                    show(high | u32::from(self.u16()?));
                }
            } else {
                for word in 0..1024 {
                    let mut bits = self.u64()?;
                    while bits != 0 {
                        show(high | (word * 64 + bits.trailing_zeros()));
                        bits &= bits - 1;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(bits: &BooleanBuffer) -> Vec<usize> {
        bits.set_indices().collect()
    }

    fn wrap(bitmap: &[u8]) -> Vec<u8> {
        let mut bytes = PORTABLE.to_le_bytes().to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(bitmap);
        bytes
    }

    /// The example of the protocol, and the same vector as Spark writes it.
    const EXAMPLES: [(&str, usize); 2] = [
        ("wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 40),
        ("^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 44),
    ];

    #[test]
    fn the_protocol_s_own_example_reads_as_it_says() {
        for (text, size) in EXAMPLES {
            let bits = deleted(&inline(text, size).unwrap(), 30).unwrap();
            assert_eq!(set(&bits), [3, 4, 7, 11, 18, 29]);
            assert_eq!(set(&deleted(&inline(text, size).unwrap(), 10).unwrap()), [3, 4, 7]);
        }
        let path = relative_path("ab^-aqEH.-t@S}K{vb[*k^").unwrap();
        assert_eq!(path, "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
    }

    #[test]
    fn runs_and_bitmaps_are_read() {
        let mut runs = (WITH_RUNS | (1 << 16)).to_le_bytes().to_vec();
        runs.push(0b01); // the first of two containers is of runs
        for number in [0u16, 6, 1, 1, /* runs */ 2, 5, 2, 100, 3, /* array */ 9, 70] {
            runs.extend(number.to_le_bytes());
        }
        let bits = deleted(&wrap(&runs), 1 << 17).unwrap();
        let high = 1 << 16;
        assert_eq!(set(&bits), [5, 6, 7, 100, 101, 102, 103, high + 9, high + 70]);

        let mut bitmap = WITHOUT_RUNS.to_le_bytes().to_vec();
        bitmap.extend(1u32.to_le_bytes());
        bitmap.extend(0u16.to_le_bytes());
        bitmap.extend(4999u16.to_le_bytes());
        bitmap.extend(0u32.to_le_bytes());
        for word in 0..1024u64 {
            bitmap.extend((if word < 79 { u64::MAX } else { 0 }).to_le_bytes());
        }
        assert_eq!(deleted(&wrap(&bitmap), 9000).unwrap().count_set_bits(), 79 * 64);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for (text, size) in EXAMPLES {
            let whole = inline(text, size).unwrap();
            for cut in 0..whole.len() {
                assert!(deleted(&whole[..cut], 30).is_err());
            }
            for at in 0..whole.len() {
                for bit in 0..8 {
                    let mut flipped = whole.clone();
                    flipped[at] ^= 1 << bit;
                    // Some are other vectors; none is a panic.
                    let _ = deleted(&flipped, 30);
                }
            }
        }
        assert!(inline("~~~~~", 4).is_err() && inline("abc", 4).is_err());
        assert!(relative_path("short").is_err());
    }

    #[test]
    fn a_vector_in_a_file_is_checked() {
        let data = b"some vector";
        let mut file = vec![1];
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(data);
        file.extend(crc32fast::hash(data).to_be_bytes());
        assert_eq!(in_file(&file, 1, data.len()).unwrap(), data);
        assert!(in_file(&file, 1, 5).is_err() && in_file(&file, 900, 5).is_err());
        file[6] ^= 1;
        assert!(in_file(&file, 1, data.len()).unwrap_err().contains("checksum"));
    }
}
