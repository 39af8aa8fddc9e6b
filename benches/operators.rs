//! Speed and memory of the operators that keep rows by key: deduplication and joins.
//!
//! Prints input rows per second of CPU time (user and system, of this one thread) in batches of
//! 8,192 rows, routing included; what a live key or row takes in memory; and what a snapshot of what
//! is new costs beside one of all state: `cargo bench --bench operators`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, col};
use datafusion::prelude::lit;
use millpond::operator::{
    DedupPlan, JoinKind, JoinPlan, JoinSide, Keep, Operator, Router, StateDelta,
};

const BATCH: usize = 8_192;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const START: i64 = 1_767_307_200 * SECOND;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("ts", time, true),
        Field::new("amount", DataType::Int64, true),
    ]))
}

fn qualified(name: &str) -> DFSchema {
    DFSchema::try_from_qualified_schema(name, &schema()).expect("names are different")
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

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn batch(rows: impl Iterator<Item = (String, i64)> + Clone) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.clone().map(|(_, time)| Some(time)).collect();
    let ids: StringArray = rows.clone().map(|(id, _)| Some(id)).collect();
    let amounts: Int64Array = rows.map(|(_, time)| Some(time % 1_000)).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids), Arc::new(times.with_timezone("UTC")), Arc::new(amounts)];
    RecordBatch::try_new(schema(), columns).expect("columns of the schema above")
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

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0_usize);
    pages * 4_096
}

/// One operator with its routers, and where its time goes.
struct Run {
    operator: Box<dyn Operator>,
    routers: Vec<Box<dyn Router>>,
    rows_in: usize,
    rows_out: usize,
    routing: f64,
    state: f64,
}

impl Run {
    fn new(operator: Box<dyn Operator>, routers: Vec<Box<dyn Router>>) -> Self {
        Self { operator, routers, rows_in: 0, rows_out: 0, routing: 0.0, state: 0.0 }
    }

    fn batch(&mut self, input: usize, rows: &RecordBatch, watermark: i64) {
        let begin = cpu();
        let routed = self.routers[input].route(rows, 1).expect("the batch fits the plan");
        let middle = cpu();
        let mut out = vec![];
        for part in routed.parts.iter().flatten() {
            self.operator.rows(input, part, &mut out).expect("made by the router");
        }
        self.operator.advance(watermark, &mut out).expect("evaluates");
        self.state += cpu() - middle;
        self.routing += middle - begin;
        self.rows_in += rows.num_rows();
        self.rows_out += out.iter().map(RecordBatch::num_rows).sum::<usize>();
    }

    fn snapshot(&mut self, name: &str) -> StateDelta {
        let begin = Instant::now();
        let delta = self.operator.snapshot().expect("encodes");
        let took = begin.elapsed().as_secs_f64() * 1e3;
        let bytes: usize = delta.segments.iter().map(|segment| segment.bytes.len()).sum();
        let groups: usize = delta.segments.iter().map(|segment| segment.groups).sum();
        println!(
            "  snapshot {name:<24} {took:>8.1} ms {:>9.1} KiB   {groups} entries, {} segments",
            bytes as f64 / 1024.0,
            delta.segments.len()
        );
        delta
    }

    /// Starts counting anew, once the state has its size.
    fn reset(&mut self) {
        (self.rows_in, self.rows_out, self.routing, self.state) = (0, 0, 0.0, 0.0);
    }

    fn report(&self, name: &str) {
        println!(
            "{name}: {:.2} M rows/CPU-s (routing {:.2} s, state {:.2} s; {} rows in, {} out)",
            self.rows_in as f64 / (self.routing + self.state) / 1e6,
            self.routing,
            self.state,
            self.rows_in,
            self.rows_out
        );
    }

    fn memory(&self, before: usize) {
        let stats = self.operator.stats();
        println!(
            "  state: {} entries, {:.1} MB = {:.0} bytes each (resident: {:.1} MB more)",
            stats.groups,
            stats.bytes as f64 / 1e6,
            stats.bytes as f64 / stats.groups as f64,
            (resident().saturating_sub(before)) as f64 / 1e6
        );
    }
}

/// Every tenth row is a duplicate of one up to half an hour ago.
fn dedup(name: &str, plan: &DedupPlan, rate: i64) {
    let mut random = Random(7);
    let mut next = 0_i64;
    let mut rows = |_: usize| {
        let rows: Vec<(String, i64)> = (0..BATCH)
            .map(|_| {
                next += 1;
                let back = random.below((1_800 * rate) as u64) as i64;
                let number = if next % 10 == 0 { (next - back).max(1) / 10 * 10 + 1 } else { next };
                (format!("order-{number:010}"), START + number * SECOND / rate)
            })
            .collect();
        (batch(rows.into_iter()), START + next * SECOND / rate)
    };
    let before = resident();
    let mut run = Run::new(
        Box::new(plan.operator().expect("a plan that can be carried out")),
        vec![Box::new(plan.router().expect("a plan that can be carried out"))],
    );
    // Until the first keys have been forgotten.
    let fill = (3_600 * rate) as usize * 11 / 10 / BATCH;
    for number in 0..fill {
        let (rows, newest) = rows(number);
        run.batch(0, &rows, newest - 1_800 * SECOND);
    }
    run.report(&format!("{name}, filling"));
    run.memory(before);
    run.snapshot("total");
    run.reset();
    for number in 0..250 {
        let (rows, newest) = rows(number);
        run.batch(0, &rows, newest - 1_800 * SECOND);
        if number % 50 == 49 {
            run.snapshot("new, 409,600 rows");
        }
    }
    run.report(name);
    let (one, newest) = rows(0);
    run.batch(0, &one, newest - 1_800 * SECOND);
    run.snapshot("new, 8,192 rows");
}

/// Left rows with their keys in turn, a right row for each within half an hour.
fn join(name: &str, kind: JoinKind, keys: i64, filter: bool) {
    let side = |name: &str, keep_us| JoinSide {
        input: Arc::new(qualified(name)),
        keys: vec![col(format!("{name}.id"))],
        time: Some(col(format!("{name}.ts"))),
        keep_us: Some(keep_us),
    };
    let condition: Expr =
        col("r.ts").gt_eq(col("l.ts")).and(col("r.ts").lt_eq(col("l.ts") + lit(interval(HOUR))));
    let plan = JoinPlan {
        query: Arc::from("bench"),
        kind,
        left: side("l", HOUR),
        right: side("r", 0),
        filter: filter.then_some(condition),
        ttl_us: None,
        output: Arc::new(qualified("l").join(&qualified("r")).expect("names are different")),
    };
    // Each key comes again after two hours.
    let rate = keys as f64 / 7_200.0;
    let mut random = Random(7);
    let time = |number: i64| START + (number as f64 / rate * 1e6) as i64;
    let mut rows = |number: usize, input: usize| {
        let first = (number * BATCH) as i64;
        let rows: Vec<(String, i64)> = (first..first + BATCH as i64)
            .map(|number| {
                let later = (random.below(1_800) * SECOND as u64) as i64 * input as i64;
                (format!("order-{:010}", number % keys), time(number) + later)
            })
            .collect();
        batch(rows.into_iter())
    };
    let before = resident();
    let router = |input| -> Box<dyn Router> {
        Box::new(plan.router(input).expect("a plan that can be carried out"))
    };
    let mut run = Run::new(
        Box::new(plan.operator().expect("a plan that can be carried out")),
        vec![router(0), router(1)],
    );
    let fill = keys as usize * 2 / BATCH;
    let batches = 4_000_000 / BATCH / 2;
    for number in 0..fill + batches {
        if number == fill {
            run.memory(before);
            run.snapshot("total");
            run.reset();
        }
        let watermark = time((number * BATCH) as i64) - 600 * SECOND;
        for input in 0..2 {
            let rows = rows(number, input);
            run.batch(input, &rows, watermark);
        }
        if number > fill && (number - fill) % 100 == 99 {
            run.snapshot("new, 1,638,400 rows");
        }
    }
    run.report(name);
    let number = fill + batches;
    let watermark = time((number * BATCH) as i64) - 600 * SECOND;
    run.snapshot("rest");
    let one = rows(number, 0);
    run.batch(0, &one, watermark);
    run.snapshot("new, 8,192 rows");
}

fn interval(us: i64) -> datafusion::common::ScalarValue {
    let nanos = us * 1_000;
    datafusion::common::ScalarValue::IntervalMonthDayNano(Some(
        arrow::datatypes::IntervalMonthDayNano::new(0, 0, nanos),
    ))
}

fn main() {
    let input = Arc::new(qualified("t"));
    let plan = |keys: Vec<Expr>, keep| DedupPlan {
        query: Arc::from("bench"),
        input: Arc::clone(&input),
        keys,
        time: Some(col("t.ts")),
        keep,
    };
    let kept = plan(vec![col("t.id")], Keep::EventTime { us: 1_800 * SECOND });
    dedup("dedup by id, within half an hour more", &kept, 300);
    let until = plan(vec![col("t.id"), col("t.ts")], Keep::UntilWatermark);
    dedup("dedup by id and event time", &until, 600);
    join("inner join, 100,000 keys, within an hour", JoinKind::Inner, 100_000, true);
    join("inner join without a condition", JoinKind::Inner, 100_000, false);
    join("full join, 100,000 keys, within an hour", JoinKind::Full, 100_000, true);
    join("inner join, 1,000,000 keys", JoinKind::Inner, 1_000_000, true);
}
