//! What it costs a query to have its windows drawn: the look that the page takes at its output.
//!
//! `cargo bench --bench page`

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use millpond::telemetry::progress::{PipelineProgress, WindowColumns};

/// One window of so many groups, as a windowed query puts it out.
fn window(start: i64, groups: i64) -> RecordBatch {
    let time = TimestampMicrosecondArray::from(vec![start; groups as usize]).with_timezone("UTC");
    let keys: Vec<String> =
        (0..groups).map(|key| format!("10.0.{}.{}", key / 256, key % 256)).collect();
    let counts: Vec<i64> = (0..groups).map(|key| (key * 7919 + start) % 10_007).collect();
    let columns: [(&str, ArrayRef); 5] = [
        ("window_start", Arc::new(time)),
        ("ip", Arc::new(StringArray::from(keys))),
        ("requests", Arc::new(Int64Array::from(counts.clone()))),
        ("errors", Arc::new(Int64Array::from(counts.clone()))),
        ("avg_ms", Arc::new(Float64Array::from_iter_values(counts.iter().map(|n| *n as f64)))),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn main() {
    for groups in [1, 24, 1000, 20_000] {
        let progress = PipelineProgress::new("bench");
        let query = progress.query("per_client");
        let batches: Vec<RecordBatch> =
            (0..300).map(|at| window(at * 10_000_000, groups)).collect();
        let keys = ["window_start".to_owned(), "ip".to_owned()];
        let columns = WindowColumns::of(&batches[0].schema(), Some(&keys)).expect("windows");
        query.describe_windows(columns);
        let began = Instant::now();
        batches.iter().for_each(|batch| query.observe(batch));
        let spent = began.elapsed();
        let rows = 300 * groups;
        println!(
            "{groups:>6} groups a window: {:>8.1} us a window, {:>7.1} ns a row",
            spent.as_secs_f64() * 1e6 / 300.0,
            spent.as_secs_f64() * 1e9 / rows as f64
        );
    }
}
