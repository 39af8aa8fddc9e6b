//! Rows in the formats that people and programs read.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::codec::csv::Dialect;
use crate::codec::{CsvEncoding, Encoder, EncodingSpec, JsonEncoding};
use crate::sink::console::Renderer;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// An aligned table
    Table,
    /// Comma-separated, with a header; quotes are doubled, NULL is nothing
    Csv,
    /// One array of objects
    Json,
    /// An object a line
    Ndjson,
    /// A Parquet file
    Parquet,
    /// A table for Markdown
    Markdown,
}

impl Format {
    pub(super) fn is_binary(self) -> bool {
        self == Self::Parquet
    }
}

/// Tables are not folded to less than this.
const NARROWEST: u16 = 20;
/// Bytes are handed on in pieces of about this size.
const PIECE: usize = 64 << 10;

/// Why rows could not be written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The reader of a pipe has gone, which is its right.
    Closed,
    Failed(String),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error.to_string()),
        }
    }
}

fn failed(error: impl ToString) -> WriteError {
    WriteError::Failed(error.to_string())
}

/// Where rows are written to. A file gets its name when it is whole.
pub(super) struct Sink {
    writer: Writer,
    file: Option<Partial>,
}

enum Writer {
    Table { out: Out, markdown: bool, schema: SchemaRef, batches: Vec<RecordBatch> },
    Lines { out: Out, encoder: Box<Encoder>, nested: Vec<usize>, text: Text, rows: u64 },
    Parquet(Box<ArrowWriter<Out>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Csv,
    Json,
    Ndjson,
}

type Out = BufWriter<Box<dyn Write + Send>>;

impl Sink {
    /// To `path`, or else to standard output.
    pub(super) fn new(
        format: Format,
        schema: SchemaRef,
        path: Option<&PathBuf>,
    ) -> Result<Self, WriteError> {
        let (out, file): (Box<dyn Write + Send>, _) = match path {
            Some(path) => {
                let (file, partial) = Partial::create(path)?;
                (Box::new(file), partial)
            }
            None => (Box::new(io::stdout()), None),
        };
        let mut out = BufWriter::with_capacity(PIECE, out);
        let lines = |spec, text, nested: Vec<usize>, out: Out| {
            let schema = with_text(&schema, &nested);
            let encoder = Box::new(Encoder::new(&schema, &spec).map_err(failed)?);
            Ok::<_, WriteError>(Writer::Lines { out, encoder, nested, text, rows: 0 })
        };
        let json = || EncodingSpec::Json(JsonEncoding { nulls: true });
        let writer = match format {
            Format::Table | Format::Markdown => Writer::Table {
                out,
                markdown: format == Format::Markdown,
                schema: Arc::clone(&schema),
                batches: vec![],
            },
            Format::Json => {
                out.write_all(b"[")?;
                lines(json(), Text::Json, vec![], out)?
            }
            Format::Ndjson => lines(json(), Text::Ndjson, vec![], out)?,
            Format::Csv => {
                // As RFC 4180 has it, which is what spreadsheets and other programs read.
                let dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None };
                let spec = EncodingSpec::Csv(CsvEncoding { dialect, ..CsvEncoding::default() });
                let nested = schema.fields().iter().enumerate();
                let nested = nested.filter(|(_, field)| no_csv(field.data_type()));
                let mut writer =
                    lines(spec, Text::Csv, nested.map(|(index, _)| index).collect(), out)?;
                if let Writer::Lines { out, encoder, .. } = &mut writer
                    && let Some(header) = encoder.header()
                {
                    out.write_all(&header)?;
                    out.write_all(b"\n")?;
                }
                writer
            }
            Format::Parquet => {
                let mut seen = HashSet::new();
                if let Some(twice) = schema.fields().iter().find(|f| !seen.insert(f.name())) {
                    return Err(failed(format!(
                        "two columns are called '{}', which a Parquet file cannot have; give one \
                         of them another name with AS",
                        twice.name()
                    )));
                }
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_created_by(format!("millpond version {}", env!("CARGO_PKG_VERSION")))
                    .build();
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties));
                Writer::Parquet(Box::new(writer.map_err(failed)?))
            }
        };
        Ok(Self { writer, file })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        match &mut self.writer {
            Writer::Table { batches, .. } => {
                batches.push(batch.clone());
                Ok(())
            }
            Writer::Lines { out, encoder, nested, text, rows } => {
                let batch = as_text(batch, nested)?;
                for line in encoder.encode(&batch).map_err(failed)?.iter() {
                    if *text == Text::Json {
                        out.write_all(if *rows == 0 { b"\n  " } else { b",\n  " })?;
                    }
                    out.write_all(line)?;
                    if *text != Text::Json {
                        out.write_all(b"\n")?;
                    }
                    *rows += 1;
                }
                Ok(())
            }
            Writer::Parquet(writer) => writer.write(batch).map_err(failed),
        }
    }

    /// Completes what is written; a file then has its name.
    pub(super) fn finish(self) -> Result<(), WriteError> {
        match self.writer {
            Writer::Table { mut out, markdown, schema, batches } => {
                let text = table(&schema, &batches, markdown, self.file.is_none())?;
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Writer::Lines { mut out, text, rows, .. } => {
                if text == Text::Json {
                    out.write_all(if rows == 0 { b"]\n" } else { b"\n]\n" })?;
                }
                out.flush()?;
            }
            Writer::Parquet(writer) => {
                let mut out = writer.into_inner().map_err(failed)?;
                out.flush()?;
            }
        }
        match self.file {
            Some(partial) => partial.complete(),
            None => Ok(()),
        }
    }
}

/// A file that is being written, beside the one that it will replace.
struct Partial {
    path: PathBuf,
    partial: PathBuf,
    done: bool,
}

impl Partial {
    /// Devices and pipes are written to as they are.
    fn create(path: &Path) -> Result<(File, Option<Self>), WriteError> {
        let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        if special {
            return Ok((File::options().write(true).open(path)?, None));
        }
        let Some(name) = path.file_name() else {
            return Err(failed("this is no name of a file"));
        };
        let partial = path.with_file_name(format!(
            ".{}.{}.partial",
            name.to_string_lossy(),
            std::process::id()
        ));
        let file = File::create(&partial)?;
        Ok((file, Some(Self { path: path.to_owned(), partial, done: false })))
    }

    fn complete(mut self) -> Result<(), WriteError> {
        std::fs::rename(&self.partial, &self.path)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            // What is left behind is of no use; if it cannot be removed, nothing more can be done.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// Whether CSV has no way to write it.
fn no_csv(data_type: &DataType) -> bool {
    data_type.is_nested()
        || matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn with_text(schema: &SchemaRef, columns: &[usize]) -> SchemaRef {
    let fields =
        schema.fields().iter().enumerate().map(|(index, field)| match columns.contains(&index) {
            true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            false => Arc::clone(field),
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Puts structs, lists, maps and bytes as the JSON that they are elsewhere.
fn as_text(batch: &RecordBatch, columns: &[usize]) -> Result<RecordBatch, WriteError> {
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
    for index in columns {
        let column = &arrays[*index];
        let field = Field::new("v", column.data_type().clone(), true);
        let schema: SchemaRef = Arc::new(Schema::new(vec![field]));
        let spec = EncodingSpec::Json(JsonEncoding::default());
        let mut encoder = Encoder::new(&schema, &spec).map_err(failed)?;
        let rows = RecordBatch::try_new(schema, vec![Arc::clone(column)]).map_err(failed)?;
        let rows = encoder.encode(&rows).map_err(failed)?;
        let texts = rows.iter().map(|row| {
            let text = std::str::from_utf8(row).ok()?;
            let value = text.strip_prefix("{\"v\":")?.strip_suffix('}')?;
            Some(match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
                Some(base64) => base64.to_owned(),
                None => value.to_owned(),
            })
        });
        arrays[*index] = Arc::new(texts.collect::<StringArray>());
    }
    RecordBatch::try_new(with_text(batch.schema_ref(), columns), arrays).map_err(failed)
}

/// All rows as a table: values as Spark shows them, numbers to the right.
fn table(
    schema: &Schema,
    batches: &[RecordBatch],
    markdown: bool,
    terminal: bool,
) -> Result<String, WriteError> {
    let mut table = Table::new();
    table.load_preset(if markdown {
        presets::ASCII_MARKDOWN
    } else {
        presets::ASCII_FULL_CONDENSED
    });
    if !markdown {
        for part in [
            TableComponent::LeftHeaderIntersection,
            TableComponent::MiddleHeaderIntersections,
            TableComponent::RightHeaderIntersection,
        ] {
            table.set_style(part, '+');
        }
        table.set_style(TableComponent::HeaderLines, '-');
    }
    table.set_content_arrangement(ContentArrangement::Disabled);
    // Wide tables are folded to a terminal, and to nothing else.
    if terminal
        && !markdown
        && io::stdout().is_terminal()
        && let Ok((width, _)) = crossterm::terminal::size()
        // A terminal that does not know its width says 0.
        && width >= NARROWEST
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(schema.fields().iter().map(|field| one_line(field.name(), markdown)));
    for batch in batches {
        let columns: Vec<Renderer> =
            batch.columns().iter().map(Renderer::new).collect::<Result<_, _>>().map_err(failed)?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|column| {
                let mut cell = String::new();
                column.write(row, &mut cell);
                one_line(&cell, markdown)
            }));
        }
    }
    for (index, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_numeric()
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(format!("{table}\n"))
}

/// Control characters as escapes, so that a row stays a row and a terminal is not told anything.
fn one_line(text: &str, markdown: bool) -> String {
    let odd = |c: char| c.is_control() || (markdown && c == '|');
    if !text.contains(odd) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '|' if markdown => out.push_str("\\|"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
