//! From a batch of rows to what goes into which partition's file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, partition, take, take_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};

use super::value::{directory, partition_value};
use crate::lake::{LakeError, LakeTable, storage_type, widens};

/// Up to this many runs of one partition each, a batch is cut into slices, which copies nothing;
/// beyond, each partition's rows are gathered, which spares the encoder many small writes.
const RUNS_SLICED: usize = 16;

/// Partitions remembered by their row key; enough for any sensible day of data.
const PARTITIONS_KEPT: usize = 4096;

/// One partition of the table. Equal if the values are.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    /// The partition columns' values, in the table's order of partition columns.
    pub values: Vec<Option<String>>,
    /// The directory below the table, without a slash at either end.
    pub directory: String,
}

/// How rows are brought into the table's shape and divided by partition.
pub(super) struct Layout {
    table: String,
    /// The columns that go into files, in the table's order.
    pub file_schema: SchemaRef,
    partition_fields: Vec<FieldRef>,
    converter: Option<RowConverter>,
    pad_missing: bool,
    /// The schema of the last batch and where its columns go; batches of one query share it.
    mapping: Option<(SchemaRef, Mapping)>,
    /// Partitions by the row-format key of their values.
    known: HashMap<Box<[u8]>, Arc<Partition>>,
}

#[derive(Clone)]
struct Mapping {
    data: Vec<Source>,
    partitions: Vec<Source>,
}

#[derive(Clone, Copy)]
enum Source {
    /// The column at this index, as it is.
    As(usize),
    /// The column at this index, cast to the table's type.
    Cast(usize),
    /// A column that the rows lack: NULL throughout.
    Null,
}

impl Layout {
    pub fn new(table: &LakeTable) -> Result<Self, LakeError> {
        let schema = table.schema();
        let partition_fields = table
            .partition_columns()
            .iter()
            .map(|name| schema.field_with_name(name).cloned().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| LakeError::log(table.uri(), e))?;
        let data = schema.fields().iter().filter(|field| !is_one_of(field, &partition_fields));
        let file_schema = Arc::new(Schema::new(data.cloned().collect::<Vec<_>>()));
        let converter = if partition_fields.is_empty() {
            None
        } else {
            let fields =
                partition_fields.iter().map(|f| SortField::new(f.data_type().clone())).collect();
            Some(RowConverter::new(fields).map_err(|e| LakeError::log(table.uri(), e))?)
        };
        Ok(Self {
            table: table.uri().to_owned(),
            file_schema,
            partition_fields,
            converter,
            pad_missing: table.pad_missing,
            mapping: None,
            known: HashMap::new(),
        })
    }

    /// The partition columns' names, outermost first.
    pub fn partition_names(&self) -> impl Iterator<Item = &str> {
        self.partition_fields.iter().map(|field| field.name().as_str())
    }

    /// Divides `batch` by partition; each part has the columns of `file_schema`. A partition can
    /// have several parts; the order of its rows is kept.
    ///
    /// Everything that can be wrong with a batch is found here, before any row of it is taken.
    pub fn split(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<(Arc<Partition>, RecordBatch)>, LakeError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let mapping = self.mapping(batch.schema_ref())?;
        let data = self.columns(batch, &mapping.data, self.file_schema.fields())?;
        let data =
            RecordBatch::try_new(self.file_schema.clone(), data).map_err(|e| self.data(e))?;
        let keys = self.columns(batch, &mapping.partitions, &self.partition_fields)?;
        if keys.is_empty() {
            return Ok(vec![(self.remember(&[], &[], 0)?, data)]);
        }
        let runs = partition(&keys).map_err(|e| self.data(e))?.ranges();
        let partitions = self.partitions_of(&keys, runs.iter().map(|run| run.start))?;
        if runs.len() <= RUNS_SLICED {
            let slices = runs.iter().map(|run| data.slice(run.start, run.len()));
            return Ok(partitions.into_iter().zip(slices).collect());
        }
        // In order of first appearance, so that the same input makes the same files.
        let mut places: HashMap<*const Partition, usize> = HashMap::new();
        let mut rows: Vec<(Arc<Partition>, Vec<u32>)> = Vec::new();
        for (run, of) in runs.iter().zip(partitions) {
            let place = *places.entry(Arc::as_ptr(&of)).or_insert_with(|| {
                rows.push((of, Vec::new()));
                rows.len() - 1
            });
            // A batch has fewer rows than u32 can count: Arrow's string offsets are i32.
            rows[place].1.extend(run.clone().map(|row| row as u32));
        }
        rows.into_iter()
            .map(|(of, rows)| {
                let part = take_record_batch(&data, &UInt32Array::from(rows));
                part.map(|part| (of, part)).map_err(|e| self.data(e))
            })
            .collect()
    }

    /// The partition of each row in `starts`.
    fn partitions_of(
        &mut self,
        keys: &[ArrayRef],
        starts: impl Iterator<Item = usize>,
    ) -> Result<Vec<Arc<Partition>>, LakeError> {
        let starts: Vec<u32> = starts.map(|row| row as u32).collect();
        let firsts = UInt32Array::from(starts);
        let values: Vec<ArrayRef> = keys
            .iter()
            .map(|key| take(key.as_ref(), &firsts, None))
            .collect::<Result<_, _>>()
            .map_err(|e| self.data(e))?;
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let rows = converter.convert_columns(&values).map_err(|e| self.data(e))?;
        (0..rows.num_rows())
            .map(|row| match self.known.get(rows.row(row).as_ref()) {
                Some(partition) => Ok(partition.clone()),
                None => self.remember(rows.row(row).as_ref(), &values, row),
            })
            .collect()
    }

    fn remember(
        &mut self,
        key: &[u8],
        values: &[ArrayRef],
        row: usize,
    ) -> Result<Arc<Partition>, LakeError> {
        if let Some(partition) = self.known.get(key) {
            return Ok(partition.clone());
        }
        let mut texts = Vec::with_capacity(values.len());
        for (field, column) in self.partition_fields.iter().zip(values) {
            let text = partition_value(column.as_ref(), row).map_err(|reason| {
                self.data(format!("partition column `{}`: {reason}", field.name()))
            })?;
            if text.is_none() && !field.is_nullable() {
                return Err(self.data(format!(
                    "partition column `{}` is NOT NULL and a row has the empty string there, which \
                     Delta cannot tell from NULL; give it another value in the query",
                    field.name()
                )));
            }
            texts.push(text);
        }
        let directory = directory(self.partition_names().zip(texts.iter().map(Option::as_deref)));
        let partition = Arc::new(Partition { values: texts, directory });
        if self.known.len() >= PARTITIONS_KEPT {
            self.known.clear();
        }
        self.known.insert(key.into(), partition.clone());
        Ok(partition)
    }

    /// The columns of `batch` for `fields`, of exactly the table's types.
    fn columns(
        &self,
        batch: &RecordBatch,
        sources: &[Source],
        fields: &[FieldRef],
    ) -> Result<Vec<ArrayRef>, LakeError> {
        // Values that do not fit are errors, not NULL.
        let strict = CastOptions { safe: false, ..Default::default() };
        sources
            .iter()
            .zip(fields)
            .map(|(source, field)| {
                let column = match *source {
                    Source::As(index) => batch.column(index).clone(),
                    Source::Cast(index) => {
                        cast_with_options(batch.column(index), field.data_type(), &strict)
                            .map_err(|e| self.data(format!("column `{}`: {e}", field.name())))?
                    }
                    Source::Null => new_null_array(field.data_type(), batch.num_rows()),
                };
                let nulls = column.null_count();
                if nulls > 0 && !field.is_nullable() {
                    return Err(self.data(format!(
                        "column `{}` is NOT NULL and {nulls} of {} rows have NULL there",
                        field.name(),
                        batch.num_rows()
                    )));
                }
                Ok(column)
            })
            .collect()
    }

    fn mapping(&mut self, schema: &SchemaRef) -> Result<Mapping, LakeError> {
        if let Some((known, mapping)) = &self.mapping
            && (Arc::ptr_eq(known, schema) || known == schema)
        {
            return Ok(mapping.clone());
        }
        for field in schema.fields() {
            if !is_one_of(field, self.file_schema.fields())
                && !is_one_of(field, &self.partition_fields)
            {
                return Err(self.data(format!("the table has no column `{}`", field.name())));
            }
        }
        let sources = |fields: &[FieldRef]| fields.iter().map(|f| self.source(schema, f)).collect();
        let mapping = Mapping {
            data: Result::from_iter::<Vec<Result<Source, LakeError>>>(sources(
                self.file_schema.fields(),
            ))?,
            partitions: Result::from_iter::<Vec<Result<Source, LakeError>>>(sources(
                &self.partition_fields,
            ))?,
        };
        self.mapping = Some((schema.clone(), mapping.clone()));
        Ok(mapping)
    }

    fn source(&self, schema: &Schema, field: &FieldRef) -> Result<Source, LakeError> {
        let Ok(index) = schema.index_of(field.name()) else {
            return if self.pad_missing && field.is_nullable() {
                Ok(Source::Null)
            } else {
                Err(self.data(format!("the table's column `{}` is missing", field.name())))
            };
        };
        let given = schema.field(index).data_type();
        if given == field.data_type() {
            return Ok(Source::As(index));
        }
        // Only another way of holding the same values may be cast here: what changes them is
        // for the query to say. Names and nullability inside are the cast's to check.
        let stored = storage_type(given);
        if stored.as_ref().is_ok_and(|stored| {
            same_values(stored, field.data_type()) || widens(stored, field.data_type())
        }) {
            return Ok(Source::Cast(index));
        }
        Err(self.data(format!(
            "column `{}` is {given} where the table has {}",
            field.name(),
            field.data_type()
        )))
    }

    fn data(&self, reason: impl ToString) -> LakeError {
        LakeError::Data { table: self.table.clone(), reason: reason.to_string() }
    }
}

/// Whether the types hold the same values, whatever lists' elements and maps' entries are called
/// and what may be NULL inside.
fn same_values(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_values(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && same_values(a.data_type(), b.data_type()))
        }
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                a.iter().zip(b).all(|(a, b)| same_values(a.data_type(), b.data_type()))
            }
            _ => false,
        },
        (a, b) => a == b,
    }
}

fn is_one_of(field: &FieldRef, fields: &[FieldRef]) -> bool {
    fields.iter().any(|other| other.name() == field.name())
}
