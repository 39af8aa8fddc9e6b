//! The bytes of one datum, and how values that nobody reads are passed over.

use super::schema::{AvroSchema, Definition, Kind, Node};
use crate::codec::columns::MAX_RECORD_VOLUME;
use crate::codec::{Reason, RecordError};

/// How deep values may nest that are passed over: a record type may contain itself.
const MAX_DEPTH: usize = 256;

/// How many values of no bytes (nulls, empty records) a record may hold. Values that take bytes
/// cannot outnumber the bytes; these could go on for ever.
const MAX_EMPTY_ITEMS: usize = 1 << 16;

/// A datum and how far it has been read.
#[derive(Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    pub at: usize,
    items_left: usize,
    /// Bytes and elements that have been added to columns.
    volume: usize,
}

impl<'a> Input<'a> {
    /// `start` is where the datum begins.
    pub fn new(bytes: &'a [u8], start: usize) -> Self {
        // Twice, as maps with a key that comes twice are read again.
        let items_left = bytes.len().saturating_mul(2).saturating_add(MAX_EMPTY_ITEMS);
        Self { bytes, at: start.min(bytes.len()), items_left, volume: 0 }
    }

    pub fn fail<T>(&self, reason: Reason) -> Result<T, RecordError> {
        Err(RecordError::new(reason, self.at))
    }

    /// Makes sure that all has been read.
    pub fn end(&self) -> Result<(), RecordError> {
        match self.at >= self.bytes.len() {
            true => Ok(()),
            false => self.fail(Reason::TrailingData),
        }
    }

    pub fn volume(&self) -> usize {
        self.volume
    }

    /// Accounts for bytes that go into a column.
    #[inline]
    pub fn adds(&mut self, bytes: usize) -> Result<(), RecordError> {
        self.volume = self.volume.saturating_add(bytes);
        if self.volume > MAX_RECORD_VOLUME {
            return self.fail(Reason::Oversized);
        }
        Ok(())
    }

    /// Accounts for one element of an array or map.
    #[inline]
    pub fn item(&mut self) -> Result<(), RecordError> {
        match self.items_left.checked_sub(1) {
            Some(left) => self.items_left = left,
            None => return self.fail(Reason::Malformed("invalid Avro: too many elements")),
        }
        self.adds(1)
    }

    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        match self.bytes[self.at..].get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => self.fail(Reason::Truncated),
        }
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, RecordError> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => self.fail(Reason::Truncated),
        }
    }

    pub fn boolean(&mut self) -> Result<bool, RecordError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => {
                self.at -= 1;
                self.fail(Reason::Malformed("invalid Avro: a boolean that is neither 0 nor 1"))
            }
        }
    }

    /// A zig-zag number of up to 64 bits.
    #[inline]
    pub fn long(&mut self) -> Result<i64, RecordError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(zigzag(first.into()));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            // The tenth byte holds the highest bit.
            if shift == 63 && byte > 1 {
                return self.fail(Reason::Malformed("invalid Avro: a number of more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(zigzag(value));
            }
            shift += 7;
        }
    }

    #[inline]
    pub fn int(&mut self) -> Result<i32, RecordError> {
        match i32::try_from(self.long()?) {
            Ok(value) => Ok(value),
            Err(_) => self.fail(Reason::Malformed("invalid Avro: an int of more than 32 bits")),
        }
    }

    pub fn float(&mut self) -> Result<f32, RecordError> {
        let bytes = self.take(4)?;
        Ok(f32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    pub fn double(&mut self) -> Result<f64, RecordError> {
        let bytes = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }

    /// Bytes with their length before them.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        match usize::try_from(self.long()?) {
            Ok(length) => self.take(length),
            Err(_) => self.fail(Reason::Malformed("invalid Avro: a negative length")),
        }
    }

    /// The index of a union's branch or of an enumeration's symbol, below `count`.
    #[inline]
    pub fn index(&mut self, count: usize) -> Result<usize, RecordError> {
        match usize::try_from(self.long()?) {
            Ok(index) if index < count => Ok(index),
            _ => self.fail(Reason::Malformed("invalid Avro: an index beyond the schema's")),
        }
    }

    /// The head of a block of array or map items: how many there are (0: the end), and how many
    /// bytes they take where that is written.
    pub fn block(&mut self) -> Result<(u64, Option<usize>), RecordError> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count.unsigned_abs(), None));
        }
        match usize::try_from(self.long()?) {
            Ok(size) => Ok((count.unsigned_abs(), Some(size))),
            Err(_) => self.fail(Reason::Malformed("invalid Avro: a negative length")),
        }
    }

    /// Moves past a value of type `node`.
    pub fn skip(&mut self, schema: &AvroSchema, node: &Node) -> Result<(), RecordError> {
        self.skip_at(schema, node, 0)
    }

    fn skip_at(
        &mut self,
        schema: &AvroSchema,
        node: &Node,
        depth: usize,
    ) -> Result<(), RecordError> {
        if depth > MAX_DEPTH {
            return self.fail(Reason::TooDeep);
        }
        match &node.kind {
            Kind::Null => {}
            Kind::Boolean => {
                self.boolean()?;
            }
            Kind::Int => {
                self.int()?;
            }
            Kind::Long => {
                self.long()?;
            }
            Kind::Float => {
                self.take(4)?;
            }
            Kind::Double => {
                self.take(8)?;
            }
            Kind::Bytes | Kind::String => {
                self.bytes()?;
            }
            Kind::Array(items) => self.skip_blocks(schema, items, depth, false)?,
            Kind::Map(values) => self.skip_blocks(schema, values, depth, true)?,
            Kind::Union(branches) => {
                let branch = self.index(branches.len())?;
                self.skip_at(schema, &branches[branch], depth + 1)?;
            }
            Kind::Named(index) => match schema.types.get(*index).map(|named| &named.definition) {
                Some(Definition::Record(fields)) => {
                    for field in fields {
                        self.skip_at(schema, &field.node, depth + 1)?;
                    }
                }
                Some(Definition::Enum(symbols)) => {
                    self.index(symbols.len())?;
                }
                Some(Definition::Fixed(size)) => {
                    self.take(*size)?;
                }
                // The parser leaves no name without its definition.
                None => return self.fail(Reason::IncompatibleSchema),
            },
        }
        Ok(())
    }

    fn skip_blocks(
        &mut self,
        schema: &AvroSchema,
        node: &Node,
        depth: usize,
        keys: bool,
    ) -> Result<(), RecordError> {
        loop {
            match self.block()? {
                (0, _) => return Ok(()),
                (_, Some(size)) => {
                    self.take(size)?;
                }
                (count, None) => {
                    for _ in 0..count {
                        self.item()?;
                        if keys {
                            self.bytes()?;
                        }
                        self.skip_at(schema, node, depth + 1)?;
                    }
                }
            }
        }
    }
}

#[inline]
fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
