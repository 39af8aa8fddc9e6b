//! Speed of the aggregation beside a reader and of merging what it makes.
//!
//! Prints input rows per second of CPU time (user and system, of this one thread) for batches of
//! 8,192 rows: `cargo bench --bench window`.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millpond::operator::Router;
use millpond::sql::{BoundMap, Catalog, QueryPlan, QueryRequest, SourceTable, Target, plan};

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

fn query(sql: &str) -> QueryPlan {
    let logs = SourceTable {
        name: "logs".to_owned(),
        schema: schema(),
        event_time: Some("timestamp".to_owned()),
        watermark_delay_us: Some(120_000_000),
    };
    let request = QueryRequest { name: "bench", sql, ..QueryRequest::default() };
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
    let plan = query(sql);
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
    let mut closed = 0;
    let speed = best(|| {
        let mut state = plan.operators[0].operator().expect("planned before");
        closed = 0;
        for (number, partial) in partials.iter().enumerate() {
            let mut batches = vec![];
            black_box(state.rows(0, partial, &mut batches).expect("made for this plan"));
            let newest = 1_767_307_200_000_000 + (number * BATCH) as i64 * 1_000_000 / RATE;
            state.advance(newest - 120_000_000, &mut batches).expect("evaluates");
            closed += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            if number % 50 == 49 {
                black_box(state.snapshot().expect("encodes"));
            }
        }
    });
    println!("{:<36} merge and close {speed:>4.1} M rows/s   ({closed} rows out)", "");
}

fn main() {
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
    let plan = query(MAP);
    let speed = best(|| {
        let mut map = plan.feeds[0].bind("bench", &schema()).expect("planned before");
        for batch in &few {
            black_box(map.apply(batch).expect("the batch fits the plan"));
        }
    });
    println!("{:<36} project       {speed:>6.1} M rows/s", "Q3: date, hour, date_format");
}
