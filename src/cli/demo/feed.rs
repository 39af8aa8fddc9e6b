//! The generator, on a thread of its own, held back by what the embedded broker can keep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::plan::Plan;
use crate::telemetry::progress::{PipelineProgress, PipelineReport};
use crate::weblog::output::{KafkaOptions, KafkaOutput, Output};
use crate::weblog::{self, Generator, Pacer, RunOptions, Stats, WeblogError};

/// The topic that is written and read.
pub const TOPIC: &str = "web-logs";
/// Its partitions.
pub const PARTITIONS: u64 = 4;

/// Records a partition of the embedded broker is trusted to keep: it drops the oldest beyond 5 MiB
/// of batches as they came, which are compressed here. That holds more than 50,000 of these
/// records; a test writes this many and reads them back.
const KEPT: u64 = 24_000;
/// How long a generator that was told to stop waits for room for the records in its hands.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// How often the pipeline is asked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// A demo on a machine that can't keep up ends at last.
const SLOWEST: u32 = 4;

/// Decides whether the broker can take more without dropping what may still be wanted.
///
/// What is wanted is everything from the last durable epoch's positions on: a pipeline that
/// restarts reads from there. Those positions are not told by the pipeline, so they are bounded
/// from below, from the readers' positions and the number of the durable epoch alone: the barrier
/// of an epoch is not sent before the epoch before it is durable. So when epoch `b` is seen to be
/// durable, and before it `a` was, the positions of `b` are not below those seen before `a` was
/// durable.
#[derive(Debug, Default)]
pub struct Backlog {
    epoch: Option<u64>,
    /// Position of the slowest partition when it was last looked at, if it was known.
    last: Option<i64>,
    /// The same, just before `epoch` was seen to be durable.
    before: i64,
    /// No durable position is below this.
    durable: i64,
}

impl Backlog {
    /// What the pipeline shows: its durable epoch, and the next offset that the slowest of its
    /// readers reads, if all of them are at work.
    pub fn observe(&mut self, epoch: Option<u64>, next: Option<i64>) {
        if let Some(next) = next {
            // After a restart, readers begin further back.
            self.before = self.before.min(next);
        }
        if epoch != self.epoch {
            self.durable = self.durable.max(self.before);
            self.before = self.last.unwrap_or(self.before);
            self.epoch = epoch;
        }
        self.last = next;
    }

    /// Whether `more` records can be written after `written`, which went to the partitions in
    /// turn. While the readers are not at work, nothing is.
    pub fn has_room(&self, written: u64, more: usize) -> bool {
        let longest = written.saturating_add(more as u64).div_ceil(PARTITIONS);
        let durable = u64::try_from(self.durable).unwrap_or(0);
        self.last.is_some() && longest.saturating_sub(durable) <= KEPT
    }
}

/// The next offset of the slowest reader, once all partitions have one.
pub fn slowest(report: &PipelineReport) -> Option<i64> {
    let partitions = &report.sources.first()?.partitions;
    let offsets: Vec<i64> = partitions.iter().filter_map(|p| p.next_offset).collect();
    if offsets.len() as u64 == PARTITIONS { offsets.into_iter().min() } else { None }
}

/// Records that the readers have taken.
pub fn taken(report: &PipelineReport) -> u64 {
    let partitions = report.sources.iter().flat_map(|source| &source.partitions);
    partitions.filter_map(|p| p.next_offset).filter_map(|next| u64::try_from(next).ok()).sum()
}

/// An output that waits for room before it writes.
struct Gate<O> {
    inner: O,
    progress: Arc<PipelineProgress>,
    backlog: Backlog,
    looked: Option<Instant>,
    written: u64,
    /// Records that found no room before the end.
    abandoned: u64,
    stop: &'static AtomicBool,
}

impl<O: Output> Gate<O> {
    fn look(&mut self) {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            let report = self.progress.snapshot();
            self.backlog.observe(report.epoch, slowest(&report));
            self.looked = Some(Instant::now());
        }
    }

    /// Waits for room; whether there is any.
    fn wait(&mut self, records: usize) -> bool {
        let mut stopped: Option<Instant> = None;
        loop {
            self.look();
            if self.backlog.has_room(self.written, records) {
                return true;
            }
            if self.stop.load(Ordering::Relaxed)
                && stopped.get_or_insert_with(Instant::now).elapsed() >= LAST_WAIT
            {
                return false;
            }
            self.inner.pause(LOOK);
        }
    }
}

impl<O: Output> Output for Gate<O> {
    fn write(&mut self, buffer: &[u8], ends: &[usize]) -> Result<(), WeblogError> {
        if !self.wait(ends.len()) {
            self.abandoned += ends.len() as u64;
            return Ok(());
        }
        self.inner.write(buffer, ends)?;
        self.written += ends.len() as u64;
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        self.look();
        self.inner.pause(time);
    }

    fn finish(&mut self) -> Result<(), WeblogError> {
        self.inner.finish()
    }

    fn failed(&self) -> u64 {
        self.inner.failed() + self.abandoned
    }

    fn notice(&mut self) -> Option<String> {
        self.inner.notice()
    }
}

/// What was written, when all is.
#[derive(Debug)]
pub struct Written {
    /// What the generator made.
    pub stats: Stats,
    /// How far it came.
    pub progress: weblog::Progress,
    /// Why it ended early, if something failed.
    pub error: Option<String>,
}

impl Written {
    /// Records that are in the broker.
    pub fn records(&self) -> u64 {
        self.progress.records.saturating_sub(self.progress.failed)
    }
}

/// A generator at work.
pub struct Feed {
    shown: Arc<Mutex<weblog::Progress>>,
    thread: JoinHandle<Written>,
}

impl Feed {
    /// Starts to write the plan's log into the embedded broker. Setting `stop` ends it early.
    ///
    /// # Errors
    /// The generator's, for options that make no sense, and the thread's.
    pub fn start(
        plan: &Plan,
        brokers: String,
        progress: Arc<PipelineProgress>,
        stop: &'static AtomicBool,
    ) -> anyhow::Result<Self> {
        let mut generator = Generator::new(plan.options.clone())?;
        let options = RunOptions {
            until: plan.until,
            count: u64::MAX,
            pacer: Some(Pacer::new(plan.start, plan.options.time_scale)),
            wall_limit: Some(plan.wall.saturating_mul(SLOWEST) + Duration::from_secs(60)),
        };
        let start = weblog::Progress { event_time: plan.start, ..weblog::Progress::default() };
        let shown = Arc::new(Mutex::new(start));
        let show = Arc::clone(&shown);
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(move || {
            let mut last = start;
            let mut tell = |now: &weblog::Progress, notice: Option<String>| {
                last = *now;
                *show.lock().unwrap_or_else(PoisonError::into_inner) = *now;
                if let Some(notice) = notice {
                    tracing::warn!(error = notice, "the generator has trouble");
                }
            };
            let result = output(brokers, progress, stop).and_then(|mut output| {
                weblog::run(&mut generator, &mut output, options, stop, &mut tell)
            });
            let error = result.err().map(|error| error.to_string());
            Written { stats: generator.stats().clone(), progress: last, error }
        })?;
        Ok(Self { shown, thread })
    }

    /// How far it has come.
    pub fn progress(&self) -> weblog::Progress {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything is written.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    pub fn finish(self) -> Written {
        let shown = self.progress();
        self.thread.join().unwrap_or_else(|_| Written {
            stats: Stats::default(),
            progress: shown,
            error: Some("the generator panicked; the log has the reason".to_owned()),
        })
    }
}

fn output(
    brokers: String,
    progress: Arc<PipelineProgress>,
    stop: &'static AtomicBool,
) -> Result<Gate<KafkaOutput>, WeblogError> {
    let options = KafkaOptions { brokers, topic: TOPIC.to_owned(), ..KafkaOptions::default() };
    Ok(Gate {
        inner: KafkaOutput::connect(options, stop)?,
        progress,
        backlog: Backlog::default(),
        looked: None,
        written: 0,
        abandoned: 0,
        stop,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

    use super::*;
    use crate::source::kafka::embedded::EmbeddedBroker;
    use crate::weblog::{GeneratorOptions, Rate};

    #[test]
    fn nothing_is_written_before_the_readers_are_at_work() {
        let mut backlog = Backlog::default();
        assert!(!backlog.has_room(0, 1));
        backlog.observe(None, None);
        assert!(!backlog.has_room(0, 1));
        backlog.observe(None, Some(0));
        assert!(backlog.has_room(0, 256));
        assert!(backlog.has_room(PARTITIONS * KEPT - 256, 256));
        assert!(!backlog.has_room(PARTITIONS * KEPT, 1));
    }

    #[test]
    fn room_is_made_by_epochs_and_not_by_reading() {
        let full = PARTITIONS * KEPT;
        let mut backlog = Backlog::default();
        backlog.observe(None, Some(0));
        backlog.observe(None, Some(9_000));
        assert!(!backlog.has_room(full, 1), "read, and not durable");
        backlog.observe(Some(1), Some(10_000));
        assert!(!backlog.has_room(full, 1), "the first epoch may have begun at once");
        backlog.observe(Some(1), Some(12_000));
        backlog.observe(Some(2), Some(15_000));
        // Epoch 2 began after epoch 1 was durable, and that was after 9,000 had been read.
        assert!(backlog.has_room(full, 9_000 * PARTITIONS as usize));
        assert!(!backlog.has_room(full, 9_001 * PARTITIONS as usize));
        backlog.observe(Some(3), Some(16_000));
        assert!(backlog.has_room(full, 12_000 * PARTITIONS as usize));
    }

    #[test]
    fn a_restart_takes_back_what_was_only_read() {
        let mut backlog = Backlog::default();
        for (epoch, next) in [(1, 1_000), (1, 5_000), (2, 6_000), (2, 9_000)] {
            backlog.observe(Some(epoch), Some(next));
        }
        backlog.observe(Some(2), None);
        assert!(!backlog.has_room(0, 1), "nobody reads");
        // Epoch 2 was at 5,500; epoch 3 comes soon after it.
        backlog.observe(Some(2), Some(5_500));
        backlog.observe(Some(3), Some(5_600));
        backlog.observe(Some(4), Some(5_700));
        assert!(backlog.durable <= 5_500, "{backlog:?}");
    }

    /// Keeps what it is given, and never reads.
    struct Counting(u64);

    impl Output for Counting {
        fn write(&mut self, _: &[u8], ends: &[usize]) -> Result<(), WeblogError> {
            self.0 += ends.len() as u64;
            Ok(())
        }

        fn finish(&mut self) -> Result<(), WeblogError> {
            Ok(())
        }
    }

    #[test]
    fn the_gate_holds_the_generator_back_until_it_is_told_to_stop() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let progress = PipelineProgress::new("test");
        for partition in 0..PARTITIONS {
            progress.source("logs").partition(&format!("{TOPIC}-{partition}")).starts_at(0);
        }
        let mut gate = Gate {
            inner: Counting(0),
            progress,
            backlog: Backlog::default(),
            looked: None,
            written: 0,
            abandoned: 0,
            stop: &STOP,
        };
        let options =
            GeneratorOptions { rate: Rate::PerEventSecond(1e6), ..GeneratorOptions::default() };
        let mut generator = Generator::new(options).expect("the options make sense");
        let stopper = std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            STOP.store(true, Ordering::Relaxed);
        });
        let options =
            RunOptions { until: i64::MAX, count: u64::MAX, pacer: None, wall_limit: None };
        let mut last = weblog::Progress::default();
        weblog::run(&mut generator, &mut gate, options, &STOP, &mut |now, _| last = *now)
            .expect("nothing fails");
        stopper.join().expect("it only sleeps");
        assert!(gate.inner.0 <= PARTITIONS * KEPT && gate.inner.0 > PARTITIONS * KEPT - 512);
        assert_eq!(last.records - last.failed, gate.inner.0, "what was not written is told");
    }

    #[test]
    fn the_broker_keeps_what_it_is_trusted_to_keep() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let broker = EmbeddedBroker::start().expect("a broker");
        broker.create_topic(TOPIC, 1).expect("a topic");
        let options = KafkaOptions {
            brokers: broker.brokers(),
            topic: TOPIC.to_owned(),
            ..KafkaOptions::default()
        };
        let mut output = KafkaOutput::connect(options, &STOP).expect("it answers");
        let mut generator = Generator::new(GeneratorOptions::default()).expect("the defaults");
        let options = RunOptions { until: i64::MAX, count: KEPT, pacer: None, wall_limit: None };
        weblog::run(&mut generator, &mut output, options, &STOP, &mut |_, _| ()).expect("written");

        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.brokers())
            .set("group.id", "test")
            .create()
            .expect("a consumer");
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(TOPIC, 0, Offset::Offset(0)).expect("an offset");
        consumer.assign(&start).expect("assigned");
        let (low, high) =
            consumer.fetch_watermarks(TOPIC, 0, Duration::from_secs(10)).expect("its offsets");
        assert_eq!((low, high), (0, KEPT as i64), "nothing was dropped");
    }
}
