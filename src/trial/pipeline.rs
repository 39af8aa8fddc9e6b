//! A pipeline with its sources, run on a clock that is moved.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::rows::{Row, RowError, rows_of};
use super::run::{Dropped, Trial};
use crate::codec::dead_letter::DeadLetter;
use crate::codec::{AppendError, CodecError, Decoder};
use crate::event_time::{MovedClock, WatermarkOptions, WatermarkTracker};
use crate::graph::{Graph, GraphError};
use crate::source::{Envelope, Record, RecordMeta, TimestampType};
use crate::sql::{Finish, RejectedRows, SqlError, Tally};

/// A source whose records come from a test.
#[derive(Debug)]
pub struct TrialSource {
    /// All columns, metadata columns included.
    pub schema: SchemaRef,
    /// The columns that are decoded, as indexes into the schema: what queries read, and the event
    /// time.
    pub projection: Vec<usize>,
    /// Its batches have the columns of the projection. Nothing for sources that have columns of
    /// their own, to which no lines can come.
    pub decoder: Option<Decoder>,
    /// The longest record that is accepted, in bytes.
    pub record_bytes: usize,
    /// Whether lines are those of a file whose first one is a header.
    pub header: bool,
    /// How its event time advances.
    pub watermark: Option<TrialWatermark>,
}

/// How a source's event time advances.
#[derive(Debug, Clone)]
pub struct TrialWatermark {
    /// The column that holds it.
    pub column: String,
    /// The source counts as one partition.
    pub options: WatermarkOptions,
}

/// What arrives at a source.
#[derive(Debug, Clone, Copy)]
pub enum Arrival<'a> {
    /// Rows by the source's columns, past its decoder.
    Rows(&'a [Row]),
    /// Records, through its decoder.
    Lines(&'a [String]),
}

impl Arrival<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Rows(rows) => rows.is_empty(),
            Self::Lines(lines) => lines.is_empty(),
        }
    }
}

/// What a batch came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Each query's rows, by its place in the graph.
    pub output: Vec<Vec<RecordBatch>>,
    /// What each query dropped in this batch, with what those that it reads did.
    pub dropped: Vec<Dropped>,
    /// Records that could not be read, with their source's place.
    pub dead_letters: Vec<(usize, DeadLetter)>,
    /// What each query's rules came to, by rule; empty where there are none, or no rows.
    pub checked: Vec<Vec<Tally>>,
    /// Rows that rules sent to the dead letters, with their query.
    pub rejected: Vec<(usize, RejectedRows)>,
    /// Each source's watermark after the batch, in microseconds.
    pub watermarks: Vec<Option<i64>>,
}

/// Why a pipeline cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A feed, operator or expression failed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// ORDER BY failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Rows are none of the source's.
    #[error("{error}")]
    Row {
        /// Which of the batch's arrivals.
        arrival: usize,
        /// Why.
        error: RowError,
    },
    /// A source that has no decoder gets lines.
    #[error("the source has columns of its own, which no format makes of lines")]
    NoFormat {
        /// Which of the batch's arrivals.
        arrival: usize,
    },
    /// A schema registry does not answer, or a batch is larger than Arrow can hold.
    #[error("{error}")]
    Decode {
        /// Which of the batch's arrivals.
        arrival: usize,
        /// Why.
        error: AppendError,
    },
    /// Decoded rows do not fit their schema.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

struct Source {
    described: TrialSource,
    decoded: SchemaRef,
    /// Where the event time is among the decoded columns, and how far it has come.
    time: Option<(usize, WatermarkTracker<()>)>,
    /// Records so far.
    offset: i64,
    /// Lines so far, and the header line.
    lines: u64,
    header: Option<Arc<[u8]>>,
}

/// A graph with sources, operators and a clock.
pub struct Pipeline {
    trial: Trial,
    sources: Vec<Source>,
    finish: Vec<Option<Finish>>,
    /// The queries that each query's rows have come through, itself among them.
    upstream: Vec<BTreeSet<usize>>,
    /// The wall clock of the last batch.
    now: Option<i64>,
    before: Vec<Dropped>,
}

impl Pipeline {
    /// `sources` in the graph's order. Each operator has `shards` shards.
    ///
    /// # Errors
    /// A feed or operator cannot be put together.
    pub fn new(
        graph: Arc<Graph>,
        sources: Vec<TrialSource>,
        shards: usize,
    ) -> Result<Self, TrialError> {
        let mut ready = Vec::new();
        for described in sources {
            let decoded = Arc::new(
                described
                    .schema
                    .project(&described.projection)
                    .map_err(|error| TrialError::Codec(error.into()))?,
            );
            let time = described.watermark.as_ref().and_then(|watermark| {
                let column = decoded.index_of(&watermark.column).ok()?;
                Some((column, WatermarkTracker::new(watermark.options)))
            });
            ready.push(Source { described, decoded, time, offset: 0, lines: 0, header: None });
        }
        let decoded: Vec<_> = ready.iter().map(|source| source.decoded.clone()).collect();
        let timed: Vec<_> = ready.iter().map(|source| source.time.is_some()).collect();
        let queries = graph.queries();
        let finish = queries
            .iter()
            .map(|plan| {
                let bind =
                    |finish: &crate::sql::FinishPlan| finish.bind(&plan.name, &plan.output_schema);
                plan.finish.as_ref().map(bind).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let upstream = (0..queries.len()).map(|query| graph.queries_behind(query)).collect();
        let before = vec![Dropped::default(); queries.len()];
        let trial = Trial::sharded(graph, &decoded, &timed, shards)?;
        Ok(Self { trial, sources: ready, finish, upstream, now: None, before })
    }

    /// A batch, as one epoch of the daemon: records arrive at sources, by their places; then their
    /// watermarks move; then the trigger comes. `at` is the wall clock of all that, in microseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// See [`TrialError`]. The pipeline is of no use after one.
    pub fn batch(
        &mut self,
        at: i64,
        arrivals: &[(usize, Arrival<'_>)],
    ) -> Result<Outcome, TrialError> {
        let _clock = MovedClock::at(at);
        self.start(at);
        let mut dead_letters = Vec::new();
        for (arrival, (source, records)) in arrivals.iter().enumerate() {
            let here = &mut self.sources[*source];
            let rows = match records {
                Arrival::Rows(rows) => {
                    here.rows(rows).map_err(|error| TrialError::Row { arrival, error })?
                }
                Arrival::Lines(lines) => {
                    let mut bad = Vec::new();
                    let rows = here.decode(at, lines, arrival, &mut bad)?;
                    dead_letters.extend(bad.into_iter().map(|letter| (*source, letter)));
                    rows
                }
            };
            if !records.is_empty() {
                here.observe(at, &rows);
            }
            if rows.num_rows() > 0 {
                self.trial.rows(*source, &rows)?;
            }
        }
        self.finish_batch(at, dead_letters)
    }

    /// The end of all input: watermarks go to infinity, so that all windows close, and a last
    /// trigger comes.
    ///
    /// # Errors
    /// As for [`batch`](Self::batch).
    pub fn end(&mut self, at: i64) -> Result<Outcome, TrialError> {
        let _clock = MovedClock::at(at);
        self.start(at);
        for (_, tracker) in self.sources.iter_mut().filter_map(|source| source.time.as_mut()) {
            tracker.finish(&());
        }
        self.finish_batch(at, Vec::new())
    }

    /// As [`Trial::snapshot`].
    ///
    /// # Errors
    /// As for [`Trial::snapshot`].
    pub fn snapshot(&mut self) -> Result<(), TrialError> {
        Ok(self.trial.snapshot()?)
    }

    /// As [`Trial::restart`], at the time of the last batch.
    ///
    /// # Errors
    /// As for [`Trial::restart`].
    pub fn restart(&mut self, shards: usize) -> Result<(), TrialError> {
        let _clock = self.now.map(MovedClock::at);
        Ok(self.trial.restart(shards)?)
    }

    /// How many shards each operator has.
    pub fn shards(&self) -> usize {
        self.trial.shards()
    }

    fn start(&mut self, at: i64) {
        if self.now.replace(at).is_none() {
            for (_, tracker) in self.sources.iter_mut().filter_map(|source| source.time.as_mut()) {
                tracker.add((), None, millis(at));
            }
        }
    }

    fn finish_batch(
        &mut self,
        at: i64,
        dead_letters: Vec<(usize, DeadLetter)>,
    ) -> Result<Outcome, TrialError> {
        let mut watermarks = Vec::new();
        for (source, state) in self.sources.iter_mut().enumerate() {
            let reached = state.time.as_mut().and_then(|(_, tracker)| tracker.advance(millis(at)));
            if let Some(time) = reached {
                self.trial.watermark(source, time)?;
            }
            watermarks.push(reached);
        }
        self.trial.trigger()?;
        let mut output = vec![Vec::new(); self.finish.len()];
        for found in self.trial.take_output() {
            output[found.query].push(found.rows);
        }
        for (rows, finish) in output.iter_mut().zip(&self.finish) {
            if let Some(finish) = finish {
                *rows = finish.apply(rows)?;
            }
        }
        let now: Vec<_> = (0..self.before.len()).map(|query| self.trial.dropped(query)).collect();
        let new: Vec<_> =
            now.iter().zip(&self.before).map(|(now, before)| *now - *before).collect();
        let dropped = self.upstream.iter().map(|queries| queries.iter().map(|q| new[*q]).sum());
        let dropped = dropped.collect();
        self.before = now;
        let (checked, rejected) = (self.trial.take_checked(), self.trial.take_rejected());
        Ok(Outcome { output, dropped, dead_letters, checked, rejected, watermarks })
    }
}

impl Source {
    fn rows(&self, rows: &[Row]) -> Result<RecordBatch, RowError> {
        let all = rows_of(rows, &self.described.schema)?;
        let internal = |error: arrow::error::ArrowError| RowError {
            row: 0,
            message: error.to_string(),
            help: None,
        };
        all.project(&self.described.projection).map_err(internal)
    }

    /// One record a line, as the source's reader sees it.
    fn decode(
        &mut self,
        at: i64,
        lines: &[String],
        arrival: usize,
        bad: &mut Vec<DeadLetter>,
    ) -> Result<RecordBatch, TrialError> {
        let Some(decoder) = &mut self.described.decoder else {
            return Err(TrialError::NoFormat { arrival });
        };
        let limit = self.described.record_bytes;
        for line in lines {
            self.lines += 1;
            if self.described.header && self.header.is_none() {
                self.header = Some(line.as_bytes().into());
                continue;
            }
            if line.len() > limit {
                bad.push(DeadLetter::oversized(line.len(), limit));
                continue;
            }
            let record = Record {
                offset: self.offset,
                payload: Some(line.as_bytes()),
                key: None,
                meta: RecordMeta {
                    envelope: Envelope::Known {
                        timestamp_us: Some(at),
                        timestamp_type: TimestampType::CreateTime,
                        headers: &[],
                    },
                    line: Some(self.lines),
                    header: self.header.as_ref(),
                    ..RecordMeta::default()
                },
            };
            self.offset += 1;
            match decoder.append(&record) {
                Ok(()) | Err(AppendError::NoRow) => {}
                Err(AppendError::Bad(error)) => bad.push(DeadLetter::from(&error)),
                Err(error) => return Err(TrialError::Decode { arrival, error }),
            }
        }
        Ok(decoder.finish()?)
    }

    /// As a reader tells the tracker.
    fn observe(&mut self, at: i64, rows: &RecordBatch) {
        let Some((column, tracker)) = &mut self.time else { return };
        let times = rows.column(*column).as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.filter(|times| times.null_count() < times.len());
        tracker.observe(&(), times.and_then(compute::max), millis(at));
    }
}

fn millis(us: i64) -> i64 {
    us.div_euclid(1_000)
}
