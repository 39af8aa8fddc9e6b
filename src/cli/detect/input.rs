//! What is looked at: a CSV file, a Parquet file, a Delta table, or what a query gives.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::catalog::Catalog;
use crate::lakesql::{Limits, Session};

/// Where values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Text in columns; `None`: standard input.
    Csv(Option<PathBuf>),
    Parquet(PathBuf),
    /// A Delta table, by its name or address.
    Table(String),
    /// The rows of a query.
    Sql(String),
}

impl Input {
    /// What an argument names, by what is there and by its ending.
    pub fn of(argument: &str) -> Self {
        let path = Path::new(argument);
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            _ if argument == "-" => Input::Csv(None),
            _ if path.is_dir() => Input::Table(argument.to_owned()),
            Some("parquet") => Input::Parquet(path.to_owned()),
            Some("csv" | "tsv" | "txt") => Input::Csv(Some(path.to_owned())),
            _ if path.is_file() => Input::Csv(Some(path.to_owned())),
            _ => Input::Table(argument.to_owned()),
        }
    }

    /// In few words.
    pub fn describe(&self) -> String {
        match self {
            Input::Csv(None) => "standard input".to_owned(),
            Input::Csv(Some(path)) | Input::Parquet(path) => path.display().to_string(),
            Input::Table(name) => format!("table {name}"),
            Input::Sql(_) => "the query".to_owned(),
        }
    }
}

/// How text is cut into columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CsvForm {
    /// Guessed from the first line if not given.
    pub delimiter: Option<u8>,
    /// The first line is a row like the others; columns are then called `_c0`, `_c1` ...
    pub no_header: bool,
}

/// All its rows.
pub fn read(input: &Input, form: CsvForm, catalog: Catalog) -> anyhow::Result<Vec<RecordBatch>> {
    match input {
        Input::Csv(None) => csv(io::stdin().lock(), form).context("standard input"),
        Input::Csv(Some(path)) => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            csv(file, form).with_context(|| path.display().to_string())
        }
        Input::Parquet(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let read = || -> anyhow::Result<Vec<RecordBatch>> {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
                let schema = reader.schema().clone();
                let mut batches = reader.build()?.collect::<Result<Vec<_>, _>>()?;
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(schema));
                }
                Ok(batches)
            };
            read().with_context(|| format!("{} cannot be read as Parquet", path.display()))
        }
        Input::Table(name) => {
            let entry = catalog.resolve(name)?;
            let sql = match entry.kind {
                crate::catalog::TableKind::Path => {
                    format!("SELECT * FROM delta.`{}`", entry.location.uri())
                }
                _ => format!("SELECT * FROM {}", entry.name),
            };
            query(&sql, catalog).with_context(|| format!("table {name}"))
        }
        Input::Sql(sql) => query(sql, catalog),
    }
}

fn query(sql: &str, catalog: Catalog) -> anyhow::Result<Vec<RecordBatch>> {
    let session = Session::new(catalog)?;
    let limits = Limits { read_only: true, ..Limits::default() };
    let answer = session.block_on(session.execute(sql, &limits))?;
    for notice in &answer.notices {
        eprintln!("note: {notice}");
    }
    let mut batches = answer.batches;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(answer.schema));
    }
    Ok(batches)
}

fn csv(input: impl Read, form: CsvForm) -> anyhow::Result<Vec<RecordBatch>> {
    let mut input = BufReader::new(input);
    let delimiter = match form.delimiter {
        Some(delimiter) => delimiter,
        None => guessed(io::BufRead::fill_buf(&mut input)?),
    };
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(!form.no_header)
        .flexible(true)
        .from_reader(input);
    let mut names: Vec<String> = Vec::new();
    if !form.no_header {
        // A mark of the byte order is no part of the first name.
        let header = reader.headers()?.iter().enumerate();
        names = header
            .map(|(i, name)| {
                name.trim_start_matches(if i == 0 { "\u{feff}" } else { "" }).trim().to_owned()
            })
            .collect();
    }
    let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    let mut rows = 0;
    let mut record = ::csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        while form.no_header && columns.len() < record.len() {
            names.push(format!("_c{}", columns.len()));
            let mut column = StringBuilder::new();
            (0..rows).for_each(|_| column.append_null());
            columns.push(column);
        }
        for (i, column) in columns.iter_mut().enumerate() {
            match record.get(i) {
                Some(text) if !text.is_empty() => column.append_value(text),
                _ => column.append_null(),
            }
        }
        rows += 1;
    }
    if columns.is_empty() {
        anyhow::bail!("there is nothing in it");
    }
    let fields: Vec<Field> =
        names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let arrays = columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
    Ok(vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?])
}

/// What stands most often in the first line.
fn guessed(start: &[u8]) -> u8 {
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    // The last of equals is taken: the comma.
    [b'|', b';', b'\t', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}
