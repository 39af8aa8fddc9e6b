//! Keys as small numbers.
//!
//! A stream brings the same few keys again and again. A dictionary that outlives the batch turns a
//! key into a number with one hash and one comparison, and what follows (the group of a window and
//! a key) is an index into an array. Several keys are folded pair by pair: the pair of the first
//! two numbers gets a number of its own, that and the third, and so on.

mod column;
mod slots;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use column::Column;
use slots::Numbers;

/// Entries of a reader's dictionary, and bytes of text in it, before all are emptied: 10 to 20 MB.
const MAX_ENTRIES: usize = 1 << 17;
const MAX_TEXT: usize = 8 << 20;

/// Entries that a dictionary of state may have beyond those in use before it is compacted.
const SLACK: usize = 1 << 16;

/// The dictionary of all key columns together.
pub(super) struct KeyDictionary {
    types: Vec<DataType>,
    columns: Vec<Column>,
    /// Pairs of (number of what is to the left, number of the column), for each column but the
    /// first.
    pairs: Vec<Numbers>,
    scratch: Vec<u32>,
    /// From this length on it is worth while to look how many entries are in use.
    compact_at: usize,
}

impl KeyDictionary {
    pub(super) fn new(types: &[DataType]) -> Result<Self> {
        Ok(Self {
            types: types.to_vec(),
            columns: types.iter().map(Column::new).collect::<Result<_>>()?,
            pairs: types.iter().skip(1).map(|_| Numbers::default()).collect(),
            scratch: vec![],
            compact_at: SLACK,
        })
    }

    /// All numbers are below this.
    pub(super) fn len(&self) -> usize {
        match (self.pairs.last(), self.columns.first()) {
            (Some(pairs), _) => pairs.len(),
            (None, Some(column)) => column.len(),
            // Without keys every row has number 0.
            (None, None) => 1,
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.columns.iter().map(Column::size).sum::<usize>()
            + self.pairs.iter().map(Numbers::size).sum::<usize>()
    }

    /// Empties the dictionaries if they have become too large. Numbers given out before are void.
    pub(super) fn trim(&mut self) {
        let full = self
            .columns
            .iter()
            .any(|column| column.len() > MAX_ENTRIES || column.text_len() > MAX_TEXT)
            || self.pairs.iter().any(|pairs| pairs.len() > MAX_ENTRIES);
        if full {
            self.columns.iter_mut().for_each(Column::clear);
            self.pairs.iter_mut().for_each(Numbers::clear);
        }
    }

    /// Whether so much was added since the last compaction that another may be worth while.
    pub(super) fn is_large(&self) -> bool {
        self.len() >= self.compact_at
    }

    /// Forgets the keys that are not `live`, if they are the majority, and gives the new number of
    /// each old one; `None` if nothing changed.
    pub(super) fn compact(&mut self, live: &[bool]) -> Result<Option<Vec<u32>>> {
        let kept: Vec<u32> =
            (0..).zip(live).filter(|(_, live)| **live).map(|(code, _)| code).collect();
        if kept.len() * 2 > self.len() {
            self.compact_at = self.len() * 2;
            return Ok(None);
        }
        let mut new = Self::new(&self.types)?;
        let mut codes = vec![];
        let mut moved = vec![0; self.len()];
        for kept in kept.chunks(SLACK) {
            new.codes(&self.decode(kept)?, kept.len(), &mut codes)?;
            for (old, code) in kept.iter().zip(&codes) {
                moved[*old as usize] = *code;
            }
        }
        new.compact_at = new.len() * 2 + SLACK;
        *self = new;
        Ok(Some(moved))
    }

    /// Each row's number.
    pub(super) fn codes(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        out.clear();
        let Some((first, rest)) = self.columns.split_first_mut() else {
            out.resize(rows, 0);
            return Ok(());
        };
        first.codes(&keys[0], out)?;
        for ((column, pairs), key) in rest.iter_mut().zip(&mut self.pairs).zip(&keys[1..]) {
            self.scratch.clear();
            column.codes(key, &mut self.scratch)?;
            for (left, right) in out.iter_mut().zip(&self.scratch) {
                *left = pairs.code(u64::from(*left) << 32 | u64::from(*right));
            }
        }
        Ok(())
    }

    /// The keys with these numbers, one array for each column.
    pub(super) fn decode(&self, codes: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut codes = codes.to_vec();
        for (column, pairs) in
            self.columns[1.min(self.columns.len())..].iter().zip(&self.pairs).rev()
        {
            let own: Vec<u32> = codes.iter().map(|code| pairs.get(*code) as u32).collect();
            arrays.push(column.decode(&own)?);
            for code in &mut codes {
                *code = (pairs.get(*code) >> 32) as u32;
            }
        }
        if let Some(first) = self.columns.first() {
            arrays.push(first.decode(&codes)?);
        }
        arrays.reverse();
        debug_assert!(arrays.iter().all(|array| array.len() == codes.len()));
        Ok(arrays)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Decimal128Array, Int32Array, ListArray, StringArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn keys_of_every_type_come_back() {
        let decimals = Decimal128Array::from(vec![Some(1), None, Some(1), Some(3)])
            .with_precision_and_scale(10, 2)
            .unwrap();
        let list = |values: &[i32]| Some(values.iter().map(|v| Some(*v)).collect::<Vec<_>>());
        let lists = [list(&[1, 2]), None, list(&[1, 2]), list(&[])];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a"), None, Some("a"), Some("")])),
            Arc::new(decimals),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
            Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(b"\xff"), Some(b"")])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(false)])),
            Arc::new(Int32Array::from(vec![Some(-1), None, Some(-1), Some(0)])),
        ];
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let mut dictionary = KeyDictionary::new(&types).unwrap();
        let mut codes = vec![];
        dictionary.codes(&columns, 4, &mut codes).unwrap();
        assert_eq!(codes, [0, 1, 0, 2]);
        for (found, expected) in dictionary.decode(&codes).unwrap().iter().zip(&columns) {
            assert_eq!(found, expected);
        }
        assert_eq!(dictionary.len(), 3);
        let moved = dictionary.compact(&[false, true, false]).unwrap().unwrap();
        assert_eq!((moved[1], dictionary.len()), (0, 1));
        for (found, expected) in dictionary.decode(&[0]).unwrap().iter().zip(&columns) {
            assert_eq!(found, &expected.slice(1, 1));
        }
        dictionary.codes(&columns, 4, &mut codes).unwrap();
        assert_eq!(codes, [1, 0, 1, 2]);
    }
}
