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

/// How a daemon ends in the middle of a call.
fn crash(point: &str, times: usize) {
    fail::cfg(point, &format!("{times}*panic(killed)->off")).unwrap();
}

/// Runs `epochs` through a sink and kills the daemon at `point` in epoch `at`, `times` times in a
/// row, then lets it go on to the end. The ledger is the loop's own: what `prepare` returned is in
/// it, and a daemon that was killed before reads the rows again.
///
/// # Panics
/// If anything but the kill fails.
pub(crate) async fn killed_at(
    area: &Area,
    spec: impl Fn() -> TargetSpec,
    mode: OutputMode,
    epochs: &[Vec<(i64, &str)>],
    (point, at, times): (&str, u64, usize),
) {
    use futures::FutureExt;
    use std::panic::AssertUnwindSafe;

    let scenario = fail::FailScenario::setup();
    let mut ledger: Option<(u64, super::Staged)> = None;
    let (mut armed, mut deaths) = (false, 0);
    'daemon: loop {
        let last = ledger.as_ref().map(|(epoch, _)| *epoch);
        let mut sink = area.open(spec(), mode, last).await.unwrap();
        let recovered = async {
            match &ledger {
                Some((epoch, staged)) => sink.recover(*epoch, staged, false).await.map(drop),
                None => sink.discard_except(&[]),
            }
        };
        match AssertUnwindSafe(recovered).catch_unwind().await {
            Ok(result) => result.unwrap(),
            Err(_) => {
                deaths += 1;
                assert!(deaths < 10, "{point} never ends");
                continue 'daemon;
            }
        }
        for epoch in last.unwrap_or(0) + 1..=epochs.len() as u64 {
            let rows = &epochs[epoch as usize - 1];
            for row in rows {
                sink.write(&batch_of(&[*row])).await.unwrap();
            }
            if epoch == at && !armed {
                armed = true;
                crash(point, times);
            }
            let done = AssertUnwindSafe(async {
                let staged = sink.prepare(epoch).await.unwrap();
                ledger = Some((epoch, staged));
                sink.commit(epoch).await.unwrap();
            });
            if done.catch_unwind().await.is_err() {
                deaths += 1;
                assert!(deaths < 10, "{point} never ends");
                continue 'daemon;
            }
        }
        break;
    }
    assert_eq!(deaths, times, "the daemon was to be killed at {point}");
    scenario.teardown();
}

/// The points that every staged sink passes.
pub(crate) const STAGED_POINTS: [&str; 4] =
    ["staged::prepare", "staged::prepared", "staged::commit", "staged::committed"];
