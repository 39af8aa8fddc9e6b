//! How fast files become records, in CPU time (user and system) of one thread, without decoding.
//!
//! `cargo bench --bench files [-- --megabytes 512]` writes files of web-log lines (some 238 bytes)
//! into a temporary directory, in several formats, reads each set by [`FilesSource`] in takes of
//! 1,024 records as the daemon's readers do, and prints a table. The files are read once before,
//! so that what is measured is the source and not the disk.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use flate2::write::GzEncoder;
use millpond::source::SplitReader;
use millpond::source::files::{CsvFraming, FileFormat, FilesOptions, FilesSource, Framing};
use parquet::arrow::ArrowWriter;

const FILES: usize = 8;
const TAKE: usize = 1024;

fn line(text: &mut String, number: usize) {
    let _ = writeln!(
        text,
        r#"{{"timestamp":"2026-01-01T00:{:02}:{:02}.{:03}Z","ip":"10.0.{}.{}","method":"GET","endpoint":"/api/v1/orders/{number}","status_code":200,"response_time_ms":{}.25,"bytes":{},"user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit"}}"#,
        number / 60_000 % 60,
        number / 1_000 % 60,
        number % 1_000,
        number % 251,
        number % 241,
        number % 900,
        number * 7 % 90_000,
    );
}

fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct that it is given, which lives here; any bits are valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn options(dir: &Path, format: FileFormat) -> FilesOptions {
    FilesOptions::new(dir.to_string_lossy(), format)
}

fn measure(name: &str, options: &FilesOptions, plain_bytes: usize) {
    let mut best = f64::INFINITY;
    let (mut records, mut bytes) = (0, 0);
    for _ in 0..4 {
        let Ok(log) = tempfile::tempdir() else { return };
        let Ok(mut source) = FilesSource::open(options.clone(), log.path(), "bench") else {
            return;
        };
        if source.bound().is_err() {
            return;
        }
        (records, bytes) = (0, 0);
        let began = cpu_seconds();
        loop {
            let finished = match source.take_columns(8 * TAKE) {
                Some(taken) => {
                    records += taken.batch.as_ref().map_or(0, RecordBatch::num_rows);
                    taken.finished
                }
                None => {
                    let taken = source.take(TAKE, &mut |record| {
                        bytes += black_box(record.payload).map_or(0, <[u8]>::len);
                    });
                    records += taken.messages;
                    taken.finished
                }
            };
            if finished {
                break;
            }
        }
        best = best.min(cpu_seconds() - began);
    }
    black_box(bytes);
    print!("{name:<34} {:>9.2} M records/CPU-s", records as f64 / best / 1e6);
    match plain_bytes {
        0 => println!(),
        bytes => println!(" {:>9.0} MB/CPU-s", bytes as f64 / best / 1e6),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let megabytes = arguments
        .windows(2)
        .find(|pair| pair[0] == "--megabytes")
        .map_or(Ok(512), |pair| pair[1].parse::<usize>())?;
    let dir = tempfile::tempdir()?;
    let place = |name: &str| dir.path().join(name);
    for name in ["plain", "gzip", "zstd", "csv", "parquet"] {
        fs::create_dir(place(name))?;
    }
    let mut total = 0;
    for file in 0..FILES {
        let mut text = String::with_capacity((megabytes << 20) / FILES + 300);
        let mut csv = String::new();
        let mut number = file * 1_000_000;
        while text.len() < (megabytes << 20) / FILES {
            line(&mut text, number);
            writeln!(csv, "{number},\"GET, or so\",/api/v1/orders/{number},200,{}", number % 900)?;
            number += 1;
        }
        total += text.len();
        fs::write(place("plain").join(format!("{file}.json")), &text)?;
        fs::write(place("csv").join(format!("{file}.csv")), &csv)?;
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes())?;
        fs::write(place("gzip").join(format!("{file}.json.gz")), gzip.finish()?)?;
        let zstd = zstd::encode_all(text.as_bytes(), 3)?;
        fs::write(place("zstd").join(format!("{file}.json.zst")), zstd)?;
        let lines: Vec<&str> = text.lines().collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..lines.len() as i64))),
            ("value", Arc::new(StringArray::from(lines))),
        ];
        let batch = RecordBatch::try_from_iter(columns)?;
        let parquet = fs::File::create(place("parquet").join(format!("{file}.parquet")))?;
        let mut writer = ArrowWriter::try_new(parquet, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        if file + 1 == FILES {
            let schema = batch.schema();
            let json = || FileFormat::Records(Framing::Lines { skip_blank: true });
            measure("lines", &options(&place("plain"), json()), total);
            let quoted = CsvFraming { quote: Some(b'"'), ..CsvFraming::default() };
            let csv_bytes = csv.len() * FILES;
            let format = FileFormat::Records(Framing::Csv(quoted));
            measure("CSV with quotes over lines", &options(&place("csv"), format), csv_bytes);
            measure("lines, gzip", &options(&place("gzip"), json()), total);
            measure("lines, Zstandard", &options(&place("zstd"), json()), total);
            let format = |projection| FileFormat::Parquet { schema: schema.clone(), projection };
            let place = place("parquet");
            measure("Parquet, a long column", &options(&place, format(vec![0])), 0);
            measure("Parquet, and the lines", &options(&place, format(vec![0, 1])), total);
        }
    }
    Ok(())
}
