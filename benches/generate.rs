//! How fast web logs are made, on one thread: `cargo bench --bench generate`.
//!
//! Prints records and bytes per second of five runs each, the best last; the goal is a million
//! records per second to nowhere.

use std::time::Instant;

use millpond::weblog::{Generator, GeneratorOptions, Script};

const RECORDS: usize = 3_000_000;
const CHUNK: usize = 256;

fn main() {
    let cases = [
        ("default", GeneratorOptions::default()),
        (
            "in order, nothing broken",
            GeneratorOptions { disorder_us: 0, late: 0.0, malformed: 0.0, ..Default::default() },
        ),
        ("hourly anomalies", GeneratorOptions { script: Script::hourly(), ..Default::default() }),
    ];
    for (name, options) in cases {
        let mut seconds: Vec<f64> = (0..5).map(|_| run(options.clone())).collect();
        seconds.sort_by(|a, b| b.total_cmp(a));
        let rates: Vec<String> =
            seconds.iter().map(|s| format!("{:.2}", RECORDS as f64 / s / 1e6)).collect();
        println!("{name}: {} million records/s", rates.join(" "));
    }
}

/// Seconds that the records take.
fn run(options: GeneratorOptions) -> f64 {
    // The options are those above.
    let mut generator = Generator::new(options).expect("the options make sense");
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    let (mut left, mut bytes) = (RECORDS, 0);
    let began = Instant::now();
    while left > 0 {
        left -= generator.fill(&mut buffer, &mut ends, CHUNK.min(left));
        bytes += std::hint::black_box(&buffer).len();
        buffer.clear();
        ends.clear();
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("  {:.0} bytes a record", bytes as f64 / RECORDS as f64);
    seconds
}
