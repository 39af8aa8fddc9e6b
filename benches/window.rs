//! Speed of the aggregation beside a reader and of merging what it makes.
//!
//! Prints input rows per second of CPU time (user and system, of this one thread) for batches of
//! 8,192 rows, and for a million running results the memory they take and the time and bytes of a
//! snapshot: `cargo bench --bench window`.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millpond::operator::{Operator, Router};
use millpond::sql::{
    BoundMap, Catalog, OutputMode, QueryPlan, QueryRequest, SourceTable, Target, plan,
};

const BATCH: usize = 8_192;
const BATCHES: usize = 500;
/// Events a second of event time, as in the benchmark's workload.
const RATE: i64 = 1_000;

/// The benchmark's Q1.
const Q1: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt, \
    avg(response_time_ms) AS avg_rt, max(response_time_ms) AS max_rt, \
    sum(CASE WHEN status_code >= 500 THEN 1 ELSE 0 END) AS errors \
    FROM logs GROUP BY window(timestamp, '1 minute'), endpoint";

const BY_IP: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt \
    FROM logs GROUP BY window(timestamp, '10 seconds'), endpoint";

const TWO_KEYS: &str = "SELECT window.start AS s, endpoint, status_code, count(*) AS cnt, \
    stddev(response_time_ms) AS deviation FROM logs WHERE status_code >= 200 \
    GROUP BY window(timestamp, '1 minute'), endpoint, status_code";

/// The benchmark's Q2.
const Q2: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt \
    FROM logs GROUP BY window(timestamp, '10 minutes', '10 seconds'), endpoint";

const Q2_MORE: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt, \
    avg(response_time_ms) AS avg_rt, max(response_time_ms) AS max_rt \
    FROM logs GROUP BY window(timestamp, '10 minutes', '10 seconds'), endpoint";

/// A sixth of Q2's overlap, and ten times that with few keys: the cost of a row must not follow.
const SHORT: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt \
    FROM logs GROUP BY window(timestamp, '100 seconds', '10 seconds'), endpoint";
const LONG: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt \
    FROM logs GROUP BY window(timestamp, '10 minutes', '1 second'), endpoint";

const SESSIONS: &str = "SELECT session_window.start AS s, endpoint, count(*) AS cnt, \
    avg(response_time_ms) AS avg_rt, max(response_time_ms) AS max_rt \
    FROM logs GROUP BY session_window(timestamp, '1 minute'), endpoint";

const RUNNING: &str = "SELECT endpoint, count(*) AS cnt, sum(response_time_ms) AS total, \
    max(response_time_ms) AS high FROM logs GROUP BY endpoint";

const MAP: &str = "SELECT *, to_date(timestamp) AS date, hour(timestamp) AS hour, \
    date_format(timestamp, 'yyyy-MM-dd HH') AS day_hour FROM logs";

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("timestamp", time, true),
        Field::new("endpoint", DataType::Utf8, true),
        Field::new("status_code", DataType::Int32, true),
        Field::new("response_time_ms", DataType::Float64, true),
    ]))
}

/// A small generator, so that every run sees the same rows (splitmix64, Sebastiano Vigna).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Batches of rows in nearly the order of their times, up to 30 s out of it, with keys from `key`.
fn batches(mut key: impl FnMut(&mut Random) -> String) -> Vec<RecordBatch> {
    let mut random = Random(7);
    let start = 1_767_307_200_000_000_i64;
    (0..BATCHES)
        .map(|batch| {
            let times: TimestampMicrosecondArray = (0..BATCH)
                .map(|row| {
                    let at = (batch * BATCH + row) as i64 * 1_000_000 / RATE;
                    Some(start + at - (random.unit() * 30e6) as i64)
                })
                .collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(times.with_timezone("UTC")),
                Arc::new((0..BATCH).map(|_| Some(key(&mut random))).collect::<StringArray>()),
                Arc::new(
                    (0..BATCH)
                        .map(|_| {
                            Some(
                                [200, 200, 200, 200, 304, 404, 500, 503]
                                    [random.next() as usize % 8],
                            )
                        })
                        .collect::<Int32Array>(),
                ),
                Arc::new((0..BATCH).map(|_| Some(random.unit() * 500.0)).collect::<Float64Array>()),
            ];
            RecordBatch::try_new(schema(), columns).expect("columns of the schema above")
        })
        .collect()
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    // SAFETY: getrusage fills the struct it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn query(sql: &str, mode: OutputMode) -> QueryPlan {
    let logs = SourceTable {
        name: "logs".to_owned(),
        schema: schema(),
        event_time: Some("timestamp".to_owned()),
        watermark_delay_us: Some(120_000_000),
    };
    let request = QueryRequest { name: "bench", sql, mode, ..QueryRequest::default() };
    let catalog = Catalog { sources: &[logs], ..Catalog::default() };
    plan(&request, &catalog).unwrap_or_else(|error| panic!("{error}"))
}

/// What runs beside a reader: the feed to the aggregation, and its router.
fn reader(plan: &QueryPlan) -> (BoundMap, Box<dyn Router>) {
    let feed = plan.feeds.iter().find(|feed| feed.to != Target::Output);
    let feed = feed.expect("the query has windows").bind("bench", &schema());
    (feed.expect("planned before"), plan.operators[0].router(0).expect("planned before"))
}

/// The best of five runs, in millions of rows per CPU second.
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let before = cpu();
        run();
        best = best.min(cpu() - before);
    }
    (BATCH * BATCHES) as f64 / best / 1e6
}

fn aggregate(name: &str, sql: &str, batches: &[RecordBatch]) {
    in_mode(name, sql, OutputMode::Append, batches);
}

/// Rows through the router, and what that makes through the state, with a trigger and a snapshot
/// every 50 batches.
fn in_mode(name: &str, sql: &str, mode: OutputMode, batches: &[RecordBatch]) {
    let plan = query(sql, mode);
    let batches: Vec<RecordBatch> = batches.to_vec();
    let mut partials = vec![];
    let speed = best(|| {
        let (mut feed, mut router) = reader(&plan);
        partials = batches
            .iter()
            .filter_map(|batch| {
                let rows = feed.apply(batch).expect("the batch fits the plan");
                router.route(&rows, 1).expect("the rows fit the plan").parts.remove(0)
            })
            .collect();
    });
    let groups: usize = partials.iter().map(RecordBatch::num_rows).sum();
    println!(
        "{name:<36} pre-aggregate {speed:>6.1} M rows/s   ({:.0} partial rows a batch)",
        groups as f64 / BATCHES as f64
    );
    let (mut closed, mut bytes) = (0, 0);
    let speed = best(|| {
        let mut state = plan.operators[0].operator().expect("planned before");
        closed = 0;
        for (number, partial) in partials.iter().enumerate() {
            let mut batches = vec![];
            black_box(state.rows(0, partial, &mut batches).expect("made for this plan"));
            let newest = 1_767_307_200_000_000 + (number * BATCH) as i64 * 1_000_000 / RATE;
            state.advance(newest - 120_000_000, &mut batches).expect("evaluates");
            if number % 50 == 49 {
                state.trigger(&mut batches).expect("evaluates");
                black_box(state.snapshot().expect("encodes"));
                bytes = bytes.max(state.stats().bytes);
            }
            closed += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
    });
    println!(
        "{:<36} merge and close {speed:>4.1} M rows/s   ({closed} rows out, {} MB)",
        "",
        bytes >> 20
    );
}

/// Running results of so many keys: memory, and what a snapshot costs by how many changed.
fn running(keys: usize) {
    let plan = query(RUNNING, OutputMode::Update);
    let (mut feed, mut router) = reader(&plan);
    let mut state = plan.operators[0].operator().expect("planned before");
    let mut random = Random(11);
    let mut run = |state: &mut Box<dyn Operator>, mut keys: &mut dyn Iterator<Item = u64>| {
        let mut out = vec![];
        loop {
            let keys: Vec<u64> = (&mut keys).take(BATCH).collect();
            if keys.is_empty() {
                return out;
            }
            let rows = key_batch(&keys, &mut random);
            let rows = feed.apply(&rows).expect("the batch fits the plan");
            let routed = router.route(&rows, 1).expect("the rows fit the plan");
            for part in routed.parts.into_iter().flatten() {
                state.rows(0, &part, &mut out).expect("made for this plan");
            }
        }
    };
    let before = resident();
    let start = cpu();
    run(&mut state, &mut (0..keys as u64));
    let merged = cpu() - start;
    let mut out = vec![];
    state.trigger(&mut out).expect("evaluates");
    drop(out);
    let first = state.snapshot().expect("encodes");
    let bytes: usize = first.segments.iter().map(|segment| segment.bytes.len()).sum();
    drop(first);
    println!(
        "running, {keys} keys: {:.1} M rows/s in, {} MB of state, {} MB more resident, first snapshot {:.1} MB, {:.2} s in all",
        keys as f64 / merged / 1e6,
        state.stats().bytes >> 20,
        (resident() - before) >> 20,
        bytes as f64 / 1e6,
        cpu() - start,
    );
    for changed in [100, 1_000, 10_000, 100_000] {
        let (mut rows, mut bytes, mut worst_bytes, mut time, mut worst) = (0, 0, 0, 0.0, 0.0_f64);
        let rounds = 60;
        for round in 0..rounds {
            let mut random = Random(round + changed);
            let mut touched = (0..changed).map(|_| random.next() % keys as u64);
            run(&mut state, &mut touched);
            let start = cpu();
            let mut out = vec![];
            state.trigger(&mut out).expect("evaluates");
            let delta = state.snapshot().expect("encodes");
            let took = cpu() - start;
            rows += out.iter().map(RecordBatch::num_rows).sum::<usize>();
            let size: usize = delta.segments.iter().map(|segment| segment.bytes.len()).sum();
            (bytes, worst_bytes) = (bytes + size, worst_bytes.max(size));
            (time, worst) = (time + took, worst.max(took));
        }
        println!(
            "  {changed:>7} rows an epoch: {:>8.0} groups shown, trigger and snapshot {:>6.2} ms (worst {:>6.2}), {:>8.1} kB (worst {:>8.1}); state {} MB",
            rows as f64 / rounds as f64,
            time / rounds as f64 * 1e3,
            worst * 1e3,
            bytes as f64 / rounds as f64 / 1e3,
            worst_bytes as f64 / 1e3,
            state.stats().bytes >> 20,
        );
    }
}

fn key_batch(keys: &[u64], random: &mut Random) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_value(0, keys.len()).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        Arc::new(keys.iter().map(|key| Some(format!("user-{key:08}"))).collect::<StringArray>()),
        Arc::new(keys.iter().map(|_| Some(200)).collect::<Int32Array>()),
        Arc::new(keys.iter().map(|_| Some(random.unit())).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema above")
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .map_or(0, |pages: usize| pages * 4_096)
}

fn main() {
    // First, while the memory of this process is its own.
    running(1_000_000);
    let endpoints: Vec<String> = (0..50).map(|n| format!("/api/v1/resource-{n}")).collect();
    let few = batches(|random| endpoints[random.next() as usize % 50].clone());
    // Zipf with exponent 1 over 20,000, by inverting its continuous relative.
    let zipf = batches(|random| {
        let rank = 20_000_f64.powf(random.unit()) as u64;
        format!("10.{}.{}.{}", rank >> 16, (rank >> 8) & 255, rank & 255)
    });
    let unique = batches(|random| format!("{:016x}", random.next()));
    aggregate("Q1, 50 keys, 1 minute", Q1, &few);
    aggregate("Q1, 20,000 zipf keys, 1 minute", Q1, &zipf);
    aggregate("count, 20,000 zipf keys, 10 seconds", BY_IP, &zipf);
    aggregate("Q1, every key new, 1 minute", Q1, &unique);
    aggregate("stddev, 2 keys, filter, 1 minute", TWO_KEYS, &few);
    aggregate("Q2, 20,000 zipf keys, 10 min/10 s", Q2, &zipf);
    aggregate("Q2 with avg and max", Q2_MORE, &zipf);
    aggregate("20,000 zipf keys, 100 s/10 s", SHORT, &zipf);
    aggregate("50 keys, 10 min/1 s", LONG, &few);
    aggregate("sessions, 20,000 zipf keys, 1 min", SESSIONS, &zipf);
    in_mode("running, 20,000 zipf keys, update", RUNNING, OutputMode::Update, &zipf);
    let plan = query(MAP, OutputMode::Append);
    let speed = best(|| {
        let mut map = plan.feeds[0].bind("bench", &schema()).expect("planned before");
        for batch in &few {
            black_box(map.apply(batch).expect("the batch fits the plan"));
        }
    });
    println!("{:<36} project       {speed:>6.1} M rows/s", "Q3: date, hour, date_format");
}
