//! What an epoch of 10 s costs to append: rows encoded, files stored, one commit; to a table on the
//! local disk and, if there is one to be had, to a table in an object store.
//!
//! ```text
//! cargo bench --bench stores [-- ADDRESS]
//! ```
//!
//! `ADDRESS` is that of a table to be made, such as `s3://lake/bench`, which the environment knows
//! how to reach. CPU is user + system of this process, every thread counted; the store's is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millpond::lake::{LakeTable, TableSpec};
use millpond::sink::delta::DeltaWriter;

/// 2,000 rows a second for 10 s.
const EPOCH_ROWS: usize = 20_000;
const BATCH_ROWS: usize = 4_000;
const EPOCHS: usize = 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let remote = std::env::args().skip(1).find(|arg| arg.contains("://"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dir = tempfile::tempdir()?;
    println!("{EPOCHS} epochs of {EPOCH_ROWS} rows; times in ms, median and 95th percentile");
    println!(
        "{:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "table", "write", "p95", "store", "p95", "commit", "p95", "CPU/epoch"
    );
    let local = dir.path().join("table").to_string_lossy().into_owned();
    runtime.block_on(measure("local", &local))?;
    if let Some(remote) = remote {
        runtime.block_on(measure("remote", &format!("{remote}-{}", std::process::id())))?;
    }
    Ok(())
}

async fn measure(name: &str, uri: &str) -> Result<(), Box<dyn std::error::Error>> {
    let batch = rows()?;
    let spec = TableSpec::new(uri, batch.schema());
    let mut table = LakeTable::open_or_create(&spec).await?;
    let mut writer = DeltaWriter::new(&table, &spec)?;
    let (mut write, mut store, mut commit) = (Vec::new(), Vec::new(), Vec::new());
    let cpu = cpu_seconds();
    for epoch in 0..EPOCHS {
        let began = Instant::now();
        for _ in 0..EPOCH_ROWS / BATCH_ROWS {
            writer.write(&batch).await?;
        }
        write.push(began.elapsed());
        let began = Instant::now();
        let adds = writer.prepare().await?;
        store.push(began.elapsed());
        let began = Instant::now();
        let app = "millpond/bench/table/source-0".to_owned();
        let before = (epoch > 0).then_some(epoch as i64);
        table.commit(adds, &[(app.clone(), epoch as i64 + 1)], &[(app, before)]).await?;
        commit.push(began.elapsed());
    }
    let cpu = (cpu_seconds() - cpu) * 1e3 / EPOCHS as f64;
    let [write, store, commit] = [write, store, commit].map(quantiles);
    println!(
        "{name:<10} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>7.1} ms",
        write.0, write.1, store.0, store.1, commit.0, commit.1, cpu
    );
    Ok(())
}

/// Median and 95th percentile, in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    (at(50), at(95))
}

fn rows() -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("ip", DataType::Utf8, true),
        Field::new("endpoint", DataType::Utf8, true),
        Field::new("response_time", DataType::Float64, true),
        Field::new("bytes", DataType::Int64, true),
    ]));
    let numbers = || (0..BATCH_ROWS as i64).map(|n| n * 7919 % 100_003);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..BATCH_ROWS as i64)),
        Arc::new(StringArray::from_iter_values(numbers().map(|n| format!("10.0.{}.1", n % 250)))),
        Arc::new(StringArray::from_iter_values(numbers().map(|n| format!("/page/{}", n % 40)))),
        Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64 / 97.0))),
        Arc::new(Int64Array::from_iter_values(numbers())),
    ];
    RecordBatch::try_new(schema, columns)
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage writes a whole struct to the address it is given.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
