//! The seeds' analytic queries on a Delta table of web logs, and DuckDB on the same table.
//!
//! ```text
//! cargo bench --bench analytics [-- ROWS]        50,000,000 by default, ~2 GB below the target dir
//! ```
//!
//! Each query runs three times in each engine, one engine after the other; the quickest run counts.
//! CPU is user + system of the process, every thread counted. DuckDB reads with its `delta`
//! extension where that can be loaded, and else the same Parquet files by name (then it reads no
//! log). The answers are compared. It needs `duckdb` and `deltalake` from PyPI in the Python that
//! `MILLPOND_PYTHON` names (`python3` by default).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millpond::catalog::{Catalog, TableEntry, TableKind};
use millpond::lake::{Compression, LakeTable, TableLocation, TableSpec};
use millpond::lakesql::{Limits, Session};
use millpond::sink::delta::DeltaWriter;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

const RUNS: usize = 3;
const BATCH: usize = 65_536;
/// 2026-11-19T00:00:00Z
const START: i64 = 1_795_046_400_000_000;
const DAY: i64 = 86_400_000_000;

/// Name, our SQL, DuckDB's.
const QUERIES: &[(&str, &str, &str)] = &[
    ("count", "SELECT count(*) FROM logs", "SELECT count(*) FROM logs"),
    (
        "top endpoints by errors",
        "SELECT endpoint, COUNT(*) AS error_count FROM logs WHERE status_code >= 400 AND date >= \
         DATE '2026-11-20' GROUP BY endpoint ORDER BY error_count DESC, endpoint",
        "SELECT endpoint, COUNT(*) AS error_count FROM logs WHERE status_code >= 400 AND date >= \
         DATE '2026-11-20' GROUP BY endpoint ORDER BY error_count DESC, endpoint",
    ),
    (
        "hourly pattern",
        "SELECT hour, COUNT(*) AS requests, AVG(response_time) AS avg_response_time, \
         COUNT(DISTINCT ip) AS unique_visitors FROM logs WHERE date = DATE '2026-11-20' GROUP BY \
         hour ORDER BY hour",
        "SELECT hour, COUNT(*) AS requests, AVG(response_time) AS avg_response_time, \
         COUNT(DISTINCT ip) AS unique_visitors FROM logs WHERE date = DATE '2026-11-20' GROUP BY \
         hour ORDER BY hour",
    ),
    (
        "visitors of all time",
        "SELECT endpoint, count(DISTINCT ip) FROM logs GROUP BY endpoint ORDER BY endpoint",
        "SELECT endpoint, count(DISTINCT ip) FROM logs GROUP BY endpoint ORDER BY endpoint",
    ),
    (
        "minutes over three times the average",
        "WITH w AS (SELECT window.start AS start, endpoint, count(*) AS n, avg(response_time) AS \
         rt FROM logs GROUP BY window(timestamp, '1 minute'), endpoint) SELECT count(*), sum(n) \
         FROM w WHERE n > (SELECT avg(n) * 1.2 FROM w)",
        "WITH w AS MATERIALIZED (SELECT time_bucket(INTERVAL 1 MINUTE, timestamp) AS start, \
         endpoint, count(*) AS n, avg(response_time) AS rt FROM logs GROUP BY ALL) SELECT count(*), \
         sum(n)::BIGINT FROM w WHERE n > (SELECT avg(n) * 1.2 FROM w)",
    ),
    (
        "sliding counts by client, an hour",
        "SELECT count(*), max(n) FROM (SELECT window.start, ip, count(*) AS n FROM logs WHERE date \
         = DATE '2026-11-20' AND hour = 12 GROUP BY window(timestamp, '10 minutes', '5 minutes'), \
         ip)",
        "SELECT count(*), max(n) FROM (SELECT w, ip, count(*) AS n FROM (SELECT ip, unnest([b, b - \
         INTERVAL 5 MINUTE]) AS w FROM (SELECT ip, time_bucket(INTERVAL 5 MINUTE, timestamp) AS b \
         FROM logs WHERE date = DATE '2026-11-20' AND hour = 12)) GROUP BY w, ip)",
    ),
    (
        "one client's requests",
        "SELECT count(*), max(response_time) FROM logs WHERE ip = '10.7.49.91'",
        "SELECT count(*), max(response_time) FROM logs WHERE ip = '10.7.49.91'",
    ),
    (
        "slowest ten of each endpoint",
        "SELECT endpoint, r, response_time FROM (SELECT endpoint, response_time, row_number() OVER \
         (PARTITION BY endpoint ORDER BY response_time DESC) AS r FROM logs WHERE hour = 12 AND \
         response_time > 115) WHERE r <= 10 ORDER BY endpoint, r",
        "SELECT endpoint, r, response_time FROM (SELECT endpoint, response_time, row_number() OVER \
         (PARTITION BY endpoint ORDER BY response_time DESC) AS r FROM logs WHERE hour = 12 AND \
         response_time > 115) WHERE r <= 10 ORDER BY endpoint, r",
    ),
];

/// Reads a job from standard input, runs each query, prints what each took and gave.
const DUCK: &str = r#"
import json, resource, sys, time
import duckdb
job = json.load(sys.stdin)
con = duckdb.connect()
# It would be drawn on standard output, between the answers.
con.execute("SET enable_progress_bar = false")
con.execute(f"SET TimeZone = 'UTC'; SET threads = {job['threads']}")
try:
    con.execute("INSTALL delta; LOAD delta;")
    con.execute(f"CREATE VIEW logs AS SELECT * FROM delta_scan('{job['table']}')")
    how = "delta_scan"
except Exception:
    from deltalake import DeltaTable
    files = DeltaTable(job["table"]).file_uris()
    names = ", ".join(f"'{f.removeprefix('file://')}'" for f in files)
    con.execute(f"CREATE VIEW logs AS SELECT * FROM read_parquet([{names}], hive_partitioning = true, hive_types = {{'date': DATE, 'hour': INT}})")
    how = "read_parquet"
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
out = []
for sql in job["queries"]:
    best = None
    for _ in range(job["runs"]):
        wall, before = time.perf_counter(), cpu()
        rows = con.execute(sql).fetchall()
        took = (time.perf_counter() - wall, cpu() - before)
        best = took if best is None or took[0] < best[0] else best
    out.append({"wall": best[0], "cpu": best[1], "rows": rows})
json.dump({"how": f"DuckDB {duckdb.__version__}, {how}", "queries": out}, sys.stdout, default=str)
"#;

fn main() -> Result<(), Failure> {
    // `cargo bench` adds `--bench`; the first number is ours.
    let rows = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(50_000_000_usize);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("analytics-{rows}"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if !directory.join("complete").exists() {
        let started = Instant::now();
        // What was left half made.
        let _ = std::fs::remove_dir_all(&directory);
        runtime.block_on(make(&directory, rows))?;
        std::fs::write(directory.join("complete"), "")?;
        println!("made {rows} rows in {:.0} s", started.elapsed().as_secs_f64());
    }
    let table = directory.join("logs");
    let theirs = duck(&table)?;
    println!("{rows} rows; {}, and the same machine", theirs["how"].as_str().unwrap_or("DuckDB"));
    println!(
        "{:<38} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "query", "wall s", "CPU s", "DuckDB", "its CPU", "wall x", "CPU x"
    );
    let session = session(&table)?;
    for (n, (name, sql, _)) in QUERIES.iter().enumerate() {
        let (wall, cpu, answer) = ours(&session, sql)?;
        let other = &theirs["queries"][n];
        let (duck_wall, duck_cpu) = (number(&other["wall"]), number(&other["cpu"]));
        println!(
            "{name:<38} {wall:>9.3} {cpu:>9.3} {duck_wall:>9.3} {duck_cpu:>9.3} {:>7.2} {:>7.2}",
            wall / duck_wall,
            cpu / duck_cpu
        );
        if !same(&answer, &other["rows"]) {
            println!("  the answers differ: {answer} and {}", other["rows"]);
        }
    }
    Ok(())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn session(table: &Path) -> Result<Session, Failure> {
    let mut catalog = Catalog::new();
    catalog.add(TableEntry {
        name: "web.logs".parse()?,
        location: TableLocation::new(table.to_string_lossy()),
        kind: TableKind::Sink,
        written_by: None,
    })?;
    Ok(Session::new(catalog)?)
}

fn ours(session: &Session, sql: &str) -> Result<(f64, f64, Value), Failure> {
    let mut best: Option<(f64, f64, Value)> = None;
    for _ in 0..RUNS {
        let (started, before) = (Instant::now(), cpu_seconds());
        let answer = session.block_on(session.execute(sql, &Limits::default()))?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - before);
        if best.as_ref().is_none_or(|best| wall < best.0) {
            best = Some((wall, cpu, rows(&answer.batches)?));
        }
    }
    best.ok_or_else(|| "no run".into())
}

/// Rows as arrays of JSON values.
fn rows(batches: &[RecordBatch]) -> Result<Value, Failure> {
    let mut rows = vec![];
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| {
                let text = arrow::util::display::array_value_to_string(column, row)?;
                Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
            });
            rows.push(Value::Array(cells.collect::<Result<_, Failure>>()?));
        }
    }
    Ok(Value::Array(rows))
}

fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        _ => match (ours.as_f64(), theirs.as_f64()) {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0),
            _ => ours == theirs,
        },
    }
}

fn duck(table: &Path) -> Result<Value, Failure> {
    let python = std::env::var("MILLPOND_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let job = json!({
        "table": table,
        "threads": threads,
        "runs": RUNS,
        "queries": QUERIES.iter().map(|(_, _, sql)| *sql).collect::<Vec<_>>(),
    });
    let mut child = Command::new(python)
        .args(["-c", DUCK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(job.to_string().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("DuckDB: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Three days of web logs in the order of time, a commit for each ten million.
async fn make(directory: &Path, rows: usize) -> Result<(), Failure> {
    let path = directory.join("logs");
    std::fs::create_dir_all(&path)?;
    let schema = schema();
    let spec = TableSpec {
        partition_by: vec!["date".to_owned(), "hour".to_owned()],
        compression: Compression::Snappy,
        ..TableSpec::new(path.to_string_lossy(), schema.clone())
    };
    let mut table = LakeTable::open_or_create(&spec).await?;
    let mut writer = DeltaWriter::new(&table, &spec)?;
    let mut random = Random(42);
    let batches = rows.div_ceil(BATCH);
    for n in 0..batches {
        let count = BATCH.min(rows - n * BATCH);
        writer.write(&web_logs(&schema, n * BATCH, count, rows, &mut random)?).await?;
        if (n + 1) % 152 == 0 || n + 1 == batches {
            let adds = writer.prepare().await?;
            table.commit(adds, &[], &[]).await?;
        }
    }
    Ok(())
}

fn schema() -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        field("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("ip", DataType::Utf8),
        field("method", DataType::Utf8),
        field("endpoint", DataType::Utf8),
        field("status_code", DataType::Int32),
        field("response_time", DataType::Float64),
        field("bytes", DataType::Int64),
        field("date", DataType::Date32),
        field("hour", DataType::Int32),
    ]))
}

fn web_logs(
    schema: &SchemaRef,
    first: usize,
    count: usize,
    rows: usize,
    random: &mut Random,
) -> Result<RecordBatch, Failure> {
    let step = 3 * DAY / rows as i64;
    let times: Vec<i64> = (0..count).map(|row| START + (first + row) as i64 * step).collect();
    let endpoints: Vec<String> = (0..40).map(|n| format!("/api/v{}/{n}", 1 + n % 3)).collect();
    let methods = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
    let statuses = [200, 200, 200, 200, 200, 200, 200, 201, 304, 404, 500];
    let ips: StringArray = (0..count)
        .map(|_| {
            // Squared, so that some clients come much more often than others.
            let client = random.below(260) * random.below(260);
            Some(format!("10.{}.{}.{}", client % 251, client * 7 % 253, client * 13 % 255))
        })
        .collect();
    let endpoint: StringArray = (0..count)
        .map(|_| Some(endpoints[random.below(40).min(random.below(40))].as_str()))
        .collect();
    let method: StringArray = (0..count).map(|_| Some(methods[random.below(6)])).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(ips),
        Arc::new(method),
        Arc::new(endpoint),
        Arc::new(Int32Array::from_iter_values((0..count).map(|_| statuses[random.below(11)]))),
        Arc::new(Float64Array::from_iter_values(
            (0..count).map(|_| (random.below(60_000) + random.below(60_000)) as f64 / 1000.0),
        )),
        Arc::new(Int64Array::from_iter_values(
            (0..count).map(|_| 100 + random.below(49_900) as i64),
        )),
        Arc::new(Date32Array::from_iter_values(
            times.iter().map(|time| time.div_euclid(DAY) as i32),
        )),
        Arc::new(Int32Array::from_iter_values(
            times.iter().map(|time| (time.div_euclid(3_600_000_000) % 24) as i32),
        )),
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// xorshift64*, so that every run has the same input.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % n
    }
}

/// User + system time of this process in seconds.
fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for a write of a whole rusage, and zeroed is a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
