//! The life of an epoch.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, error, info};

use crate::telemetry::names;
use crate::telemetry::time::Now;

fn ms(duration: Duration) -> u64 {
    crate::telemetry::time::millis(duration)
}

/// Readers were asked for the barriers of an epoch.
#[derive(Debug)]
pub struct EpochStarted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The epoch's number.
    pub number: u64,
}

impl EpochStarted<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, number } = self;
        debug!(pipeline, epoch = number, "epoch started");
        names::EPOCHS.with([pipeline, "started"]).increment(1);
    }
}

/// Every part of the pipeline has the epoch's barrier from all its inputs.
#[derive(Debug)]
pub struct EpochAligned<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The epoch's number.
    pub number: u64,
    /// Time since the epoch started.
    pub align: Duration,
}

impl EpochAligned<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, number, align } = self;
        debug!(pipeline, epoch = number, align_ms = ms(align), "epoch aligned");
        names::EPOCHS.with([pipeline, "aligned"]).increment(1);
        names::CHECKPOINT_SECONDS.with([pipeline, "align"]).record(align.as_secs_f64());
    }
}

/// The epoch is in the checkpoint store, flushed: whatever is killed now, it will be restored.
#[derive(Debug)]
pub struct EpochDurable<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The epoch's number.
    pub number: u64,
    /// Bytes written for it.
    pub bytes: u64,
    /// State segments written for it.
    pub segments: u64,
    /// Time to take the snapshots and close the files, until all parts were in.
    pub snapshot: Duration,
    /// Time to write and flush.
    pub write: Duration,
}

impl EpochDurable<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, number, bytes, segments, snapshot, write } = self;
        debug!(
            pipeline,
            epoch = number,
            bytes,
            segments,
            snapshot_ms = ms(snapshot),
            write_ms = ms(write),
            "epoch durable"
        );
        names::EPOCHS.with([pipeline, "durable"]).increment(1);
        names::EPOCH_NUMBER.with([pipeline]).set(number as f64);
        names::CHECKPOINT_SECONDS.with([pipeline, "snapshot"]).record(snapshot.as_secs_f64());
        names::CHECKPOINT_SECONDS.with([pipeline, "write"]).record(write.as_secs_f64());
        names::CHECKPOINT_BYTES.with([pipeline]).set(bytes as f64);
        names::CHECKPOINT_BYTES_TOTAL.with([pipeline]).increment(bytes);
        names::CHECKPOINT_SEGMENTS.with([pipeline]).increment(segments);
        names::CHECKPOINT_DURABLE.with([pipeline]).set(Now::read().wall().unix_seconds());
        CheckpointAge { pipeline, age: Duration::ZERO }.emit();
    }
}

/// Every sink has committed what the epoch holds.
#[derive(Debug)]
pub struct EpochCommitted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The epoch's number.
    pub number: u64,
    /// Time from durable to the last sink's commit.
    pub commit: Duration,
    /// Time since the epoch started.
    pub total: Duration,
}

impl EpochCommitted<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, number, commit, total } = self;
        info!(
            pipeline,
            epoch = number,
            commit_ms = ms(commit),
            total_ms = ms(total),
            "epoch committed"
        );
        names::EPOCHS.with([pipeline, "committed"]).increment(1);
        names::CHECKPOINT_SECONDS.with([pipeline, "commit"]).record(commit.as_secs_f64());
    }
}

/// An epoch was given up. The pipeline restarts from the last durable one.
pub struct EpochFailed<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The epoch's number.
    pub number: u64,
    /// Why.
    pub error: &'a dyn Display,
}

impl EpochFailed<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, number, error } = self;
        error!(pipeline, epoch = number, error = %error, "epoch failed");
        names::EPOCHS.with([pipeline, "failed"]).increment(1);
    }
}

/// How long ago the last epoch became durable. The exporter emits it at every scrape, so that it
/// also grows when nothing else moves.
#[derive(Debug)]
pub struct CheckpointAge<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The age.
    pub age: Duration,
}

impl CheckpointAge<'_> {
    /// Counts it; there is no log line.
    pub fn emit(self) {
        names::CHECKPOINT_AGE.with([self.pipeline]).set(self.age.as_secs_f64());
    }
}
