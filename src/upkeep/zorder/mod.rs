//! Rows along a z-order curve.
//!
//! Each column's values are cut into ranges of about equal numbers of rows, and a row's place on the
//! curve is made of the bits of its ranges' numbers in turn (Morton, "A Computer Oriented Geodetic
//! Data Base", 1966; the ranges as Delta Lake's `OPTIMIZE ... ZORDER BY` takes them). Bits of the
//! values themselves would let one column outweigh the others: all of a small integer's bits are at
//! the end, where a short key does not reach.
//!
//! The sort is a sample sort: the ranges, and the places at which the rows are cut into pieces, come
//! from a sample that is read first (of the columns in question only); then all rows are read and
//! dealt out to the pieces, in memory or, beyond its bound, in temporary files; then each piece is
//! sorted by itself and written. Threads share the files in the first half and the pieces in the
//! second.

mod keys;
mod pieces;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema, UInt64Type};
use deltalake::kernel::Add;

use self::keys::{Curve, Sample};
use self::pieces::Pieces;
use super::optimize::{Done, Shared, file_error};
use super::plan::Job;
use super::pool::{Pool, Worker};
use super::{Progress, UpkeepError};
use crate::lake::{LakeError, TableLocation};
use crate::sink::delta::rewrite::{RewriteWriter, remove};

/// More columns would leave fewer than eight bits to each.
pub(super) const MOST_COLUMNS: usize = 8;

/// Rows that a sample should have.
const SAMPLE: u64 = 200_000;

/// Rows that are dealt out to the pieces together: enough that a piece gets more than a few.
const CHUNK: usize = 128 * 1024;

/// Bytes of rows that are handled together at the most, so that long values do not multiply.
const CHUNK_BYTES: usize = 64 << 20;

/// Decoded rows take about so many times the room of encoded ones. A wrong guess only makes pieces
/// of another size.
const DECODED: u64 = 8;

/// Pieces at most: each has an entry in every temporary file.
const MOST_PIECES: u64 = 4096;

/// How a partition is put in order.
pub(super) struct Settings<'a> {
    pub columns: &'a [String],
    /// The size of files, in bytes.
    pub target: u64,
    pub threads: usize,
    /// Bytes of decoded rows that may be held.
    pub memory: u64,
    pub spill_dir: Option<&'a Path>,
}

/// Writes the rows of a partition's files in z-order.
pub(super) async fn rewrite(
    location: &TableLocation,
    job: Job,
    shared: &Arc<Shared>,
    settings: Settings<'_>,
    progress: &dyn Progress,
) -> Result<Done, UpkeepError> {
    let curve = Arc::new(sample(location, &job, shared, &settings, progress).await?);
    let bytes = job.bytes();
    let outputs = (bytes / settings.target.max(1)).clamp(1, MOST_PIECES);
    // Pieces that are being sorted take twice their size, in each thread.
    let share = (settings.memory / (4 * settings.threads as u64)).max(1 << 20);
    let pieces = (bytes.saturating_mul(DECODED) / share).clamp(outputs, MOST_PIECES);
    let pieces = usize::try_from(pieces).unwrap_or(1);
    let cuts = curve.cuts(pieces);
    let pieces =
        Pieces::new(&shared.file_schema, cuts.len() + 1, settings.memory / 2, settings.spill_dir)?;
    let pieces = Arc::new(pieces);
    deal(location, &job, shared, &settings, &curve, &Arc::new(cuts), &pieces, progress).await?;
    write(location, job, shared, &settings, pieces, outputs, progress).await
}

/// The columns of the order, in its order.
fn key_schema(shared: &Shared, columns: &[String]) -> Result<Arc<Schema>, UpkeepError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|name| shared.file_schema.field_with_name(name).cloned())
        .collect::<Result<_, _>>()
        .map_err(|e| UpkeepError::internal("the table", e))?;
    Ok(Arc::new(Schema::new(fields)))
}

/// First pass: reads the columns in question, and keeps the values of every so-manieth row.
async fn sample(
    location: &TableLocation,
    job: &Job,
    shared: &Arc<Shared>,
    settings: &Settings<'_>,
    progress: &dyn Progress,
) -> Result<Curve, UpkeepError> {
    let schema = key_schema(shared, settings.columns)?;
    // Files without statistics have rows too: short ones are assumed, so that the sample stays small.
    let rows_of = |file: &super::plan::Candidate| match crate::lake::rows_of(&file.add) {
        0 => file.bytes() / 16,
        rows => rows,
    };
    let rows: u64 = job.files.iter().map(rows_of).sum();
    let every = usize::try_from((rows / SAMPLE).max(1)).unwrap_or(1);
    let files: Vec<Add> = job.files.iter().map(|file| file.add.clone()).collect();
    let (shared, key_schema) = (shared.clone(), schema.clone());
    let mut pool: Pool<Vec<RecordBatch>> =
        Pool::start(location, settings.threads, files, move |add, worker| {
            let (shared, schema) = (shared.clone(), key_schema.clone());
            Box::pin(async move {
                let data = shared.data_files(&worker.table, schema)?;
                let named = |e| file_error(&worker.table.table, &add.path, e);
                let mut file = data.open(&add).await.map_err(named)?;
                let mut kept = Vec::new();
                let mut seen = 0usize;
                while let Some(batch) = file.next().await.map_err(named)? {
                    worker.go_on()?;
                    let first = (every - seen % every) % every;
                    let rows: arrow::array::UInt32Array =
                        (first..batch.num_rows()).step_by(every).map(|row| row as u32).collect();
                    seen += batch.num_rows();
                    let rows = take_record_batch(&batch, &rows)
                        .map_err(|e| UpkeepError::internal(&worker.table.table, e))?;
                    kept.push(rows);
                }
                worker.advance(1, u64::try_from(add.size).unwrap_or(0));
                Ok(kept)
            })
        })?;
    let mut sample = Sample::new(schema);
    while let Some(batches) = pool.next(progress).await {
        sample.add(batches?);
    }
    sample.curve().map_err(|e| UpkeepError::internal(pool.name(), e))
}

/// Second pass: deals all rows out to the pieces.
#[allow(clippy::too_many_arguments)]
async fn deal(
    location: &TableLocation,
    job: &Job,
    shared: &Arc<Shared>,
    settings: &Settings<'_>,
    curve: &Arc<Curve>,
    cuts: &Arc<Vec<u64>>,
    pieces: &Arc<Pieces>,
    progress: &dyn Progress,
) -> Result<(), UpkeepError> {
    let files: Vec<Add> = job.files.iter().map(|file| file.add.clone()).collect();
    let columns: Arc<[usize]> =
        settings.columns.iter().filter_map(|name| shared.file_schema.index_of(name).ok()).collect();
    // Small files are read by the group, so that chunks are full.
    let share = (job.bytes() / (8 * settings.threads as u64)).max(1);
    let mut groups: Vec<Vec<Add>> = Vec::new();
    let mut room = 0;
    for add in files {
        let bytes = u64::try_from(add.size).unwrap_or(0);
        match groups.last_mut() {
            Some(group) if room >= bytes => {
                room -= bytes;
                group.push(add);
            }
            _ => {
                room = share.saturating_sub(bytes);
                groups.push(vec![add]);
            }
        }
    }
    let (shared, curve) = (shared.clone(), curve.clone());
    let (cuts, pieces) = (cuts.clone(), pieces.clone());
    let mut pool: Pool<()> =
        Pool::start(location, settings.threads, groups, move |group, worker| {
            let (shared, curve, cuts) = (shared.clone(), curve.clone(), cuts.clone());
            let (pieces, columns) = (pieces.clone(), columns.clone());
            Box::pin(async move {
                let data = shared.data_files(&worker.table, shared.file_schema.clone())?;
                let dealer =
                    Dealer { columns: &columns, curve: &curve, cuts: &cuts, pieces: &pieces };
                let mut chunk = Vec::new();
                let (mut rows, mut bytes) = (0, 0);
                let table = &worker.table.table;
                for add in group {
                    let named = |e| file_error(table, &add.path, e);
                    let mut file = data.open(&add).await.map_err(named)?;
                    while let Some(batch) = file.next().await.map_err(named)? {
                        worker.go_on()?;
                        rows += batch.num_rows();
                        bytes += batch.get_array_memory_size();
                        chunk.push(batch);
                        if rows >= CHUNK || bytes >= CHUNK_BYTES {
                            dealer.deal(table, &std::mem::take(&mut chunk))?;
                            (rows, bytes) = (0, 0);
                        }
                    }
                    worker.advance(1, u64::try_from(add.size).unwrap_or(0));
                }
                dealer.deal(table, &chunk)
            })
        })?;
    pool.all(progress).await.map(|_| ())
}

struct Dealer<'a> {
    columns: &'a [usize],
    curve: &'a Curve,
    cuts: &'a [u64],
    pieces: &'a Pieces,
}

impl Dealer<'_> {
    /// Sorts some rows by their places on the curve and hands each piece its part.
    fn deal(&self, table: &str, batches: &[RecordBatch]) -> Result<(), UpkeepError> {
        let Some(first) = batches.first() else { return Ok(()) };
        let wrong = |e: arrow::error::ArrowError| UpkeepError::internal(table, e);
        let chunk = concat_batches(&first.schema(), batches).map_err(wrong)?;
        let columns: Vec<_> =
            self.columns.iter().map(|column| chunk.column(*column).clone()).collect();
        let keys = self.curve.places(&columns).map_err(wrong)?;
        let mut order: Vec<(u64, u32)> =
            keys.iter().enumerate().map(|(row, key)| (*key, row as u32)).collect();
        order.sort_unstable();
        let rows: arrow::array::UInt32Array = order.iter().map(|(_, row)| *row).collect();
        let sorted = take_record_batch(&chunk, &rows).map_err(wrong)?;
        drop(chunk);
        let keys: UInt64Array = order.iter().map(|(key, _)| *key).collect();
        let mut start = 0;
        let mut parts = Vec::new();
        while start < order.len() {
            let piece = self.cuts.partition_point(|cut| *cut <= order[start].0);
            let end = match self.cuts.get(piece) {
                Some(cut) => start + order[start..].partition_point(|(key, _)| key < cut),
                None => order.len(),
            };
            parts.push((piece, keys.slice(start, end - start), sorted.slice(start, end - start)));
            start = end;
        }
        self.pieces.add(parts)
    }
}

/// Third: sorts each piece and writes it; consecutive pieces share a file.
async fn write(
    location: &TableLocation,
    job: Job,
    shared: &Arc<Shared>,
    settings: &Settings<'_>,
    pieces: Arc<Pieces>,
    outputs: u64,
    progress: &dyn Progress,
) -> Result<Done, UpkeepError> {
    let pieces_per_output = pieces.len().div_ceil(usize::try_from(outputs).unwrap_or(1).max(1));
    let groups: Vec<std::ops::Range<usize>> = (0..pieces.len())
        .step_by(pieces_per_output.max(1))
        .map(|start| start..(start + pieces_per_output).min(pieces.len()))
        .collect();
    let (shared, partition) = (shared.clone(), job.partition.clone());
    let mut pool: Pool<(usize, Vec<Add>, u64)> =
        Pool::start(location, settings.threads, groups, move |group, worker| {
            let (shared, pieces, partition) = (shared.clone(), pieces.clone(), partition.clone());
            Box::pin(async move {
                let objects = worker.table.store.object_store(None);
                let mut writer = RewriteWriter::new(shared.format.clone(), objects, &partition);
                let place = group.start;
                let mut rows = 0;
                for piece in group {
                    let result = write_piece(&pieces, piece, &mut writer, &mut rows, worker).await;
                    if let Err(error) = result {
                        writer.discard().await;
                        return Err(error);
                    }
                }
                fail::fail_point!("upkeep::written");
                let adds = writer.finish().await?;
                fail::fail_point!("upkeep::stored");
                Ok((place, adds, rows))
            })
        })?;
    let mut parts = Vec::new();
    let mut failed = None;
    while let Some(result) = pool.next(progress).await {
        match result {
            Ok(part) => parts.push(part),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    parts.sort_by_key(|(place, ..)| *place);
    let rows = parts.iter().map(|(_, _, rows)| rows).sum();
    let adds: Vec<Add> = parts.into_iter().flat_map(|(_, adds, _)| adds).collect();
    if let Some(error) = failed {
        if let Some(table) = location.existing().await? {
            remove(&table.store.object_store(None), &adds).await;
        }
        return Err(error);
    }
    Ok(Done { job, adds, rows })
}

async fn write_piece(
    pieces: &Pieces,
    piece: usize,
    writer: &mut RewriteWriter,
    rows: &mut u64,
    worker: &Worker<(usize, Vec<Add>, u64)>,
) -> Result<(), UpkeepError> {
    /// Rows handed to the encoder at once.
    const ROWS: usize = 16 * 1024;
    let table = &worker.table.table;
    let wrong = |e: arrow::error::ArrowError| UpkeepError::internal(table, e);
    let parts = pieces.take(piece)?;
    // (place on the curve, batch, row): equal places keep the order in which rows were read.
    let mut order: Vec<(u64, u32, u32)> = Vec::new();
    for (index, (keys, _)) in parts.iter().enumerate() {
        let keys = keys.values().iter().enumerate();
        order.extend(keys.map(|(row, key)| (*key, index as u32, row as u32)));
    }
    order.sort_unstable();
    let batches: Vec<&RecordBatch> = parts.iter().map(|(_, batch)| batch).collect();
    let longest =
        batches.iter().map(|batch| slice_bytes(batch) / batch.num_rows().max(1)).max().unwrap_or(1);
    let run = (CHUNK_BYTES / longest.max(1)).clamp(1, ROWS);
    for run in order.chunks(run) {
        worker.go_on()?;
        let places: Vec<(usize, usize)> =
            run.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
        let sorted = arrow::compute::interleave_record_batch(&batches, &places).map_err(wrong)?;
        *rows += sorted.num_rows() as u64;
        writer.write(&sorted).await.map_err(|e: LakeError| UpkeepError::Lake(e))?;
    }
    Ok(())
}

/// Bytes of the rows alone, where they are a part of something larger.
fn slice_bytes(batch: &RecordBatch) -> usize {
    let of = |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size();
    batch.columns().iter().map(|column| of(column).unwrap_or(0)).sum()
}

/// The keys of rows that were read back from a temporary file: its first column.
fn split_keys(batch: &RecordBatch) -> Result<(UInt64Array, RecordBatch), arrow::error::ArrowError> {
    let keys = batch.column(0).as_primitive::<UInt64Type>().clone();
    let rest: Vec<usize> = (1..batch.num_columns()).collect();
    Ok((keys, batch.project(&rest)?))
}
