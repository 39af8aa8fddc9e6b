//! Who wrote a segment, and how far that shard's watermark was.
//!
//! Shards stop at barriers and not at watermarks, so one may have closed windows that another still
//! holds open in the same checkpoint. Where closing leaves no trace in the state itself (panes that
//! other windows share, sessions that are simply not written again), the shard's watermark has to
//! be known for each row that it wrote, also when the keys are spread over other shards later.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use arrow::array::new_empty_array;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use super::segment::{Decoded, encode};
use crate::operator::Segment;

/// Note in a segment: the shard, since its start, that wrote it.
pub(super) const ORIGIN: &str = "origin";
/// Note in a mark: the watermark of its origin.
const WATERMARK: &str = "watermark";
/// The pane of marks; no window and no chunk has this one.
const PANE: i64 = i64::MIN;

/// A number that no other shard has, nor this one after a restart.
pub(super) fn new_origin() -> i64 {
    RandomState::new().build_hasher().finish() as i64
}

/// Keeps a shard's watermark in the checkpoint.
pub(super) struct Marks {
    origin: i64,
    written: Option<i64>,
}

impl Marks {
    pub(super) fn new(origin: i64) -> Self {
        Self { origin, written: None }
    }

    pub(super) fn origin(&self) -> i64 {
        self.origin
    }

    /// A segment that says how far the watermark is, if it has moved.
    pub(super) fn segment(
        &mut self,
        schema: &SchemaRef,
        watermark: Option<i64>,
    ) -> Result<Option<Segment>> {
        let Some(mark) = watermark.filter(|_| watermark != self.written) else { return Ok(None) };
        let columns = schema.fields().iter().map(|field| new_empty_array(field.data_type()));
        let notes = [(ORIGIN, self.origin), (WATERMARK, mark)];
        let bytes = encode(schema, PANE, columns.collect(), 0, &notes)?;
        self.written = watermark;
        Ok(Some(Segment { pane: PANE, whole: true, bytes, groups: 0 }))
    }

    pub(super) fn is_mark(segment: &Decoded) -> bool {
        segment.pane == PANE
    }

    /// The watermark of each origin.
    pub(super) fn read(segments: &[Decoded]) -> BTreeMap<i64, i64> {
        let marks = segments.iter().filter(|segment| Self::is_mark(segment));
        marks.filter_map(|mark| Some((mark.note(ORIGIN)?, mark.note(WATERMARK)?))).collect()
    }
}
