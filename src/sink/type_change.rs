//! Rows whose columns have other types than the table has: what fits goes in, in the table's
//! types; what does not goes to the dead letters.
//!
//! A value fits if the table's type holds it as it is:
//!
//! | from | to | fits |
//! |---|---|---|
//! | a number | another kind of number | if nothing is lost: 3.0 is an INT, 3.5 and 3e9 are not |
//! | TIMESTAMP | DATE | at midnight UTC |
//! | DATE | TIMESTAMP | always |
//! | STRING | number, BOOLEAN, DATE, TIMESTAMP | if it can be read as one, as CAST does |
//! | number, BOOLEAN, DATE, TIMESTAMP | STRING | always |
//!
//! Other changes (anything to or from BINARY, lists, structs) can't be made row by row, and a table
//! that wants one is refused.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options, filter, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::error::SinkError;
use crate::lake::{storage_type, widens};
use crate::sql::RejectedRows;

/// The reason of dead letters whose value does not fit the table's type.
pub const REASON: &str = "type_change";

/// Brings rows into the types of a table that is there.
#[derive(Debug, Clone)]
pub struct TypeFit {
    sink: Arc<str>,
    reason: Arc<str>,
    /// The columns of the rows, with the table's types.
    schema: SchemaRef,
    /// Those that have another type there, by their place.
    changed: Vec<usize>,
}

/// What a batch came to.
#[derive(Debug)]
pub struct Fitted {
    /// Rows that fit, in the table's types; may be none.
    pub rows: RecordBatch,
    /// The others, in their own types.
    pub rejected: Option<RejectedRows>,
}

impl TypeFit {
    /// What has to be done to rows of `rows` so that they fit `table`; `None` if nothing has to be
    /// or what has to be cannot be done value by value.
    pub fn new(sink: &str, rows: &SchemaRef, table: &Schema) -> Option<Self> {
        let mut fields: Vec<Arc<Field>> = rows.fields().iter().cloned().collect();
        let mut changed = Vec::new();
        for (place, field) in rows.fields().iter().enumerate() {
            let Ok(there) = table.field_with_name(field.name()) else { continue };
            let Ok(stored) = storage_type(field.data_type()) else { continue };
            let wanted = there.data_type();
            if &stored != wanted && !widens(&stored, wanted) && is_possible(&stored, wanted) {
                fields[place] = Arc::new(Field::new(field.name(), wanted.clone(), true));
                changed.push(place);
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let (sink, reason) = (sink.into(), REASON.into());
        (!changed.is_empty()).then_some(Self { sink, reason, schema, changed })
    }

    /// The sink.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// The columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// What changes, in words.
    pub fn describe(&self, rows: &Schema) -> String {
        let change = |place: &usize| {
            let field = rows.field(*place);
            let to = self.schema.field(*place).data_type();
            format!("column `{}` from {} to {to}", field.name(), field.data_type())
        };
        self.changed.iter().map(change).collect::<Vec<_>>().join(", ")
    }

    /// Sorts the rows of a batch into those that fit and those that do not. `places`: where each
    /// stood in the batch it came of.
    ///
    /// # Errors
    /// [`SinkError::Data`] if a column cannot be cast at all.
    pub fn apply(
        &self,
        rows: &RecordBatch,
        places: Option<&UInt32Array>,
    ) -> Result<Fitted, SinkError> {
        let failed = |e: arrow::error::ArrowError| SinkError::data(&self.sink, e);
        let mut columns = rows.columns().to_vec();
        let mut fits = BooleanBuffer::new_set(rows.num_rows());
        let mut misfits: Vec<(usize, BooleanBuffer)> = Vec::new();
        for place in &self.changed {
            let to = self.schema.field(*place).data_type();
            let (cast, fit) = fitting(&columns[*place], to).map_err(failed)?;
            columns[*place] = cast;
            fits = &fits & &fit;
            misfits.push((*place, fit));
        }
        let all = RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)?;
        if fits.count_set_bits() == rows.num_rows() {
            return Ok(Fitted { rows: all, rejected: None });
        }
        let (keep, aside) = (BooleanArray::from(fits.clone()), BooleanArray::from(!&fits));
        let mut errors = Vec::new();
        for row in aside.values().set_indices() {
            let words = misfits.iter().filter(|(_, fit)| !fit.value(row)).map(|(place, _)| {
                let from = rows.schema_ref().field(*place);
                format!(
                    "column `{}` is {} in the rows and {} in the table of sink '{}', which cannot \
                     hold this value",
                    from.name(),
                    from.data_type(),
                    self.schema.field(*place).data_type(),
                    self.sink
                )
            });
            errors.push(words.collect::<Vec<_>>().join("; "));
        }
        let places = match places {
            Some(places) => {
                let places = filter(places, &aside).map_err(failed)?;
                places.as_any().downcast_ref::<UInt32Array>().cloned()
            }
            None => None,
        };
        let rejected = RejectedRows {
            rows: filter_record_batch(rows, &aside).map_err(failed)?,
            rules: vec![self.reason.clone(); errors.len()],
            errors,
            places,
        };
        let rows = filter_record_batch(&all, &keep).map_err(failed)?;
        Ok(Fitted { rows, rejected: Some(rejected) })
    }
}

/// Whether some values of one type are values of the other.
fn is_possible(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let number = |kind: &DataType| kind.is_numeric();
    let simple = |kind: &DataType| {
        number(kind) || matches!(kind, T::Boolean | T::Date32 | T::Timestamp(_, _))
    };
    match (from, to) {
        (T::Utf8, to) => simple(to),
        (from, T::Utf8) => simple(from),
        (T::Timestamp(_, _), T::Date32) | (T::Date32, T::Timestamp(_, _)) => true,
        (from, to) => number(from) && number(to),
    }
}

/// The column in another type, and which of its values are the same there. NULL is NULL.
fn fitting(
    column: &ArrayRef,
    to: &DataType,
) -> Result<(ArrayRef, BooleanBuffer), arrow::error::ArrowError> {
    let lenient = CastOptions { safe: true, ..Default::default() };
    let cast = cast_with_options(column, to, &lenient)?;
    let same = if matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8) {
        // Text has many ways of writing a value; that it can be read is enough.
        is_not_null(&cast)?.values() | &!is_not_null(column)?.values()
    } else {
        let back = cast_with_options(&cast, column.data_type(), &lenient)?;
        not_distinct(&back, column)?.values().clone()
    };
    Ok((cast, same))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..column.len() as i64));
        RecordBatch::try_from_iter([("id", ids), ("v", column)]).unwrap()
    }

    fn table(kind: DataType) -> Schema {
        Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("v", kind, true),
            Field::new("other", DataType::Utf8, true),
        ])
    }

    fn fit(column: ArrayRef, to: DataType) -> (ArrayRef, Vec<u32>) {
        let rows = batch(column);
        let fit = TypeFit::new("s", &rows.schema(), &table(to)).unwrap();
        let places = (0..rows.num_rows() as u32).collect();
        let fitted = fit.apply(&rows, Some(&places)).unwrap();
        let rejected = fitted.rejected.map(|rejected| {
            assert_eq!(rejected.errors.len(), rejected.rows.num_rows());
            assert!(rejected.errors[0].contains("column `v`"), "{}", rejected.errors[0]);
            assert_eq!(&*rejected.rules[0], REASON);
            rejected.places.unwrap().values().to_vec()
        });
        (fitted.rows.column(1).clone(), rejected.unwrap_or_default())
    }

    #[test]
    fn numbers_fit_if_nothing_is_lost() {
        let column = Arc::new(Float64Array::from(vec![
            Some(3.0),
            Some(3.5),
            None,
            Some(3e9),
            Some(f64::NAN),
        ]));
        let (rows, rejected) = fit(column, DataType::Int32);
        assert_eq!(rows.as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(3), None]));
        assert_eq!(rejected, [1, 3, 4]);
        let column = Arc::new(Int64Array::from(vec![1, i64::MAX]));
        let (rows, rejected) = fit(column, DataType::Int32);
        assert_eq!((rows.len(), rejected), (1, vec![1]));
    }

    #[test]
    fn text_fits_if_it_can_be_read_and_all_else_fits_text() {
        let column = Arc::new(StringArray::from(vec![Some("012"), Some("x"), None, Some("")]));
        let (rows, rejected) = fit(column, DataType::Int32);
        assert_eq!(rows.as_primitive::<Int32Type>(), &Int32Array::from(vec![Some(12), None]));
        assert_eq!(rejected, [1, 3]);
        let (rows, rejected) = fit(Arc::new(Int64Array::from(vec![7])), DataType::Utf8);
        assert_eq!((rows.as_string::<i32>().value(0), rejected), ("7", vec![]));
    }

    #[test]
    fn what_is_the_same_wider_or_impossible_is_not_its_matter() {
        let rows = batch(Arc::new(Int32Array::from(vec![1])));
        for kind in [DataType::Int32, DataType::Int64, DataType::Binary] {
            assert!(TypeFit::new("s", &rows.schema(), &table(kind)).is_none());
        }
    }
}
