//! From the panes of a join to segments, and back.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Result;

use super::plan::SideName;
use super::segment::{Addition, Image, encode};
use super::side::{Expiry, Side};
use super::stored::Arriving;
use super::{Join, JoinKind};
use crate::operator::Segment;
use crate::operator::keyed::{of_shard, present_keys};
use crate::sql::new_batch;

/// The columns of a side's segments: its routed rows, and when they came if that is what they are
/// kept by.
pub(super) fn segment_schema(side: &Side) -> SchemaRef {
    let mut fields: Vec<_> = side.layout.schema.fields().iter().cloned().collect();
    if let Expiry::Wall(_) = side.expiry {
        fields.push(Arc::new(Field::new("came", DataType::Int64, true)));
    }
    Arc::new(Schema::new(fields))
}

impl Join {
    pub(super) fn snapshot_side(
        &mut self,
        name: SideName,
        segments: &mut Vec<Segment>,
    ) -> Result<()> {
        let side = &mut self.sides[name.number()];
        let schema = &self.segment_schemas[name.number()];
        let mut panes = std::mem::take(&mut side.panes);
        let written = panes.iter_mut().filter(|(_, pane)| pane.is_dirty()).try_for_each(
            |(start, pane)| -> Result<()> {
                let whole = pane.saved.is_whole_due(pane.rows);
                let first = if whole { 0 } else { pane.saved.rows };
                let matched = match whole {
                    true => {
                        pane.take_flags(0);
                        (0..pane.rows).filter(|row| pane.is_matched(*row)).collect()
                    }
                    false => pane.take_flags(first),
                };
                let rows = side
                    .rows_from(pane, first)
                    .into_iter()
                    .map(|(rows, times)| {
                        let mut columns = rows.columns().to_vec();
                        if columns.len() < schema.fields().len() {
                            columns.push(Arc::new(Int64Array::from(times.to_vec())));
                        }
                        new_batch(schema, columns, rows.num_rows())
                    })
                    .collect::<Result<Vec<_>>>()?;
                let addition = Addition {
                    writer: self.writer,
                    pane: *start | name.number() as i64,
                    first,
                    matched: &matched,
                    rows: &rows,
                };
                let bytes = encode(schema, &addition)?;
                let groups = rows.iter().map(RecordBatch::num_rows).sum();
                segments.push(Segment { pane: addition.pane, whole, bytes, groups });
                pane.saved.wrote(whole, pane.rows);
                Ok(())
            },
        );
        self.sides[name.number()].panes = panes;
        written
    }

    pub(super) fn restore_pane(
        &mut self,
        pane: i64,
        image: &Image,
        keep: (usize, usize),
    ) -> Result<()> {
        let number = (pane & 1) as usize;
        let name = if number == 0 { SideName::Left } else { SideName::Right };
        let side = &mut self.sides[number];
        let drops_matched = self.kind == JoinKind::LeftSemi;
        let mut first = 0;
        for batch in &image.rows {
            let count = batch.num_rows();
            let matched: Vec<bool> =
                (first..first + count).map(|row| image.matched.get(row)).collect();
            first += count;
            let width = side.layout.schema.fields().len();
            let rows = new_batch(&side.layout.schema, batch.columns()[..width].to_vec(), count)?;
            let key_arrays = side.layout.key_arrays(&rows);
            let own = of_shard(&key_arrays, count, keep)?;
            let keys = side.codec.encode(&key_arrays)?;
            let present = present_keys(&key_arrays);
            let times = match (side.expiry, side.layout.times(&rows)) {
                (Expiry::Wall(_), _) => {
                    batch.column(width).as_primitive::<Int64Type>().values().clone()
                }
                (_, Some(times)) => times.to_vec().into(),
                (_, None) => ScalarBuffer::default(),
            };
            let arriving = Arriving {
                rows: &rows,
                keys: &keys,
                present: present.as_ref(),
                times,
                matched: if self.kind.tracks(name) { &matched } else { &[] },
            };
            side.store(&arriving, |row| {
                own.as_ref().is_none_or(|own| own.value(row)) && !(drops_matched && matched[row])
            })?;
        }
        Ok(())
    }
}
