//! Rows per CPU-second into a Delta table: eight columns of web logs, partitioned by date and
//! hour, in batches of 8,192 rows, with an epoch (files stored and committed) every 64 batches.
//!
//! ```text
//! cargo bench --bench delta [-- ROWS]
//! ```
//!
//! deltalake's own `RecordBatchWriter` does the same in the same run. CPU is user + system of
//! the whole process, every thread counted.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::parquet::basic::{Compression as Codec, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use millpond::lake::{Add, Compression, LakeTable, TableSpec};
use millpond::sink::delta::DeltaWriter;

const BATCH_ROWS: usize = 8192;
const EPOCH_BATCHES: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds `--bench`; the first number is ours.
    let rows = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(6_000_000_usize);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let input = Input::new();
    let epochs = rows.div_ceil(BATCH_ROWS * EPOCH_BATCHES).max(1);
    println!(
        "{} rows in {epochs} epochs; {:.0} B a row in memory",
        epochs * BATCH_ROWS * EPOCH_BATCHES,
        input.bytes_per_row()
    );
    println!(
        "{:<34} {:>14} {:>12} {:>9} {:>7}",
        "writer", "rows/CPU-s", "rows/s", "B/row", "files"
    );
    // The first run of each pays for page faults of the allocator; the second one counts.
    for compression in [
        Compression::Snappy,
        Compression::Snappy,
        Compression::Zstd(1),
        Compression::None,
        Compression::Lz4,
    ] {
        runtime.block_on(ours(&input, epochs, compression, &input.ordered))?;
        if !matches!(compression, Compression::None | Compression::Lz4) {
            runtime.block_on(theirs(&input, epochs, compression))?;
        }
    }
    println!("every row's hour at random out of 24, which no source does:");
    runtime.block_on(ours(&input, epochs, Compression::Snappy, &input.shuffled))?;
    println!(
        "peak memory of the process: {} MB, {:.0} MB of it the input",
        peak_mb(),
        input.megabytes()
    );
    Ok(())
}

async fn ours(
    input: &Input,
    epochs: usize,
    compression: Compression,
    batches: &[RecordBatch],
) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let spec = input.spec(dir.path(), compression);
    let mut table = LakeTable::open_or_create(&spec).await?;
    let mut writer = DeltaWriter::new(&table, &spec)?;
    let mut figures = Figures::start();
    for _ in 0..epochs {
        for batch in batches {
            writer.write(batch).await?;
        }
        let adds = writer.prepare().await?;
        figures.add(&adds);
        table.commit(adds, &[], &[]).await?;
    }
    figures.print(
        &format!("millpond DeltaWriter, {compression}"),
        epochs * batches.len() * BATCH_ROWS,
    );
    Ok(())
}

async fn theirs(
    input: &Input,
    epochs: usize,
    compression: Compression,
) -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let spec = input.spec(dir.path(), compression);
    let mut table = LakeTable::open_or_create(&spec).await?;
    let url = url::Url::from_directory_path(table.uri()).map_err(|()| "no absolute path")?;
    let codec = match compression {
        Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level)?),
        _ => Codec::SNAPPY,
    };
    let properties = WriterProperties::builder().set_compression(codec).build();
    let mut writer = RecordBatchWriter::for_table(&deltalake::open_table(url).await?)?
        .with_writer_properties(properties);
    let mut figures = Figures::start();
    for _ in 0..epochs {
        for batch in &input.ordered {
            writer.write(batch.clone()).await?;
        }
        let adds = writer.flush().await?;
        figures.add(&adds);
        table.commit(adds, &[], &[]).await?;
    }
    let rows = epochs * input.ordered.len() * BATCH_ROWS;
    figures.print(&format!("deltalake RecordBatchWriter, {compression}"), rows);
    Ok(())
}

struct Figures {
    started: Instant,
    cpu: f64,
    bytes: i64,
    files: usize,
}

impl Figures {
    fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu_seconds(), bytes: 0, files: 0 }
    }

    fn add(&mut self, adds: &[Add]) {
        self.bytes += adds.iter().map(|add| add.size).sum::<i64>();
        self.files += adds.len();
    }

    fn print(&self, what: &str, rows: usize) {
        let (cpu, wall) = (cpu_seconds() - self.cpu, self.started.elapsed().as_secs_f64());
        let rows = rows as f64;
        println!(
            "{what:<34} {:>14.0} {:>12.0} {:>9.1} {:>7}",
            rows / cpu,
            rows / wall,
            self.bytes as f64 / rows,
            self.files
        );
    }
}

/// One epoch of web logs, in the shape of the benchmark's generator.
struct Input {
    schema: SchemaRef,
    ordered: Vec<RecordBatch>,
    shuffled: Vec<RecordBatch>,
}

impl Input {
    fn new() -> Self {
        let field = |name: &str, kind: DataType| Field::new(name, kind, true);
        let schema = Arc::new(Schema::new(vec![
            field("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            field("ip", DataType::Utf8),
            field("method", DataType::Utf8),
            field("endpoint", DataType::Utf8),
            field("status_code", DataType::Int32),
            field("response_time_ms", DataType::Float64),
            field("bytes", DataType::Int64),
            field("user_agent", DataType::Utf8),
            field("date", DataType::Date32),
            field("hour", DataType::Int32),
        ]));
        let mut random = Random(42);
        let ordered =
            (0..EPOCH_BATCHES).map(|i| web_logs(&schema, i, false, &mut random)).collect();
        let shuffled =
            (0..EPOCH_BATCHES).map(|i| web_logs(&schema, i, true, &mut random)).collect();
        Self { schema, ordered, shuffled }
    }

    fn spec(&self, dir: &std::path::Path, compression: Compression) -> TableSpec {
        TableSpec {
            partition_by: vec!["date".to_owned(), "hour".to_owned()],
            compression,
            ..TableSpec::new(dir.join("t").display().to_string(), self.schema.clone())
        }
    }

    fn megabytes(&self) -> f64 {
        let batches = self.ordered.iter().chain(&self.shuffled);
        batches.map(RecordBatch::get_array_memory_size).sum::<usize>() as f64 / 1e6
    }

    fn bytes_per_row(&self) -> f64 {
        let bytes: usize = self.ordered.iter().map(RecordBatch::get_array_memory_size).sum();
        bytes as f64 / (EPOCH_BATCHES * BATCH_ROWS) as f64
    }
}

/// Batch `i` of an hour and a half at 100 events a second; each event is up to 30 s late, one
/// in a thousand up to 10 minutes.
fn web_logs(schema: &SchemaRef, i: usize, shuffled: bool, random: &mut Random) -> RecordBatch {
    const START: i64 = 1_767_307_200_000_000;
    let rows = BATCH_ROWS;
    let times: Vec<i64> = (0..rows)
        .map(|row| {
            let lag =
                if random.below(1000) == 0 { random.below(600_000) } else { random.below(30_000) };
            let at = START + (i * rows + row) as i64 * 10_000 - lag as i64 * 1000;
            if shuffled { at + random.below(24) as i64 * 3_600_000_000 } else { at }
        })
        .collect();
    let pick = |random: &mut Random, from: &[&str]| from[random.below(from.len())].to_owned();
    let verbs = ["GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"];
    let nouns = [
        "orders", "users", "carts", "items", "search", "login", "logout", "prices", "stock",
        "reviews",
    ];
    let systems =
        ["X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"];
    let ips: StringArray = (0..rows)
        .map(|_| {
            // Squared, so that some clients come much more often than others.
            let client = random.below(142) * random.below(142);
            Some(format!("10.{}.{}.{}", client % 251, client * 7 % 253, client * 13 % 255))
        })
        .collect();
    let methods: StringArray = (0..rows).map(|_| Some(pick(random, &verbs))).collect();
    let endpoints: StringArray = (0..rows)
        .map(|_| Some(format!("/api/v{}/{}", 1 + random.below(5), pick(random, &nouns))))
        .collect();
    let agents: StringArray = (0..rows)
        .map(|_| {
            let (system, chrome) = (pick(random, &systems), 120 + random.below(8));
            Some(format!(
                "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/{chrome}.0.0.0 Safari/537.36"
            ))
        })
        .collect();
    let statuses = [200, 200, 200, 200, 200, 200, 200, 201, 304, 404, 500];
    let dates = times.iter().map(|t| t.div_euclid(86_400_000_000) as i32);
    let hours = times.iter().map(|t| (t.div_euclid(3_600_000_000) % 24) as i32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(ips),
        Arc::new(methods),
        Arc::new(endpoints),
        Arc::new(Int32Array::from_iter_values((0..rows).map(|_| statuses[random.below(11)]))),
        Arc::new(Float64Array::from_iter_values(
            (0..rows).map(|_| (random.below(600) + random.below(600)) as f64 / 10.0 + 0.1),
        )),
        Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|_| 100 + random.below(49_900) as i64),
        )),
        Arc::new(agents),
        Arc::new(Date32Array::from_iter_values(dates)),
        Arc::new(Int32Array::from_iter_values(hours)),
    ];
    RecordBatch::try_new(schema.clone(), columns).expect("the columns are those of the schema")
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

/// The largest resident size so far, in MB.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
