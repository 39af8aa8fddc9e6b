//! How far event time has come, over all partitions of a source.
//!
//! Readers report after they have sent a batch on, and this actor tells the aggregators after
//! that. Mailboxes are first in, first out, so a watermark can't overtake the rows it speaks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::prelude::*;

use super::child::Health;
use super::flow::{Item, Outlet};
use crate::event_time::{WatermarkOptions, WatermarkTracker as Tracker};
use crate::source::PartitionId;
use crate::telemetry::events::{PartitionActive, PartitionIdle, WatermarkAdvanced};
use crate::telemetry::progress::PipelineProgress;

/// How often idleness is looked at.
const TICK: Duration = Duration::from_millis(500);

/// The watermark as readers see it, to wait for the others when they are far ahead.
#[derive(Clone, Debug, Default)]
pub struct SharedWatermark(Arc<AtomicI64>);

impl SharedWatermark {
    /// No watermark yet.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(i64::MIN)))
    }

    /// The watermark, if there is one.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != i64::MIN)
    }

    fn set(&self, time: i64) {
        self.0.store(time, Ordering::Relaxed);
    }
}

/// A reader has sent rows on, or (with `None`) is alive but held up by ourselves.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Seen {
    /// Whose.
    pub partition: PartitionId,
    /// The newest event time in what was sent, in microseconds.
    pub max_event_time: Option<i64>,
}

/// Answered when all that was sent before has been passed on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CatchUp;

/// See the module's documentation.
pub struct WatermarkTracker {
    pub(super) pipeline: Arc<str>,
    pub(super) health: Arc<Health>,
    pub(super) progress: Arc<PipelineProgress>,
    pub(super) options: WatermarkOptions,
    pub(super) tracker: Tracker<PartitionId>,
    /// Partitions with what the checkpoint knows of their event time.
    pub(super) partitions: Vec<(PartitionId, Option<i64>)>,
    pub(super) shared: SharedWatermark,
    /// Every aggregator of every query on the source.
    pub(super) outlets: Vec<Outlet>,
    pub(super) idle: Vec<PartitionId>,
}

impl WatermarkTracker {
    fn announce(&mut self) {
        let Some(watermark) = self.tracker.advance(now_ms()) else { return };
        self.shared.set(watermark);
        self.progress.watermark(watermark);
        WatermarkAdvanced { pipeline: &self.pipeline, watermark }.emit();
        for outlet in &self.outlets {
            outlet.send(0, Item::Watermark(watermark));
        }
    }

    fn look_for_idle(&mut self) {
        let now = now_ms();
        let mut idle = Vec::new();
        for (partition, state) in self.tracker.partitions(now) {
            let source = self.progress.source(&partition.source);
            let shown = source.partition(&partition.split);
            shown.idle(state.idle);
            if let Some(max) = state.max_event_time {
                shown.watermark(max.saturating_sub(self.options.delay_us));
            }
            let was = self.idle.contains(partition);
            if state.idle {
                idle.push(partition.clone());
                if !was {
                    let quiet = self.options.idle_timeout_ms.unwrap_or_default();
                    PartitionIdle {
                        pipeline: &self.pipeline,
                        source: &partition.source,
                        partition: &partition.split,
                        quiet: Duration::from_millis(quiet),
                    }
                    .emit();
                }
            } else if was {
                PartitionActive {
                    pipeline: &self.pipeline,
                    source: &partition.source,
                    partition: &partition.split,
                }
                .emit();
            }
        }
        self.idle = idle;
    }
}

impl Actor for WatermarkTracker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        let now = now_ms();
        for (partition, max_event_time) in self.partitions.drain(..) {
            self.tracker.add(partition, max_event_time, now);
        }
        self.announce();
        ctx.run_interval(TICK, |actor, _| {
            actor.look_for_idle();
            actor.announce();
        });
    }
}

impl Handler<CatchUp> for WatermarkTracker {
    type Result = ();

    fn handle(&mut self, _: CatchUp, _: &mut Self::Context) {}
}

impl Handler<Seen> for WatermarkTracker {
    type Result = ();

    fn handle(&mut self, seen: Seen, _: &mut Self::Context) {
        self.health.dequeued();
        let _busy = self.health.busy();
        fail::fail_point!("watermark_tracker");
        self.tracker.observe(&seen.partition, seen.max_event_time, now_ms());
        self.announce();
    }
}

/// Milliseconds since the epoch by the wall clock.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis().min(i64::MAX as u128) as i64)
}
