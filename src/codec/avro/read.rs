//! Running a plan: one datum into columns.

use super::input::Input;
use super::plan::{Misfit, Op, Record, Step};
use super::schema::AvroSchema;
use crate::codec::columns::{Column, MapColumn, Values};
use crate::codec::decimal::{big_endian, rescale};
use crate::codec::json::time::{
    DAYS, FIRST, LAST, OUT_OF_YEARS, parse_any_timestamp, parse_whole_date,
};
use crate::codec::{Reason, RecordError};

impl Record {
    /// Reads the fields of a record, which begin here, into columns that all have the same rows.
    #[inline]
    pub fn read(
        &self,
        schema: &AvroSchema,
        input: &mut Input<'_>,
        columns: &mut [Column],
    ) -> Result<(), RecordError> {
        for step in &self.steps {
            match step {
                Step::Read(index, op) => op.read(schema, input, &mut columns[*index])?,
                Step::Skip(node) => input.skip(schema, node)?,
            }
        }
        for (index, default) in &self.missing {
            let column = &mut columns[*index];
            match default {
                Some(default) => {
                    input.adds(default.volume())?;
                    default.push(column);
                }
                None if column.append_null() => {}
                None => {
                    return Err(RecordError::new(Reason::MissingField, input.at).at(&column.path));
                }
            }
        }
        Ok(())
    }
}

impl Op {
    /// Reads one value into its column.
    #[inline]
    pub fn read(
        &self,
        schema: &AvroSchema,
        input: &mut Input<'_>,
        column: &mut Column,
    ) -> Result<(), RecordError> {
        let start = input.at;
        match self.push(schema, input, column) {
            Ok(()) => Ok(()),
            Err(Fault::Record(error)) => Err(error.at(&column.path)),
            Err(Fault::Value(reason)) => Err(RecordError::new(reason, start).at(&column.path)),
            Err(Fault::Misfit(misfit)) => {
                let error = RecordError::new(Reason::IncompatibleSchema, start);
                Err(error.at(&misfit.path).with_detail(misfit.problem.as_str()))
            }
        }
    }

    #[inline]
    fn push<'m>(
        &'m self,
        schema: &AvroSchema,
        input: &mut Input<'_>,
        column: &mut Column,
    ) -> Result<(), Fault<'m>> {
        match self {
            Op::Null => {
                if !column.append_null() {
                    return Err(Fault::Value(Reason::NullNotAllowed));
                }
            }
            Op::Boolean => {
                column.push_bool(input.boolean()?);
            }
            Op::Integer => {
                let value = input.long()?;
                if !column.push_integer(value) {
                    return Err(Fault::Value(Reason::OutOfRange(integer_name(column))));
                }
            }
            Op::IntegerToFloat => {
                column.push_f32(input.long()? as f32);
            }
            Op::IntegerToDouble => {
                column.push_f64(input.long()? as f64);
            }
            Op::IntegerToDecimal => {
                let value = i128::from(input.long()?);
                push_decimal(column, value, 0)?;
            }
            Op::Days => {
                let days = i32::try_from(input.long()?).ok().filter(|days| DAYS.contains(days));
                column.push_i32(days.ok_or(Fault::Value(Reason::InvalidTime(OUT_OF_YEARS)))?);
            }
            Op::Instant { multiply, divide } => {
                let value = input.long()?;
                let micros = value.checked_mul(*multiply).map(|value| value.div_euclid(*divide));
                match micros {
                    Some(micros @ FIRST..=LAST) => column.push_i64(micros),
                    _ => return Err(Fault::Value(Reason::InvalidTime(OUT_OF_YEARS))),
                };
            }
            Op::Float => {
                column.push_f32(input.float()?);
            }
            Op::FloatToDouble => {
                column.push_f64(input.float()?.into());
            }
            Op::Double => {
                column.push_f64(input.double()?);
            }
            Op::Bytes => {
                let bytes = input.bytes()?;
                input.adds(bytes.len())?;
                column.push_bytes(bytes);
            }
            Op::Text => {
                let bytes = input.bytes()?;
                if std::str::from_utf8(bytes).is_err() {
                    return Err(Fault::Value(Reason::InvalidUtf8));
                }
                input.adds(bytes.len())?;
                column.push_bytes(bytes);
            }
            Op::TextToTime => {
                let text = input.bytes()?;
                let parsed = match column.values {
                    Values::Date(_) => parse_whole_date(text).map(|days| column.push_i32(days)),
                    _ => parse_any_timestamp(text).map(|micros| column.push_i64(micros)),
                };
                parsed.map_err(|problem| Fault::Value(Reason::InvalidTime(problem)))?;
            }
            Op::Decimal { scale, size } => {
                let bytes = match size {
                    Some(size) => input.take(*size)?,
                    None => input.bytes()?,
                };
                let Some(value) = big_endian(bytes) else {
                    return Err(Fault::Value(Reason::OutOfRange("DECIMAL")));
                };
                push_decimal(column, value, *scale)?;
            }
            Op::Fixed(size) => {
                let bytes = input.take(*size)?;
                input.adds(bytes.len())?;
                column.push_bytes(bytes);
            }
            Op::Uuid => {
                let bytes = input.take(16)?;
                input.adds(36)?;
                let uuid = uuid::Uuid::from_slice(bytes).unwrap_or_default();
                column.push_bytes(uuid.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
            }
            Op::Enum(symbols) => {
                let symbol = symbols[input.index(symbols.len())?].as_bytes();
                input.adds(symbol.len())?;
                column.push_bytes(symbol);
            }
            Op::Record(record) => {
                if let Values::Struct(columns) = &mut column.values {
                    record.read(schema, input, columns)?;
                }
                column.end_container();
            }
            Op::Array(items) => {
                if let Values::List(_, element) = &mut column.values {
                    loop {
                        let (count, _) = input.block()?;
                        if count == 0 {
                            break;
                        }
                        for _ in 0..count {
                            input.item()?;
                            items.read(schema, input, element)?;
                        }
                    }
                }
                column.end_container();
            }
            Op::Map(values) => read_map(values, schema, input, column)?,
            Op::Union(ops) => match &ops[input.index(ops.len())?] {
                Ok(op) => return op.push(schema, input, column),
                Err(misfit) => return Err(Fault::Misfit(misfit)),
            },
            Op::Members(ops) => match &ops[input.index(ops.len())?] {
                Some((index, op)) => {
                    if let Values::Struct(members) = &mut column.values {
                        for (at, member) in members.iter_mut().enumerate() {
                            if at == *index {
                                op.read(schema, input, member)?;
                            } else if !member.append_null() {
                                return Err(Fault::Value(Reason::NullNotAllowed));
                            }
                        }
                    }
                    column.end_container();
                }
                None if column.append_null() => {}
                None => return Err(Fault::Value(Reason::NullNotAllowed)),
            },
        }
        Ok(())
    }
}

/// Why a value cannot be read. Kept small, and turned into a [`RecordError`] on the way out.
enum Fault<'m> {
    Record(RecordError),
    Value(Reason),
    Misfit(&'m Misfit),
}

impl From<RecordError> for Fault<'_> {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

fn read_map(
    values: &Op,
    schema: &AvroSchema,
    input: &mut Input<'_>,
    column: &mut Column,
) -> Result<(), RecordError> {
    if let Values::Map(map) = &mut column.values {
        let (start, first) = (input.at, map.values.len());
        read_entries(values, schema, input, map, &[])?;
        let superseded = map.superseded(first);
        if !superseded.is_empty() {
            // Rare: read the entries again without them.
            map.truncate_entries(first);
            input.at = start;
            read_entries(values, schema, input, map, &superseded)?;
        }
    }
    column.end_container();
    Ok(())
}

/// Appends the entries that stand here, except those at the positions in `without`.
fn read_entries(
    values: &Op,
    schema: &AvroSchema,
    input: &mut Input<'_>,
    map: &mut MapColumn,
    without: &[usize],
) -> Result<(), RecordError> {
    let mut entry = 0;
    loop {
        let (count, _) = input.block()?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            input.item()?;
            let (start, kept) = (input.at, map.values.len());
            let key = input.bytes()?;
            if std::str::from_utf8(key).is_err() {
                return Err(RecordError::new(Reason::InvalidUtf8, start));
            }
            input.adds(key.len())?;
            map.keys.push(key);
            values.read(schema, input, &mut map.values)?;
            if without.binary_search(&entry).is_ok() {
                map.truncate_entries(kept);
            }
            entry += 1;
        }
    }
}

/// Appends `value * 10^-scale` to a DECIMAL, rounded half up to the column's scale.
fn push_decimal<'m>(column: &mut Column, value: i128, scale: i32) -> Result<(), Fault<'m>> {
    let Values::Decimal(_, _, wanted) = &column.values else { return Ok(()) };
    let rescaled = rescale(value, scale, i32::from(*wanted));
    match rescaled {
        Some(value) if column.push_decimal(value) => Ok(()),
        _ => Err(Fault::Value(Reason::OutOfRange("DECIMAL"))),
    }
}

fn integer_name(column: &Column) -> &'static str {
    match column.values {
        Values::Int8(_) => "TINYINT",
        Values::Int16(_) => "SMALLINT",
        Values::Int32(_) => "INT",
        _ => "BIGINT",
    }
}
