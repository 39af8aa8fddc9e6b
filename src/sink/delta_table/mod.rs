//! A Delta table that rows are merged into or that is overwritten.

use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};
use crate::lake::TableSpec;

/// The table.
#[derive(Clone, Debug)]
pub struct DeltaTableOptions {
    /// Where it is and how its files are written.
    pub table: TableSpec,
}

/// Under construction.
pub struct DeltaTableTarget {
    options: DeltaTableOptions,
    context: TargetContext,
}

impl DeltaTableTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce("");

    pub(super) async fn open(
        options: DeltaTableOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        Ok(Self { options, context })
    }

    pub(super) fn address(&self) -> String {
        String::new()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        Err(SinkError::internal("under construction"))
    }

    pub(super) async fn commit(&mut self, _: u64, _: &StagedRows) -> Result<CommitInfo, SinkError> {
        Err(SinkError::internal("under construction"))
    }
}

impl DeltaTableTarget {
    pub(super) fn version(&self) -> i64 {
        0
    }
}
