//! What `generate` tells while it runs and when it is done.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::GenerateArgs;
use crate::weblog::{Generator, Malformation, Progress, instant_text};

/// The line of progress, rewritten in place.
pub(super) struct Terminal {
    pub quiet: bool,
    /// Whether there is a terminal to rewrite a line on.
    pub live: bool,
    /// The last progress shown.
    pub shown: Option<Progress>,
}

impl Terminal {
    pub fn show(&mut self, progress: &Progress, notice: Option<String>) {
        let mut stderr = std::io::stderr().lock();
        // Nothing can be done about a terminal that has gone.
        if let Some(notice) = notice.filter(|_| !self.quiet) {
            let _ = writeln!(stderr, "{}{notice}", if self.live { "\r\x1b[K" } else { "" });
        }
        if self.live {
            let before = self.shown.unwrap_or_default();
            let seconds = progress.elapsed.saturating_sub(before.elapsed).as_secs_f64().max(1e-3);
            let rate = progress.records.saturating_sub(before.records) as f64 / seconds;
            let _ = write!(
                stderr,
                "\r\x1b[K{} records, {}/s, {}, event time {}",
                grouped(progress.records),
                grouped(rate as u64),
                size(progress.bytes),
                instant_text(progress.event_time),
            );
            let _ = stderr.flush();
            self.shown = Some(*progress);
        }
    }

    pub fn clear(&self) {
        if self.live && self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// One line at the end, for people or for programs.
pub(super) fn summarise(
    args: &GenerateArgs,
    generator: &Generator,
    last: &Progress,
    to_stdout: bool,
) {
    let options = generator.options();
    let stats = generator.stats();
    let seconds = last.elapsed.as_secs_f64().max(1e-6);
    let delivered = last.records.saturating_sub(last.failed);
    if args.json {
        let summary = json!({
            "records": delivered,
            "failed": last.failed,
            "bytes": last.bytes,
            "seconds": seconds,
            "records_per_second": delivered as f64 / seconds,
            "event_time": { "start": instant_text(options.start), "end": instant_text(last.event_time) },
            "seed": options.seed,
            "late": stats.late,
            "malformed": stats.malformed(),
            "anomalies": generator.ground_truth().len(),
            "behind_seconds": last.behind.as_secs_f64(),
        });
        // Whoever wanted the summary has gone: nothing can be done about that.
        let _ = if to_stdout {
            writeln!(std::io::stderr(), "{summary}")
        } else {
            writeln!(std::io::stdout(), "{summary}")
        };
    } else if !args.quiet {
        let mut text = format!(
            "{} records, {} in {seconds:.1} s ({}/s); event time {} to {}; {} late, {} malformed; seed {}",
            grouped(delivered),
            size(last.bytes),
            grouped((delivered as f64 / seconds) as u64),
            instant_text(options.start),
            instant_text(last.event_time),
            grouped(stats.late),
            grouped(stats.malformed()),
            options.seed,
        );
        if last.failed > 0 {
            text.push_str(&format!("; {} NOT delivered", grouped(last.failed)));
        }
        if last.behind >= Duration::from_secs(1) {
            text.push_str(&format!(
                "; {:.1} s behind the rate asked for",
                last.behind.as_secs_f64()
            ));
        }
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// What `--truth` writes.
pub(super) fn truth(generator: &Generator) -> serde_json::Value {
    let stats = generator.stats();
    let malformed: serde_json::Map<String, serde_json::Value> = Malformation::ALL
        .iter()
        .zip(stats.malformed_by_kind)
        .map(|(kind, count)| (kind.to_string(), count.into()))
        .collect();
    json!({
        "seed": generator.options().seed,
        "start": instant_text(generator.options().start),
        "end": instant_text(generator.event_time_now()),
        "records": stats.records,
        "late": stats.late,
        "malformed": malformed,
        "anomalies": generator.ground_truth(),
    })
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in decimal units.
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.1} kB", b / 1e3),
        b => format!("{b:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in [(12, "12 B"), (3_456, "3.5 kB"), (7_800_000, "7.8 MB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
