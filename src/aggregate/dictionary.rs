//! Keys as small numbers.
//!
//! A stream brings the same few keys again and again. A dictionary that outlives the batch turns a
//! key into a number with one hash and one comparison, and what follows (the group of a window and
//! a key) is an index into an array. Several keys are folded pair by pair: the pair of the first
//! two numbers gets a number of its own, that and the third, and so on.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBuilder, PrimitiveArray, PrimitiveBuilder,
    StringBuilder,
};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use crate::sql::{hash_bytes, hash_u64, timestamp_type};

/// Entries of a dictionary, and bytes of text in it, before all are emptied: 10 to 20 MB.
const MAX_ENTRIES: usize = 1 << 17;
const MAX_TEXT: usize = 8 << 20;

const TAG: u64 = 0xffff_ffff_0000_0000;

/// Open addressing with linear probing over the numbers of entries. A slot holds the upper half of
/// an entry's hash, which also decides its place, and the entry's number plus one; 0 is empty.
#[derive(Default)]
struct Slots {
    slots: Vec<u64>,
    used: usize,
}

impl Slots {
    /// The entry with this hash that `same` recognises, or else the number `next`, which is noted;
    /// the caller then adds that entry.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.slots[at] = (hash & TAG) | u64::from(next + 1);
                self.used += 1;
                return next;
            }
            let entry = (slot & !TAG) as u32 - 1;
            if slot & TAG == hash & TAG && same(entry) {
                return entry;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(256);
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = (slot >> 32) as usize & (size - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.used = 0;
    }
}

/// 64-bit values to numbers.
#[derive(Default)]
struct Numbers {
    slots: Slots,
    values: Vec<u64>,
}

impl Numbers {
    #[inline]
    fn code(&mut self, value: u64) -> u32 {
        let next = self.values.len() as u32;
        let values = &self.values;
        let code = self
            .slots
            .find_or_insert(hash_u64(0, value), next, |entry| values[entry as usize] == value);
        if code == next {
            self.values.push(value);
        }
        code
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
    }
}

/// Texts to numbers.
#[derive(Default)]
struct Texts {
    slots: Slots,
    /// Ends of the entries in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Texts {
    #[inline]
    fn get(ends: &[usize], bytes: &'_ [u8], entry: usize) -> std::ops::Range<usize> {
        let start = if entry == 0 { 0 } else { ends[entry - 1] };
        debug_assert!(ends[entry] <= bytes.len());
        start..ends[entry]
    }

    #[inline]
    fn code(&mut self, text: &[u8]) -> u32 {
        let next = self.ends.len() as u32;
        let (ends, bytes) = (&self.ends, &self.bytes);
        let code = self.slots.find_or_insert(hash_bytes(0, text), next, |entry| {
            &bytes[Self::get(ends, bytes, entry as usize)] == text
        });
        if code == next {
            self.bytes.extend_from_slice(text);
            self.ends.push(self.bytes.len());
        }
        code
    }

    /// An entry that no text finds: it stands for NULL.
    fn add_unreachable(&mut self) -> u32 {
        let code = self.ends.len() as u32;
        self.ends.push(self.bytes.len());
        code
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.ends.clear();
        self.bytes.clear();
    }
}

enum Entries {
    Texts(Texts),
    Numbers(Numbers),
}

/// The dictionary of one key column.
struct Column {
    data_type: DataType,
    entries: Entries,
    null: Option<u32>,
}

/// Whether keys of this type have a dictionary.
fn is_supported(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Float32
            | DataType::Float64
    ) || *data_type == timestamp_type()
}

impl Column {
    fn new(data_type: &DataType) -> Self {
        let entries = match data_type {
            DataType::Utf8 => Entries::Texts(Texts::default()),
            _ => Entries::Numbers(Numbers::default()),
        };
        Self { data_type: data_type.clone(), entries, null: None }
    }

    fn len(&self) -> usize {
        match &self.entries {
            Entries::Texts(texts) => texts.ends.len(),
            Entries::Numbers(numbers) => numbers.values.len(),
        }
    }

    fn is_full(&self) -> bool {
        let text = match &self.entries {
            Entries::Texts(texts) => texts.bytes.len(),
            Entries::Numbers(_) => 0,
        };
        self.len() > MAX_ENTRIES || text > MAX_TEXT
    }

    fn clear(&mut self) {
        self.null = None;
        match &mut self.entries {
            Entries::Texts(texts) => texts.clear(),
            Entries::Numbers(numbers) => numbers.clear(),
        }
    }

    /// Appends each row's number.
    fn codes(&mut self, array: &ArrayRef, out: &mut Vec<u32>) {
        match self.data_type {
            DataType::Utf8 => self.text_codes(array, out),
            DataType::Boolean => {
                let values = array.as_boolean();
                self.number_codes(array, out, |row| u64::from(values.value(row)));
            }
            DataType::Int8 => self.primitive_codes::<Int8Type>(array, out, |v| v as u64),
            DataType::Int16 => self.primitive_codes::<Int16Type>(array, out, |v| v as u64),
            DataType::Int32 => self.primitive_codes::<Int32Type>(array, out, |v| v as u64),
            DataType::Int64 => self.primitive_codes::<Int64Type>(array, out, |v| v as u64),
            DataType::Date32 => self.primitive_codes::<Date32Type>(array, out, |v| v as u64),
            DataType::Float32 => {
                self.primitive_codes::<Float32Type>(array, out, |v| u64::from(v.to_bits()));
            }
            DataType::Float64 => {
                self.primitive_codes::<Float64Type>(array, out, f64::to_bits);
            }
            // `is_supported` lets nothing else in.
            _ => {
                self.primitive_codes::<TimestampMicrosecondType>(array, out, |v| v as u64);
            }
        }
    }

    fn text_codes(&mut self, array: &ArrayRef, out: &mut Vec<u32>) {
        let Entries::Texts(texts) = &mut self.entries else { return };
        let array = array.as_string::<i32>();
        if array.null_count() == 0 {
            let bytes = array.value_data();
            out.extend(
                array
                    .value_offsets()
                    .windows(2)
                    .map(|ends| texts.code(&bytes[ends[0] as usize..ends[1] as usize])),
            );
            return;
        }
        out.extend(array.iter().map(|text| match text {
            Some(text) => texts.code(text.as_bytes()),
            None => *self.null.get_or_insert_with(|| texts.add_unreachable()),
        }));
    }

    fn primitive_codes<T: ArrowPrimitiveType>(
        &mut self,
        array: &ArrayRef,
        out: &mut Vec<u32>,
        bits: impl Fn(T::Native) -> u64,
    ) {
        let values: &PrimitiveArray<T> = array.as_primitive();
        let slice = values.values();
        self.number_codes(array, out, |row| bits(slice[row]));
    }

    fn number_codes(&mut self, array: &ArrayRef, out: &mut Vec<u32>, value: impl Fn(usize) -> u64) {
        let Entries::Numbers(numbers) = &mut self.entries else { return };
        let null = &mut self.null;
        out.extend((0..array.len()).map(|row| {
            if array.is_null(row) {
                // An entry that no value finds.
                return *null.get_or_insert_with(|| {
                    numbers.values.push(0);
                    numbers.values.len() as u32 - 1
                });
            }
            numbers.code(value(row))
        }));
    }

    /// The keys with these numbers.
    fn decode(&self, codes: &[u32]) -> ArrayRef {
        match (&self.entries, &self.data_type) {
            (Entries::Texts(texts), _) => {
                let mut builder = StringBuilder::with_capacity(codes.len(), codes.len() * 16);
                for code in codes {
                    if Some(*code) == self.null {
                        builder.append_null();
                        continue;
                    }
                    let range = Texts::get(&texts.ends, &texts.bytes, *code as usize);
                    // They came out of a string array, whole.
                    builder.append_value(String::from_utf8_lossy(&texts.bytes[range]));
                }
                Arc::new(builder.finish())
            }
            (Entries::Numbers(numbers), DataType::Boolean) => {
                let mut builder = BooleanBuilder::with_capacity(codes.len());
                for code in codes {
                    let value = numbers.values[*code as usize] != 0;
                    builder.append_option((Some(*code) != self.null).then_some(value));
                }
                Arc::new(builder.finish())
            }
            (Entries::Numbers(numbers), DataType::Int8) => {
                self.primitives::<Int8Type>(numbers, codes, |bits| bits as i8)
            }
            (Entries::Numbers(numbers), DataType::Int16) => {
                self.primitives::<Int16Type>(numbers, codes, |bits| bits as i16)
            }
            (Entries::Numbers(numbers), DataType::Int32) => {
                self.primitives::<Int32Type>(numbers, codes, |bits| bits as i32)
            }
            (Entries::Numbers(numbers), DataType::Int64) => {
                self.primitives::<Int64Type>(numbers, codes, |bits| bits as i64)
            }
            (Entries::Numbers(numbers), DataType::Date32) => {
                self.primitives::<Date32Type>(numbers, codes, |bits| bits as i32)
            }
            (Entries::Numbers(numbers), DataType::Float32) => {
                self.primitives::<Float32Type>(numbers, codes, |bits| f32::from_bits(bits as u32))
            }
            (Entries::Numbers(numbers), DataType::Float64) => {
                self.primitives::<Float64Type>(numbers, codes, f64::from_bits)
            }
            (Entries::Numbers(numbers), _) => {
                self.primitives::<TimestampMicrosecondType>(numbers, codes, |bits| bits as i64)
            }
        }
    }

    fn primitives<T: ArrowPrimitiveType>(
        &self,
        numbers: &Numbers,
        codes: &[u32],
        value: impl Fn(u64) -> T::Native,
    ) -> ArrayRef {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(codes.len())
            .with_data_type(self.data_type.clone());
        for code in codes {
            let bits = numbers.values[*code as usize];
            builder.append_option((Some(*code) != self.null).then(|| value(bits)));
        }
        Arc::new(builder.finish())
    }
}

/// The dictionary of all key columns together.
pub(super) struct KeyDictionary {
    columns: Vec<Column>,
    /// Pairs of (number of what is to the left, number of the column), for each column but the
    /// first.
    pairs: Vec<Numbers>,
    scratch: Vec<u32>,
}

impl KeyDictionary {
    /// `None` if a key is of a type without a dictionary.
    pub(super) fn new(types: &[DataType]) -> Option<Self> {
        types.iter().all(is_supported).then(|| Self {
            columns: types.iter().map(Column::new).collect(),
            pairs: types.iter().skip(1).map(|_| Numbers::default()).collect(),
            scratch: vec![],
        })
    }

    /// All numbers are below this.
    pub(super) fn len(&self) -> usize {
        match (self.pairs.last(), self.columns.first()) {
            (Some(pairs), _) => pairs.values.len(),
            (None, Some(column)) => column.len(),
            // Without keys every row has number 0.
            (None, None) => 1,
        }
    }

    /// Empties the dictionaries if they have become too large. Numbers given out before are void.
    pub(super) fn trim(&mut self) {
        let full = self.columns.iter().any(Column::is_full)
            || self.pairs.iter().any(|pairs| pairs.values.len() > MAX_ENTRIES);
        if full {
            self.columns.iter_mut().for_each(Column::clear);
            self.pairs.iter_mut().for_each(Numbers::clear);
        }
    }

    /// Each row's number.
    pub(super) fn codes(&mut self, keys: &[ArrayRef], rows: usize, out: &mut Vec<u32>) {
        out.clear();
        let Some((first, rest)) = self.columns.split_first_mut() else {
            out.resize(rows, 0);
            return;
        };
        first.codes(&keys[0], out);
        for ((column, pairs), key) in rest.iter_mut().zip(&mut self.pairs).zip(&keys[1..]) {
            self.scratch.clear();
            column.codes(key, &mut self.scratch);
            for (left, right) in out.iter_mut().zip(&self.scratch) {
                *left = pairs.code(u64::from(*left) << 32 | u64::from(*right));
            }
        }
    }

    /// The keys with these numbers, one array for each column.
    pub(super) fn decode(&self, codes: &[u32]) -> Vec<ArrayRef> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut codes = codes.to_vec();
        for (column, pairs) in
            self.columns[1.min(self.columns.len())..].iter().zip(&self.pairs).rev()
        {
            let own: Vec<u32> =
                codes.iter().map(|code| pairs.values[*code as usize] as u32).collect();
            arrays.push(column.decode(&own));
            for code in &mut codes {
                *code = (pairs.values[*code as usize] >> 32) as u32;
            }
        }
        if let Some(first) = self.columns.first() {
            arrays.push(first.decode(&codes));
        }
        arrays.reverse();
        arrays
    }
}
