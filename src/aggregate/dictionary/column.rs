//! The dictionary of one key column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBuilder, PrimitiveArray, PrimitiveBuilder,
    StringArray, StringBuilder,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, internal_err};

use super::slots::{Numbers, Texts};
use crate::sql::timestamp_type;

enum Entries {
    Texts(Texts),
    Numbers(Numbers),
    /// Any other type: its bytes in Arrow's row format, which knows NULL.
    Rows(Texts, RowConverter),
}

/// Values of one type to numbers and back.
pub(super) struct Column {
    data_type: DataType,
    entries: Entries,
    null: Option<u32>,
}

fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
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
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let entries = match data_type {
            DataType::Utf8 => Entries::Texts(Texts::default()),
            number if is_number(number) => Entries::Numbers(Numbers::default()),
            other => {
                let converter = RowConverter::new(vec![SortField::new(other.clone())])?;
                Entries::Rows(Texts::default(), converter)
            }
        };
        Ok(Self { data_type: data_type.clone(), entries, null: None })
    }

    pub(super) fn len(&self) -> usize {
        match &self.entries {
            Entries::Texts(texts) | Entries::Rows(texts, _) => texts.len(),
            Entries::Numbers(numbers) => numbers.len(),
        }
    }

    /// Bytes of text in it.
    pub(super) fn text_len(&self) -> usize {
        match &self.entries {
            Entries::Texts(texts) | Entries::Rows(texts, _) => texts.text_len(),
            Entries::Numbers(_) => 0,
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        match &self.entries {
            Entries::Texts(texts) => texts.size(),
            Entries::Rows(texts, converter) => texts.size() + converter.size(),
            Entries::Numbers(numbers) => numbers.size(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.null = None;
        match &mut self.entries {
            Entries::Texts(texts) | Entries::Rows(texts, _) => texts.clear(),
            Entries::Numbers(numbers) => numbers.clear(),
        }
    }

    /// Appends each row's number.
    pub(super) fn codes(&mut self, array: &ArrayRef, out: &mut Vec<u32>) -> Result<()> {
        if let Entries::Rows(texts, converter) = &mut self.entries {
            let rows = converter.convert_columns(std::slice::from_ref(array))?;
            out.extend(rows.iter().map(|row| texts.code(row.data())));
            return Ok(());
        }
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
            // `is_number` lets nothing else in.
            _ => {
                self.primitive_codes::<TimestampMicrosecondType>(array, out, |v| v as u64);
            }
        }
        Ok(())
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
        if array.null_count() == 0 {
            out.extend((0..array.len()).map(|row| numbers.code(value(row))));
            return;
        }
        let null = &mut self.null;
        out.extend((0..array.len()).map(|row| {
            if array.is_null(row) {
                return *null.get_or_insert_with(|| numbers.add_unreachable());
            }
            numbers.code(value(row))
        }));
    }

    /// The keys with these numbers.
    pub(super) fn decode(&self, codes: &[u32]) -> Result<ArrayRef> {
        let numbers = match &self.entries {
            Entries::Texts(texts) => return Ok(self.strings(texts, codes)),
            Entries::Rows(texts, converter) => {
                let parser = converter.parser();
                let rows = codes.iter().map(|code| parser.parse(texts.get(*code)));
                let Some(array) = converter.convert_rows(rows)?.pop() else {
                    return internal_err!("a row without columns");
                };
                if *array.data_type() != self.data_type {
                    return Ok(cast(&array, &self.data_type)?);
                }
                return Ok(array);
            }
            Entries::Numbers(numbers) => numbers,
        };
        Ok(match &self.data_type {
            DataType::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(codes.len());
                for code in codes {
                    let value = numbers.get(*code) != 0;
                    builder.append_option((Some(*code) != self.null).then_some(value));
                }
                Arc::new(builder.finish())
            }
            DataType::Int8 => self.primitives::<Int8Type>(numbers, codes, |bits| bits as i8),
            DataType::Int16 => self.primitives::<Int16Type>(numbers, codes, |bits| bits as i16),
            DataType::Int32 => self.primitives::<Int32Type>(numbers, codes, |bits| bits as i32),
            DataType::Int64 => self.primitives::<Int64Type>(numbers, codes, |bits| bits as i64),
            DataType::Date32 => self.primitives::<Date32Type>(numbers, codes, |bits| bits as i32),
            DataType::Float32 => {
                self.primitives::<Float32Type>(numbers, codes, |bits| f32::from_bits(bits as u32))
            }
            DataType::Float64 => self.primitives::<Float64Type>(numbers, codes, f64::from_bits),
            _ => self.primitives::<TimestampMicrosecondType>(numbers, codes, |bits| bits as i64),
        })
    }

    fn strings(&self, texts: &Texts, codes: &[u32]) -> ArrayRef {
        let mut offsets: Vec<i32> = Vec::with_capacity(codes.len() + 1);
        let mut bytes: Vec<u8> = Vec::with_capacity(codes.len() * 16);
        offsets.push(0);
        for code in codes {
            bytes.extend_from_slice(texts.get(*code));
            // Wraps beyond 2 GiB of keys in one batch; the check below sees it.
            offsets.push(bytes.len() as i32);
        }
        let nulls = self
            .null
            .map(|null| NullBuffer::from_iter(codes.iter().map(|code| *code != null)))
            .filter(|nulls| nulls.null_count() > 0);
        if i32::try_from(bytes.len()).is_ok() {
            let offsets = OffsetBuffer::new(offsets.into());
            let bytes = Buffer::from_vec(bytes);
            if let Ok(array) = StringArray::try_new(offsets, bytes, nulls) {
                return Arc::new(array);
            }
        }
        // They came out of string arrays, whole, so this is for texts that are too long together.
        let mut builder = StringBuilder::new();
        for code in codes {
            match Some(*code) == self.null {
                true => builder.append_null(),
                false => builder.append_value(String::from_utf8_lossy(texts.get(*code))),
            }
        }
        Arc::new(builder.finish())
    }

    fn primitives<T: ArrowPrimitiveType>(
        &self,
        numbers: &Numbers,
        codes: &[u32],
        value: impl Fn(u64) -> T::Native,
    ) -> ArrayRef {
        let Some(null) = self.null else {
            let values = codes.iter().map(|code| value(numbers.get(*code)));
            let array = PrimitiveArray::<T>::from_iter_values(values);
            return Arc::new(array.with_data_type(self.data_type.clone()));
        };
        let mut builder = PrimitiveBuilder::<T>::with_capacity(codes.len())
            .with_data_type(self.data_type.clone());
        for code in codes {
            builder.append_option((*code != null).then(|| value(numbers.get(*code))));
        }
        Arc::new(builder.finish())
    }
}
