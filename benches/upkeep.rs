//! Upkeep beside Python's `deltalake` on the same table in the same run, and a table that runs for a
//! week.
//!
//! ```text
//! cargo bench --bench upkeep -- peer [ROWS]     compaction and z-order, ours and theirs
//! cargo bench --bench upkeep -- week [HOURS]    a commit every 10 s, compacted every hour
//! ```
//!
//! The first needs `python3` with the package `deltalake` (`MILLPOND_BENCH_PYTHON` names another
//! interpreter). Each run is a process of its own on a copy of the table: wall clock, CPU of all
//! its threads, and its peak memory. MB are of the table's files before the run.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::prelude::SessionContext;
use millpond::lake::{Add, LakeTable, TableLocation, TableSpec};
use millpond::sink::delta::DeltaWriter;
use millpond::upkeep::{NoProgress, OptimizeOptions, Selection, detail, optimize};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TARGET: u64 = 32 << 20;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = args.iter().find_map(|arg| arg.parse().ok());
    if let [task, path, columns @ ..] = args.as_slice()
        && task == "--ours"
    {
        return ours(path, columns);
    }
    match args.first().map(String::as_str) {
        Some("week") => week(number.unwrap_or(168)),
        _ => peer(number.unwrap_or(6_000_000)),
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn columns() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, kind| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        field("ts", utc),
        field("ip", DataType::Utf8),
        field("endpoint", DataType::Utf8),
        field("status", DataType::Int32),
        field("bytes", DataType::Int64),
        field("latency_ms", DataType::Float64),
        field("agent", DataType::Utf8),
    ]))
}

/// Web logs: times rise, the rest is as it comes.
fn batch(first: i64, rows: i64) -> Outcome<RecordBatch> {
    let mix = |n: i64, salt: u64| {
        let mut z = n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 27)
    };
    let ids = first..first + rows;
    let ip = |n| {
        let r = mix(n, 1) % 50_000;
        Some(format!("10.{}.{}.{}", r % 7, r / 7 % 250, r % 250))
    };
    let endpoint = |n| Some(format!("/api/v1/resource/{}", mix(n, 2) % 200));
    let agent = |n| Some(format!("Mozilla/5.0 (build {}) like Gecko", mix(n, 3) % 40));
    let columns_: Vec<ArrayRef> = vec![
        Arc::new(
            ids.clone()
                .map(|n| Some(1_760_000_000_000_000 + n * 900))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(ids.clone().map(ip).collect::<StringArray>()),
        Arc::new(ids.clone().map(endpoint).collect::<StringArray>()),
        Arc::new(
            ids.clone()
                .map(|n| [200, 200, 200, 404, 500][(mix(n, 4) % 5) as usize])
                .collect::<Int32Array>(),
        ),
        Arc::new(ids.clone().map(|n| (mix(n, 5) % 90_000) as i64).collect::<Int64Array>()),
        Arc::new(ids.map(|n| (mix(n, 6) % 100_000) as f64 / 100.0).collect::<Float64Array>()),
        Arc::new((first..first + rows).map(agent).collect::<StringArray>()),
    ];
    Ok(RecordBatch::try_new(columns(), columns_)?)
}

// ---- beside deltalake ----

fn peer(rows: i64) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let table = dir.path().join("table");
    let files = 300;
    runtime()?.block_on(async {
        let spec = TableSpec::new(table.to_string_lossy(), columns());
        let mut lake = LakeTable::open_or_create(&spec).await?;
        let mut writer = DeltaWriter::new(&lake, &spec)?;
        for file in 0..files {
            writer.write(&batch(file * rows / files, rows / files)?).await?;
            let adds = writer.prepare().await?;
            lake.commit(adds, &[], &[]).await?;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    let bytes = size(&table)?;
    let mb = bytes as f64 / 1e6;
    println!("{rows} rows in {files} files, {mb:.0} MB; files of {} MiB", TARGET >> 20);
    println!(
        "{:<34} {:>8} {:>8} {:>10} {:>9} {:>9}",
        "", "wall s", "MB/s", "MB/CPU-s", "peak MB", "files"
    );
    let me = std::env::current_exe()?;
    let python = std::env::var("MILLPOND_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/upkeep_peer.py");
    for columns in [&[][..], &["ip", "ts"]] {
        let task = if columns.is_empty() { "compact" } else { "z-order by ip, ts" };
        for ours in [true, false] {
            let copy = dir.path().join("copy");
            copy_table(&table, &copy)?;
            let mut command = if ours {
                let mut command = Command::new(&me);
                command.arg("--ours").arg(&copy).args(columns);
                command
            } else {
                let mut command = Command::new(&python);
                let task = if columns.is_empty() { "compact" } else { "zorder" };
                command.arg(&script).arg(&copy).args([task, &TARGET.to_string()]).args(columns);
                command
            };
            let before = children();
            let started = Instant::now();
            let status = command.stdout(Stdio::inherit()).status()?;
            let wall = started.elapsed().as_secs_f64();
            if !status.success() {
                return Err(format!("{command:?}: {status}").into());
            }
            let after = children();
            let cpu = (after.0 - before.0).as_secs_f64();
            let name = format!("{task}, {}", if ours { "Millpond" } else { "deltalake" });
            let location = TableLocation::new(copy.to_string_lossy());
            let files = runtime()?.block_on(detail(&location))?.num_files;
            // The peak is that of the largest child so far, so ours, which is smaller, goes first.
            println!(
                "{name:<34} {wall:>8.1} {:>8.0} {:>10.1} {:>9} {files:>9}",
                mb / wall,
                mb / cpu,
                after.1 / 1000
            );
            fs::remove_dir_all(&copy)?;
        }
    }
    Ok(())
}

fn ours(path: &str, columns: &[String]) -> Outcome<()> {
    let options = OptimizeOptions {
        zorder: columns.to_vec(),
        target_size: Some(TARGET),
        ..OptimizeOptions::default()
    };
    runtime()?.block_on(optimize(&TableLocation::new(path), options, &NoProgress))?;
    Ok(())
}

/// CPU time of all children that have ended, and the peak memory in kB of the largest.
fn children() -> (Duration, u64) {
    // SAFETY: a plain structure of numbers, which the call fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |t: libc::timeval| {
        Duration::new(t.tv_sec.unsigned_abs(), 0) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    (time(usage.ru_utime) + time(usage.ru_stime), usage.ru_maxrss.unsigned_abs())
}

fn size(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let meta = entry?.metadata()?;
        bytes += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(bytes)
}

fn copy_table(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_table(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

// ---- a week ----

/// Rows of a commit, every ten seconds.
const COMMIT_ROWS: i64 = 1_000;
const COMMITS_AN_HOUR: i64 = 360;

fn week(hours: i64) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("table");
    runtime()?.block_on(async {
        let spec = TableSpec::new(path.to_string_lossy(), columns());
        let mut lake = LakeTable::open_or_create(&spec).await?;
        // An hour's files, which come again every hour under new names: what is measured is how
        // many there are, not what is in them.
        let mut writer = DeltaWriter::new(&lake, &spec)?;
        let mut hour: Vec<(Vec<u8>, Add)> = Vec::new();
        for commit in 0..COMMITS_AN_HOUR {
            writer.write(&batch(commit * COMMIT_ROWS, COMMIT_ROWS)?).await?;
            for add in writer.prepare().await? {
                let file = path.join(&add.path);
                hour.push((fs::read(&file)?, add));
                fs::remove_file(file)?;
            }
        }
        let options = OptimizeOptions {
            selection: Selection::Worthwhile { min_files: 8, settle: Duration::ZERO },
            threads: 1,
            ..OptimizeOptions::default()
        };
        let location = TableLocation::new(path.to_string_lossy());
        let started = Instant::now();
        let (mut upkeep, mut rewritten) = (Duration::ZERO, 0);
        for h in 0..hours {
            for (n, (bytes, add)) in hour.iter().enumerate() {
                let mut add = add.clone();
                add.path = format!("part-{h:05}-{n:05}.parquet");
                // The clock that is moved: a file is as old as its place in the week.
                add.modification_time = 1_760_000_000_000 + (h * COMMITS_AN_HOUR + n as i64) * 10_000;
                fs::write(path.join(&add.path), bytes)?;
                lake.commit(vec![add], &[], &[]).await?;
            }
            let begun = Instant::now();
            rewritten += optimize(&location, options.clone(), &NoProgress).await?.rows;
            upkeep += begun.elapsed();
            if h % 24 == 23 {
                let now = detail(&location).await?;
                println!(
                    "day {}: version {}, {} files, {} commits since the checkpoint; {:.0} s, {:.1} s of it upkeep",
                    (h + 1) / 24,
                    now.version,
                    now.num_files,
                    now.version - now.checkpoint_version.unwrap_or(0),
                    started.elapsed().as_secs_f64(),
                    upkeep.as_secs_f64()
                );
            }
        }
        let rows = hours * COMMITS_AN_HOUR * COMMIT_ROWS;
        println!("{rows} rows; each was written again {:.1} times", rewritten as f64 / rows as f64);
        // The same rows in a new table, written at once and merged to the end.
        let fresh = dir.path().join("fresh");
        fresh_copy(&path, &fresh).await?;
        for round in 0..3 {
            let (a, b) = (read(&path).await?, read(&fresh).await?);
            println!(
                "round {round}: after the week {:.3} s (opening {:.3}), fresh {:.3} s (opening {:.3}): {:+.0} %",
                a.0.as_secs_f64(), a.1.as_secs_f64(), b.0.as_secs_f64(), b.1.as_secs_f64(),
                (a.0.as_secs_f64() / b.0.as_secs_f64() - 1.0) * 100.0
            );
        }
        Ok(())
    })
}

async fn fresh_copy(from: &Path, to: &Path) -> Outcome<()> {
    let context = SessionContext::new();
    let table = TableLocation::new(from.to_string_lossy()).open().await?;
    context.register_table("t", table.table_provider().await?)?;
    let spec = TableSpec {
        target_file_bytes: 128 << 20,
        ..TableSpec::new(to.to_string_lossy(), columns())
    };
    let spec = TableSpec { compression: millpond::lake::Compression::Zstd(1), ..spec };
    let mut lake = LakeTable::open_or_create(&spec).await?;
    let mut writer = DeltaWriter::new(&lake, &spec)?.with_max_buffered_bytes(1 << 30);
    let mut rows = context.sql("SELECT * FROM t").await?.execute_stream().await?;
    while let Some(batch) = futures::StreamExt::next(&mut rows).await {
        writer.write(&batch?).await?;
    }
    let adds = writer.prepare().await?;
    lake.commit(adds, &[], &[]).await?;
    Ok(())
}

/// The best of three: from opening the table to the answer, and opening alone.
async fn read(path: &Path) -> Outcome<(Duration, Duration)> {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let started = Instant::now();
        let table = TableLocation::new(path.to_string_lossy()).open().await?;
        let opened = started.elapsed();
        let context = SessionContext::new();
        context.register_table("t", table.table_provider().await?)?;
        let sql = "SELECT endpoint, count(*), avg(latency_ms), max(bytes), max(ts) FROM t GROUP BY endpoint";
        let frame = context.sql(sql).await?.collect().await?;
        if frame.is_empty() {
            return Err("no rows".into());
        }
        best = best.min((started.elapsed(), opened));
    }
    Ok(best)
}
