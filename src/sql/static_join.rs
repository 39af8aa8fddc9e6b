//! A stream joined with a table: each batch looks its rows up in an index over the table's rows.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, prep_null_mask_filter, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DFSchemaRef, Result, exec_err};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use super::chain::{Chain, conform, new_batch, nullable_schema, physical_expr};
use super::functions::BatchClock;
use super::static_table::StaticTable;

/// Pairs of rows that are looked at together; it bounds what a batch with many matches takes.
const PAIRS: usize = 64 * 1024;

/// Which of the stream's rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StaticKind {
    /// Those that match, once for each match.
    Inner,
    /// All; those that match nothing with NULLs in the table's columns.
    Left,
    /// Those that match, once, without the table's columns.
    Semi,
    /// Those that match nothing, without the table's columns.
    Anti,
}

/// A join with a table, as a step of a chain.
#[derive(Debug, Clone)]
pub(crate) struct StaticJoin {
    pub(crate) kind: StaticKind,
    /// Over the stream's columns.
    pub(crate) keys: Vec<Expr>,
    pub(crate) table: Arc<TableSide>,
    /// What has to hold beside equal keys, over `pairs`.
    pub(crate) filter: Option<Expr>,
    /// The stream's columns and the table's, in the order in which the query names them.
    pub(crate) pairs: DFSchemaRef,
    /// Where the stream's columns are in `pairs`.
    pub(crate) stream: Range<usize>,
}

/// The table's half: what is read of it, its keys, and the index that every reader shares.
pub(crate) struct TableSide {
    pub(crate) parts: Vec<TablePart>,
    pub(crate) output: DFSchemaRef,
    pub(crate) keys: Vec<Expr>,
    index: Mutex<Option<(Vec<u64>, Arc<Index>)>>,
}

/// One table, with the filters and projections it is read through.
#[derive(Debug, Clone)]
pub(crate) struct TablePart {
    pub(crate) table: Arc<StaticTable>,
    /// Indexes of the columns that are read.
    pub(crate) reads: Vec<usize>,
    pub(crate) input: DFSchemaRef,
    pub(crate) chain: Chain,
}

impl fmt::Debug for TableSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSide").field("parts", &self.parts).field("keys", &self.keys).finish()
    }
}

/// The table's rows by their keys.
struct Index {
    rows: RecordBatch,
    by_key: HashMap<Box<[u8]>, Vec<u32>>,
}

impl TableSide {
    pub(crate) fn new(parts: Vec<TablePart>, output: DFSchemaRef, keys: Vec<Expr>) -> Self {
        Self { parts, output, keys, index: Mutex::new(None) }
    }

    /// The index over the rows of now, built anew if they have changed.
    fn current(&self, converter: Option<&RowConverter>) -> Result<Arc<Index>> {
        let versions: Vec<u64> = self.parts.iter().map(|part| part.table.version()).collect();
        // Whoever comes first builds it; the others wait, as they need it too.
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((built, found)) = index.as_ref()
            && *built == versions
        {
            return Ok(Arc::clone(found));
        }
        let (built, fresh) = self.build(converter)?;
        let fresh = Arc::new(fresh);
        *index = Some((built, Arc::clone(&fresh)));
        Ok(fresh)
    }

    fn build(&self, converter: Option<&RowConverter>) -> Result<(Vec<u64>, Index)> {
        let clock = BatchClock::default();
        clock.tick();
        let schema = nullable_schema(&self.output);
        let mut versions = vec![];
        let mut batches = vec![];
        for part in &self.parts {
            let (version, rows) = part.table.current();
            versions.push(version);
            let input = nullable_schema(&part.input);
            let chain = part.chain.bind(&clock)?;
            for batch in rows.iter() {
                let columns = part
                    .reads
                    .iter()
                    .zip(input.fields())
                    .map(|(index, field)| {
                        conform(Arc::clone(batch.column(*index)), field.data_type())
                    })
                    .collect::<Result<Vec<_>>>()?;
                let (rows, _) = chain.apply(new_batch(&input, columns, batch.num_rows())?, None)?;
                let columns = rows
                    .columns()
                    .iter()
                    .zip(schema.fields())
                    .map(|(column, field)| conform(Arc::clone(column), field.data_type()))
                    .collect::<Result<Vec<_>>>()?;
                batches.push(new_batch(&schema, columns, rows.num_rows())?);
            }
        }
        let rows = concat_batches(&schema, &batches)?;
        let mut by_key: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        if let Some(converter) = converter {
            let keys = self
                .keys
                .iter()
                .map(|key| {
                    let key = physical_expr(key, &self.output, &clock)?;
                    key.evaluate(&rows)?.into_array(rows.num_rows())
                })
                .collect::<Result<Vec<_>>>()?;
            let encoded = converter.convert_columns(&keys)?;
            for row in (0..rows.num_rows()).filter(|row| !any_null(&keys, *row)) {
                by_key.entry(encoded.row(row).as_ref().into()).or_default().push(row as u32);
            }
        }
        Ok((versions, Index { rows, by_key }))
    }
}

/// NULL equals nothing.
fn any_null(keys: &[ArrayRef], row: usize) -> bool {
    keys.iter().any(|key| key.is_null(row))
}

/// A [`StaticJoin`] ready to run.
pub(super) struct BoundJoin {
    kind: StaticKind,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: Option<RowConverter>,
    table: Arc<TableSide>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    pairs: SchemaRef,
    stream: Range<usize>,
    output: SchemaRef,
}

impl StaticJoin {
    /// Where a column that comes out is in the stream's rows. `None`: it is the table's.
    pub(super) fn below(&self, index: usize) -> Option<usize> {
        match self.kind {
            StaticKind::Semi | StaticKind::Anti => Some(index),
            StaticKind::Inner | StaticKind::Left => {
                self.stream.contains(&index).then(|| index - self.stream.start)
            }
        }
    }

    pub(super) fn bind(
        &self,
        input: &DFSchemaRef,
        output: SchemaRef,
        clock: &BatchClock,
    ) -> Result<BoundJoin> {
        let keys = self
            .keys
            .iter()
            .map(|key| physical_expr(key, input, clock))
            .collect::<Result<Vec<_>>>()?;
        let mut fields = vec![];
        for key in &keys {
            fields.push(SortField::new(key.data_type(input.as_arrow())?));
        }
        let converter = if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) };
        let filter = self
            .filter
            .as_ref()
            .map(|filter| physical_expr(filter, &self.pairs, clock))
            .transpose()?;
        Ok(BoundJoin {
            kind: self.kind,
            keys,
            converter,
            table: Arc::clone(&self.table),
            filter,
            pairs: nullable_schema(&self.pairs),
            stream: self.stream.clone(),
            output,
        })
    }
}

impl BoundJoin {
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let index = self.table.current(self.converter.as_ref())?;
        let mut matched = vec![false; batch.num_rows()];
        let mut batches = vec![];
        let mut pairs = Pairs::default();
        let all: Vec<u32> = match self.converter {
            None => (0..index.rows.num_rows() as u32).collect(),
            Some(_) => vec![],
        };
        let keys = self
            .keys
            .iter()
            .map(|key| key.evaluate(batch)?.into_array(batch.num_rows()))
            .collect::<Result<Vec<_>>>()?;
        let encoded = self
            .converter
            .as_ref()
            .map(|converter| converter.convert_columns(&keys))
            .transpose()?;
        for row in 0..batch.num_rows() {
            let found = match &encoded {
                None => Some(&all),
                Some(_) if any_null(&keys, row) => None,
                Some(encoded) => index.by_key.get(encoded.row(row).as_ref()),
            };
            for at in found.into_iter().flatten() {
                pairs.stream.push(row as u32);
                pairs.table.push(*at);
                if pairs.stream.len() >= PAIRS {
                    self.flush(batch, &index, &mut pairs, &mut matched, &mut batches)?;
                }
            }
        }
        self.flush(batch, &index, &mut pairs, &mut matched, &mut batches)?;
        self.unpaired(batch, &index, &matched, &mut batches)?;
        match batches.len() {
            1 => Ok(batches.remove(0)),
            _ => Ok(concat_batches(&self.output, &batches)?),
        }
    }

    /// Tries the pairs against the filter, notes whose rows match, and keeps the pairs if they come
    /// out.
    fn flush(
        &self,
        batch: &RecordBatch,
        index: &Index,
        pairs: &mut Pairs,
        matched: &mut [bool],
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let mut taken = std::mem::take(pairs);
        if taken.stream.is_empty() {
            return Ok(());
        }
        let keep_rows = matches!(self.kind, StaticKind::Inner | StaticKind::Left);
        let mut joined = None;
        if self.filter.is_some() || keep_rows {
            joined = Some(self.pair_batch(batch, index, &taken)?);
        }
        if let (Some(filter), Some(rows)) = (&self.filter, &joined) {
            let mask = filter.evaluate(rows)?.into_array(rows.num_rows())?;
            let Some(mask) = mask.as_boolean_opt() else {
                return exec_err!("a join's condition gave {}", mask.data_type());
            };
            let mask: BooleanArray =
                if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            let mut keep = mask.values().iter();
            taken.stream.retain(|_| keep.next().unwrap_or(false));
            joined = Some(arrow::compute::filter_record_batch(rows, &mask)?);
        }
        for row in &taken.stream {
            matched[*row as usize] = true;
        }
        if let Some(rows) = joined.filter(|rows| keep_rows && rows.num_rows() > 0) {
            out.push(new_batch(&self.output, rows.columns().to_vec(), rows.num_rows())?);
        }
        Ok(())
    }

    /// Both sides' columns for each pair. `None` in `table`: NULLs.
    fn pair_batch(&self, batch: &RecordBatch, index: &Index, pairs: &Pairs) -> Result<RecordBatch> {
        let stream = UInt32Array::from(pairs.stream.clone());
        let table = UInt32Array::from(pairs.table.clone());
        self.columns(batch, index, &stream, &table)
    }

    fn columns(
        &self,
        batch: &RecordBatch,
        index: &Index,
        stream: &UInt32Array,
        table: &UInt32Array,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.pairs.fields().len());
        for column in index.rows.columns() {
            columns.push(take(column, table, None)?);
        }
        // The stream's columns stand together, before the table's or behind them.
        let at = self.stream.start.min(columns.len());
        let left = batch
            .columns()
            .iter()
            .map(|column| Ok(take(column, stream, None)?))
            .collect::<Result<Vec<_>>>()?;
        columns.splice(at..at, left);
        new_batch(&self.pairs, columns, stream.len())
    }

    /// The rows that come out because of what they did, or did not, match.
    fn unpaired(
        &self,
        batch: &RecordBatch,
        index: &Index,
        matched: &[bool],
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let wanted = match self.kind {
            StaticKind::Inner => return Ok(()),
            StaticKind::Left | StaticKind::Anti => false,
            StaticKind::Semi => true,
        };
        let rows = (0..batch.num_rows()).filter(|row| matched[*row] == wanted);
        let stream: UInt32Array = rows.map(|row| Some(row as u32)).collect();
        if stream.is_empty() {
            return Ok(());
        }
        let rows = if self.kind == StaticKind::Left {
            let table: UInt32Array = std::iter::repeat_n(None, stream.len()).collect();
            self.columns(batch, index, &stream, &table)?
        } else {
            arrow::compute::take_record_batch(batch, &stream)?
        };
        out.push(new_batch(&self.output, rows.columns().to_vec(), stream.len())?);
        Ok(())
    }
}

/// Rows of the stream and of the table that have equal keys.
#[derive(Default)]
struct Pairs {
    stream: Vec<u32>,
    table: Vec<u32>,
}
