//! A staging area in a temporary directory, and rows for it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tempfile::TempDir;

use super::StagedSink;
use crate::sink::{SinkError, TargetContext, TargetSpec};
use crate::sql::OutputMode;

/// `id BIGINT, name STRING`
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

pub(crate) fn batch_of(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|(id, _)| Some(*id)).collect();
    let names: StringArray = rows.iter().map(|(_, name)| Some(*name)).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

/// What a daemon keeps on its disk for a sink.
pub(crate) struct Area {
    pub dir: TempDir,
    pub context: TargetContext,
}

impl Area {
    pub fn new() -> Self {
        Self::with("one")
    }

    /// A ledger of this instance.
    pub fn with(instance: &str) -> Self {
        let context = TargetContext {
            pipeline: "shop".into(),
            sink: "out".into(),
            schema: schema(),
            mode: OutputMode::Append,
            keys: vec!["id".into()],
            instance: instance.into(),
            last_epoch: None,
            adopt: false,
            state_dir: Default::default(),
        };
        Self { dir: tempfile::tempdir().unwrap(), context }
    }

    /// As a daemon opens it whose ledger ends at `last_epoch`.
    pub async fn open(
        &self,
        spec: TargetSpec,
        mode: OutputMode,
        last_epoch: Option<u64>,
    ) -> Result<StagedSink, SinkError> {
        let context = TargetContext { mode, last_epoch, ..self.context.clone() };
        StagedSink::open(&self.dir.path().join("staged"), spec, context).await
    }
}
