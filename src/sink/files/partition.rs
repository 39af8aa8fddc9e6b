//! Rows by the directory they belong into, as Hive and Spark lay them out.

use std::collections::HashMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};

use crate::sink::console::Renderer;
use crate::sink::error::SinkError;

/// The directory of NULL, and of the empty string.
const NULL_DIRECTORY: &str = "__HIVE_DEFAULT_PARTITION__";

/// What most file systems take as the name of a directory.
const LONGEST_NAME: usize = 255;

/// Divides batches by the values of some columns.
pub(super) struct Partitioner {
    columns: Vec<usize>,
    names: Vec<String>,
    rest: Vec<usize>,
    converter: Option<RowConverter>,
    target: String,
}

impl Partitioner {
    pub fn new(schema: &SchemaRef, columns: Vec<usize>, target: &str) -> Result<Self, SinkError> {
        let converter = if columns.is_empty() {
            None
        } else {
            let kinds = columns.iter().map(|c| schema.field(*c).data_type().clone());
            let fields = kinds.map(SortField::new).collect();
            Some(RowConverter::new(fields).map_err(SinkError::internal)?)
        };
        let names = columns.iter().map(|c| escape(schema.field(*c).name())).collect();
        let rest = (0..schema.fields().len()).filter(|c| !columns.contains(c)).collect();
        Ok(Self { columns, names, rest, converter, target: target.to_owned() })
    }

    /// Whether a column of this type can name directories.
    pub fn can(kind: &DataType) -> bool {
        !matches!(
            kind,
            DataType::Binary | DataType::List(_) | DataType::Struct(_) | DataType::Map(_, _)
        )
    }

    /// The indexes of the columns that go into files.
    pub fn rest(&self) -> &[usize] {
        &self.rest
    }

    /// Each directory with its rows, in the order in which the directories first appear. The rows
    /// lack the columns that name the directory.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>, SinkError> {
        let Some(converter) = &self.converter else {
            return Ok(vec![(String::new(), batch.clone())]);
        };
        let keys: Vec<_> = self.columns.iter().map(|c| batch.column(*c).clone()).collect();
        let rows = converter.convert_columns(&keys).map_err(SinkError::internal)?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut parts: Vec<Vec<u32>> = Vec::new();
        let keyed: Vec<_> = (0..rows.num_rows()).map(|row| rows.row(row)).collect();
        for (row, key) in keyed.iter().enumerate() {
            let place = *places.entry(key.as_ref()).or_insert_with(|| {
                parts.push(Vec::new());
                parts.len() - 1
            });
            // A batch has fewer rows than u32 can count: Arrow's string offsets are i32.
            parts[place].push(row as u32);
        }
        let renderers = keys
            .iter()
            .map(Renderer::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(SinkError::internal)?;
        let data = batch.project(&self.rest).map_err(SinkError::internal)?;
        // NULL and the empty string are two keys and one directory.
        let mut merged: Vec<(String, Vec<u32>)> = Vec::with_capacity(parts.len());
        for rows in parts {
            let directory = self.directory(&keys, &renderers, rows[0] as usize)?;
            match merged.iter_mut().find(|(known, _)| *known == directory) {
                Some((_, known)) => {
                    known.extend(rows);
                    known.sort_unstable();
                }
                None => merged.push((directory, rows)),
            }
        }
        merged
            .into_iter()
            .map(|(directory, rows)| {
                let part = take_record_batch(&data, &UInt32Array::from(rows));
                part.map(|part| (directory, part)).map_err(SinkError::internal)
            })
            .collect()
    }

    fn directory(
        &self,
        keys: &[arrow::array::ArrayRef],
        renderers: &[Renderer],
        row: usize,
    ) -> Result<String, SinkError> {
        let mut path = String::new();
        for ((name, key), renderer) in self.names.iter().zip(keys).zip(renderers) {
            let mut value = String::new();
            if !key.is_null(row) {
                renderer.write(row, &mut value);
            }
            let value = if value.is_empty() { NULL_DIRECTORY.to_owned() } else { escape(&value) };
            let level = format!("{name}={value}");
            if level.len() > LONGEST_NAME {
                return Err(SinkError::data(
                    &self.target,
                    format!("the value of {name} is too long for the name of a directory: {value}"),
                ));
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&level);
        }
        Ok(path)
    }
}

/// Escapes what Hive and Spark escape in the names of partitions' directories.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0'..=' ' if character != ' ' => push(&mut escaped, character),
            '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '{' | '[' | ']' | '^'
            | '\u{7f}' => push(&mut escaped, character),
            other => escaped.push(other),
        }
    }
    escaped
}

fn push(escaped: &mut String, character: char) {
    escaped.push_str(&format!("%{:02X}", u32::from(character)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn directories_are_hive_s() {
        let times = TimestampMicrosecondArray::from(vec![1_698_408_000_000_000; 4]);
        let words = StringArray::from(vec![Some("a/b"), None, Some(""), Some("a/b")]);
        let batch = RecordBatch::try_from_iter_with_nullable(vec![
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef, true),
            ("w", Arc::new(words), true),
            ("t", Arc::new(times.with_timezone("UTC")), true),
        ])
        .unwrap();
        let partitioner = Partitioner::new(batch.schema_ref(), vec![2, 1], "x").unwrap();
        let parts = partitioner.split(&batch).unwrap();
        let found: Vec<(&str, Vec<i64>)> = parts
            .iter()
            .map(|(dir, rows)| {
                assert_eq!(rows.num_columns(), 1);
                (dir.as_str(), rows.column(0).as_primitive::<Int64Type>().values().to_vec())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("t=2023-10-27 12%3A00%3A00/w=a%2Fb", vec![1, 4]),
                ("t=2023-10-27 12%3A00%3A00/w=__HIVE_DEFAULT_PARTITION__", vec![2, 3]),
            ]
        );
    }

    #[test]
    fn a_value_too_long_for_a_name_is_refused() {
        let words = StringArray::from(vec!["x".repeat(300)]);
        assert!(words.is_valid(0));
        let batch = RecordBatch::try_from_iter(vec![("w", Arc::new(words) as ArrayRef)]).unwrap();
        let partitioner = Partitioner::new(batch.schema_ref(), vec![0], "x").unwrap();
        assert!(partitioner.split(&batch).unwrap_err().to_string().contains("too long"));
    }
}
