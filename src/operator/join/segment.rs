//! Panes of a join as bytes.
//!
//! A segment adds rows to a pane, and matches to rows that it has. Rows are meant by their number
//! in the pane, which only holds for the operator that wrote them; each marks its segments with a
//! number of its own, so that those of several shards can be told apart. Behind the header, little-
//! endian: the writer (u128), the number of the first row, the rows, the matched rows (u64 each),
//! these rows' numbers in ascending order as LEB128 differences, and the rows as an IPC stream.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::pane::Bits;
use crate::operator::segment::{Kind, open, read_stream, seal, write_stream};

const KIND: Kind = Kind { name: b"MPJOIN\0\0", layout: 1, title: "the rows of a join" };

/// What a segment adds to a pane.
pub(super) struct Addition<'a> {
    pub(super) writer: u128,
    /// The pane's start, with the side in the lowest bit.
    pub(super) pane: i64,
    /// The number of the first row.
    pub(super) first: usize,
    /// Numbers of matched rows, ascending.
    pub(super) matched: &'a [usize],
    pub(super) rows: &'a [RecordBatch],
}

/// Encodes an addition.
pub(super) fn encode(schema: &SchemaRef, addition: &Addition<'_>) -> Result<Vec<u8>, ArrowError> {
    seal(KIND, addition.pane, |out| {
        let rows: usize = addition.rows.iter().map(RecordBatch::num_rows).sum();
        out.extend_from_slice(&addition.writer.to_le_bytes());
        for number in [addition.first, rows, addition.matched.len()] {
            out.extend_from_slice(&(number as u64).to_le_bytes());
        }
        let mut last = 0;
        for row in addition.matched {
            write_number(out, (row - last) as u64);
            last = *row;
        }
        write_stream(out, schema, addition.rows)
    })
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads from the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*head)
    }

    fn word(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number in it is too long".to_owned())
    }
}

/// A pane as one operator wrote it.
#[derive(Default)]
pub(super) struct Image {
    /// In the order of their numbers.
    pub(super) rows: Vec<RecordBatch>,
    pub(super) matched: Bits,
    count: u64,
}

/// The panes that segments come to, by writer and pane.
#[derive(Default)]
pub(super) struct Images(BTreeMap<(u128, i64), Image>);

impl Images {
    /// Adds a segment; segments of a pane come in the order they were written. `schemas` are those
    /// of the left and the right side's rows.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn add(&mut self, schemas: [&SchemaRef; 2], bytes: &[u8]) -> Result<(), String> {
        let (pane, body) = open(KIND, bytes)?;
        let mut reader = Reader(body);
        let writer = u128::from_le_bytes(reader.take()?);
        let (first, rows, matched) = (reader.word()?, reader.word()?, reader.word()?);
        let image = self.0.entry((writer, pane)).or_default();
        if first == 0 && image.count > 0 && rows > 0 {
            // Written whole: what came before should have gone.
            *image = Image::default();
        }
        if first != image.count {
            return Err(format!("it begins with row {first} of a pane of {} rows", image.count));
        }
        let mut row = 0_u64;
        let mut matches = vec![];
        for _ in 0..matched {
            row = row.saturating_add(reader.number()?);
            matches.push(row);
        }
        let batches = read_stream(schemas[(pane & 1) as usize], reader.0)?;
        let found: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found != rows {
            return Err(format!("it has {found} rows instead of {rows}"));
        }
        image.count += rows;
        image.rows.extend(batches);
        for row in matches {
            if row >= image.count {
                return Err(format!("it has a match of row {row}, which its pane does not have"));
            }
            image.matched.set(row as usize);
        }
        Ok(())
    }

    /// The panes, each with its side in the lowest bit.
    pub(super) fn into_panes(self) -> impl Iterator<Item = (i64, Image)> {
        self.0.into_iter().map(|((_, pane), image)| (pane, image))
    }
}
