//! The growing halves of Arrow arrays: validity, and values of varying length.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

/// How many rows a column has and which of them are null. Without a null it is a counter.
#[derive(Debug, Default)]
pub(in crate::codec) struct Validity {
    len: usize,
    /// From the first null on: one bit a row, set where it is valid.
    bits: Option<BooleanBufferBuilder>,
}

impl Validity {
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub fn push_valid(&mut self) {
        self.len += 1;
        if let Some(bits) = &mut self.bits {
            bits.append(true);
        }
    }

    pub fn push_null(&mut self) {
        let len = self.len;
        let bits = self.bits.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(len.max(1024));
            bits.append_n(len, true);
            bits
        });
        bits.append(false);
        self.len += 1;
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            if let Some(bits) = &mut self.bits {
                bits.truncate(len);
            }
        }
    }

    /// None if no row is null.
    pub fn finish(&mut self) -> Option<NullBuffer> {
        self.len = 0;
        let nulls = NullBuffer::new(self.bits.take()?.build());
        Some(nulls).filter(|nulls| nulls.null_count() > 0)
    }

    pub fn bytes(&self) -> usize {
        self.bits.as_ref().map_or(0, |bits| bits.len() / 8)
    }
}

/// Where the values of each row end. Rows that a decoder accepts never hold more than `i32::MAX`
/// bytes or elements in all: decoders refuse the record that could exceed it.
#[derive(Debug)]
pub(in crate::codec) struct Offsets(Vec<i32>);

impl Default for Offsets {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Offsets {
    /// Ends a row at `end`.
    #[inline(always)]
    pub fn push(&mut self, end: usize) {
        debug_assert!(i32::try_from(end).is_ok());
        self.0.push(end as i32);
    }

    /// Where the last row ended.
    #[inline(always)]
    pub fn last(&self) -> usize {
        self.0.last().map_or(0, |end| *end as usize)
    }

    /// Where the row `row` starts.
    pub fn start(&self, row: usize) -> usize {
        self.0.get(row).map_or(0, |start| *start as usize)
    }

    pub fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows + 1);
    }

    pub fn finish(&mut self) -> OffsetBuffer<i32> {
        let mut fresh = Vec::with_capacity(self.0.len());
        fresh.push(0);
        OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.0, fresh)))
    }

    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<i32>()
    }
}

/// The values of a STRING or BINARY column.
#[derive(Debug, Default)]
pub(in crate::codec) struct Bytes {
    pub offsets: Offsets,
    pub values: Vec<u8>,
}

impl Bytes {
    /// Ends a row with all that is in `values`.
    #[inline(always)]
    pub fn end_row(&mut self) {
        self.offsets.push(self.values.len());
    }

    pub fn row(&self, row: usize) -> &[u8] {
        &self.values[self.offsets.start(row)..self.offsets.start(row + 1)]
    }

    /// Drops the rows from `rows` on, and values that were begun but not ended.
    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        self.values.truncate(self.offsets.last());
    }

    pub fn bytes(&self) -> usize {
        self.offsets.bytes() + self.values.len()
    }
}

/// Takes the vector, and leaves one that has room for as many again: batches tend to be alike.
pub(in crate::codec) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let fresh = Vec::with_capacity(values.len());
    std::mem::replace(values, fresh)
}
