//! The detectors on the Numenta Anomaly Benchmark (NAB), scored by its published formula.
//!
//! `cargo bench --bench nab -- [DIRECTORY] [--kind auto] [--set KEY=VALUE ...] [--json] [--scores DIRECTORY]`
//!
//! DIRECTORY (or the environment variable `MILLPOND_NAB`) is a clone of github.com/numenta/NAB (MIT
//! licence; the labels are read from `labels/combined_windows.json`), or a part of it with its
//! labels in `labels.json`. Each file is one series with one detector of the kind, all with the
//! same parameters; nothing is known to it of labels, length, least or greatest value.
//!
//! Scored as in NAB (A. Lavin and S. Ahmad, "Evaluating real-time anomaly detection algorithms: the
//! Numenta Anomaly Benchmark", 2015): the first 15 % of a file, at most 750 rows, do not count; the
//! best-placed detection in a labelled window earns up to 1 by a sigmoid of its place; each detection
//! outside costs up to 0.11 (0.22 in the low-FP profile) by its distance from the window before it;
//! a window without any costs 1 (2 in the low-FN profile); 0 is who says nothing and 100 who is
//! perfect. NAB looks for the one threshold over all files that gives the best sum; "fixed" is at the
//! threshold that the detector itself alerts at (a score above 0.5), "best" is as NAB does.
//!
//! The table has, for each family: the scores, windows found, false alerts for each series and
//! day that counts, values judged for each second of CPU time (one thread), and bytes of state for a series.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use comfy_table::{CellAlignment, Table, presets};
use millpond::anomaly::{DetectorSpec, SeriesValue, WindowSlice, build};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a detection, a missed window and a false alert count.
#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    found: f64,
    missed: f64,
    wrong: f64,
}

const PROFILES: [Profile; 3] = [
    Profile { name: "standard", found: 1.0, missed: 1.0, wrong: 0.11 },
    Profile { name: "low FP", found: 1.0, missed: 1.0, wrong: 0.22 },
    Profile { name: "low FN", found: 1.0, missed: 2.0, wrong: 0.11 },
];

/// Where a row is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Probation,
    Outside,
    Window(usize),
}

struct Series {
    name: String,
    family: String,
    /// Seconds since the epoch.
    times: Vec<i64>,
    scores: Vec<f64>,
    alerts: Vec<bool>,
    /// For each row: its weight before the profile's factor, and where it is.
    weights: Vec<(f64, Place)>,
    windows: usize,
    days: f64,
    cpu: f64,
    state: usize,
}

struct Options {
    directory: PathBuf,
    spec: DetectorSpec,
    json: bool,
    scores: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let (mut directory, mut json, mut scores) = (std::env::var_os("MILLPOND_NAB"), false, None);
    let (mut kind, mut set) = ("auto".to_owned(), String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // What `cargo bench` itself adds.
            "--bench" => {}
            "--json" => json = true,
            "--kind" => kind = next()?,
            "--set" => set = format!("{set}{}\n", next()?),
            "--scores" => scores = Some(PathBuf::from(next()?)),
            other if other.starts_with("--") => {
                return Err(format!("unknown option {other}").into());
            }
            path => directory = Some(path.into()),
        }
    }
    let directory = directory.ok_or(
        "where is the benchmark? Give a clone of https://github.com/numenta/NAB as an argument or in MILLPOND_NAB",
    )?;
    let spec = DetectorSpec::from_parameters(&kind, &set.parse()?)?;
    Ok(Options { directory: directory.into(), spec, json, scores })
}

fn seconds(text: &str) -> Result<i64> {
    let whole = text.split('.').next().unwrap_or(text).replace('T', " ");
    let time = NaiveDateTime::parse_from_str(&whole, "%Y-%m-%d %H:%M:%S")
        .map_err(|e| format!("{text}: {e}"))?;
    Ok(time.and_utc().timestamp())
}

fn rows(path: &Path) -> Result<Vec<(i64, f64)>> {
    let mut reader =
        csv::Reader::from_path(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let field = |at: usize| record.get(at).ok_or(format!("{}: short row", path.display()));
        rows.push((seconds(field(0)?)?, field(1)?.parse()?));
    }
    Ok(rows)
}

/// Runs a fresh detector over one file.
fn run(spec: &DetectorSpec, name: &str, rows: &[(i64, f64)]) -> Result<Series> {
    let mut detector = build("nab", spec);
    let started = cpu_seconds();
    let (mut scores, mut alerts) = (Vec::new(), Vec::new());
    for (i, (time, value)) in rows.iter().enumerate() {
        let start = time * 1_000_000;
        // To the next row, where there is one.
        let end = rows.get(i + 1).map_or(start + 1, |next| (next.0 * 1_000_000).max(start + 1));
        let series = [SeriesValue { key: "".into(), value: *value, weight: 1.0 }];
        let judged = detector.judge(&WindowSlice { start, end, series: &series });
        // Rows that do not go on in time (summer time ends) are not judged.
        let judgement = judged.first();
        scores.push(judgement.map_or(0.0, |j| j.score));
        alerts.push(judgement.is_some_and(|j| j.anomaly.is_some()));
    }
    let cpu = cpu_seconds() - started;
    Ok(Series {
        name: name.to_owned(),
        family: name.split('/').next().unwrap_or(name).to_owned(),
        times: rows.iter().map(|row| row.0).collect(),
        scores,
        alerts,
        weights: Vec::new(),
        windows: 0,
        days: 0.0,
        cpu,
        state: detector.snapshot()?.len(),
    })
}

fn sigmoid(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y).exp()) - 1.0
}

/// Weighs every row. Windows are numbered from `first`.
fn weigh(series: &mut Series, windows: &[(i64, i64)], first: usize) -> Result<()> {
    let n = series.times.len();
    let at: HashMap<i64, usize> = series.times.iter().enumerate().map(|(i, t)| (*t, i)).collect();
    let place = |time: &i64| {
        at.get(time)
            .copied()
            .ok_or(format!("{}: no row at {time}, where a window ends", series.name))
    };
    let spans = windows
        .iter()
        .map(|(from, to)| Ok((place(from)?, place(to)?)))
        .collect::<std::result::Result<Vec<_>, String>>()?;
    let mut weights = vec![(-1.0, Place::Outside); n];
    for (k, (from, to)) in spans.iter().copied().enumerate() {
        let length = (to - from) as f64;
        for (i, weight) in weights.iter_mut().enumerate().take(to + 1).skip(from) {
            let before_end = (to - i + 1) as f64 / (length + 1.0);
            *weight = (sigmoid(-before_end) / sigmoid(-1.0), Place::Window(first + k));
        }
        let next = spans.get(k + 1).map_or(n, |span| span.0);
        for (i, weight) in weights.iter_mut().enumerate().take(next).skip(to + 1) {
            let y = (i - to) as f64 / length.max(1.0);
            weight.0 = if y > 3.0 { -1.0 } else { sigmoid(y) };
        }
    }
    let probation = ((n as f64 * 0.15).floor()).min(750.0) as usize;
    for weight in weights.iter_mut().take(probation) {
        weight.1 = Place::Probation;
    }
    // Days on which a false alert could have been counted.
    if let (Some(from), Some(to)) = (series.times.get(probation), series.times.last()) {
        series.days = (to - from) as f64 / 86_400.0;
    }
    series.weights = weights;
    series.windows = windows.len();
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    score: f64,
    threshold: f64,
    found: usize,
    wrong: usize,
}

/// The sum of rows in this order, and at which rows it may be cut.
fn best(rows: &[(f64, f64, Place)], windows: usize, profile: Profile, cut: Option<f64>) -> Outcome {
    let mut seen: BTreeMap<usize, f64> = BTreeMap::new();
    for (_, _, place) in rows {
        if let Place::Window(window) = place {
            seen.insert(*window, -profile.missed);
        }
    }
    let base = -profile.missed * seen.len() as f64;
    let scaled = |total: f64| 100.0 * (total - base) / (windows as f64 * profile.found - base);
    let mut order: Vec<&(f64, f64, Place)> =
        rows.iter().filter(|row| cut.is_none_or(|cut| row.0 > cut)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut now = Outcome { threshold: f64::INFINITY, ..Outcome::default() };
    let (mut total, mut top) = (base, base);
    let mut outcome = now;
    for (i, (score, weight, place)) in order.iter().enumerate() {
        match place {
            Place::Probation => {}
            Place::Outside => {
                total += weight * profile.wrong;
                now.wrong += 1;
            }
            Place::Window(window) => {
                let part = seen.entry(*window).or_insert(-profile.missed);
                now.found += usize::from(*part == -profile.missed);
                let gain = (weight * profile.found).max(*part);
                total += gain - *part;
                *part = gain;
            }
        }
        // Rows of one score are taken together.
        let last = order.get(i + 1).is_none_or(|next| next.0 != *score);
        now.threshold = *score;
        if last && cut.is_none() && total > top {
            top = total;
            outcome = now;
        }
    }
    if cut.is_some() {
        (outcome, top) = (now, total);
    }
    Outcome { score: if windows == 0 { f64::NAN } else { scaled(top) }, ..outcome }
}

/// One line of the table.
fn line(name: &str, series: &[&Series]) -> Value {
    let windows: usize = series.iter().map(|s| s.windows).sum();
    let mut rows = Vec::new();
    for s in series {
        for ((score, alert), (weight, place)) in s.scores.iter().zip(&s.alerts).zip(&s.weights) {
            if *place != Place::Probation {
                rows.push((*score, *alert, *weight, *place));
            }
        }
    }
    let by_score: Vec<(f64, f64, Place)> = rows.iter().map(|r| (r.0, r.2, r.3)).collect();
    let by_alert: Vec<(f64, f64, Place)> =
        rows.iter().map(|r| (f64::from(u8::from(r.1)), r.2, r.3)).collect();
    let days: f64 = series.iter().map(|s| s.days).sum();
    let fixed = PROFILES.map(|profile| best(&by_alert, windows, profile, Some(0.5)));
    let swept = PROFILES.map(|profile| best(&by_score, windows, profile, None));
    let values: usize = series.iter().map(|s| s.scores.len()).sum();
    let named = |outcomes: &[Outcome; 3]| {
        PROFILES.iter().zip(outcomes).map(|(p, o)| (p.name, o.score)).collect::<HashMap<_, _>>()
    };
    json!({
        "name": name,
        "series": series.len(),
        "windows": windows,
        "fixed": named(&fixed),
        "best": named(&swept),
        "best_threshold": swept[0].threshold,
        "found": fixed[0].found,
        "false_alerts": fixed[0].wrong,
        "series_days": days,
        "false_alerts_per_series_day": fixed[0].wrong as f64 / days,
        "values_per_cpu_second": values as f64 / series.iter().map(|s| s.cpu).sum::<f64>(),
        "state_bytes": series.iter().map(|s| s.state).max(),
    })
}

fn main() -> Result<()> {
    let options = options()?;
    let directory = &options.directory;
    let labels = ["labels.json", "labels/combined_windows.json"]
        .map(|name| directory.join(name))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(format!(
            "{}: no labels.json and no labels/combined_windows.json",
            directory.display()
        ))?;
    let labels: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_slice(&fs::read(&labels)?)?;
    let mut all = Vec::new();
    let mut first = 0;
    for (name, windows) in &labels {
        let rows = rows(&directory.join("data").join(name))?;
        let mut series = run(&options.spec, name, &rows)?;
        let windows = windows
            .iter()
            .map(|(from, to)| Ok((seconds(from)?, seconds(to)?)))
            .collect::<Result<Vec<_>>>()?;
        weigh(&mut series, &windows, first)?;
        first += windows.len();
        if let Some(into) = &options.scores {
            write_scores(&into.join(name), &series)?;
        }
        all.push(series);
    }
    let mut families: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    for series in &all {
        families.entry(&series.family).or_default().push(series);
    }
    let mut lines: Vec<Value> =
        families.iter().map(|(family, series)| line(family, series)).collect();
    lines.push(line("all", &all.iter().collect::<Vec<_>>()));
    if options.json {
        let each: Vec<Value> = all.iter().map(|s| line(&s.name, &[s])).collect();
        println!("{}", serde_json::to_string_pretty(&json!({"families": lines, "series": each}))?);
    } else {
        print(&lines);
    }
    Ok(())
}

/// In the form that NAB's own scorer reads.
fn write_scores(path: &Path, series: &Series) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut text = String::from("timestamp,anomaly_score\n");
    for (time, score) in series.times.iter().zip(&series.scores) {
        let time = chrono::DateTime::from_timestamp(*time, 0).ok_or("a time out of range")?;
        text.push_str(&format!("{},{score}\n", time.format("%Y-%m-%d %H:%M:%S")));
    }
    fs::write(path, text)?;
    Ok(())
}

fn print(lines: &[Value]) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "family",
        "series",
        "standard",
        "low FP",
        "best std",
        "best low FP",
        "found",
        "false",
        "a day",
        "values/s",
        "state",
    ]);
    for i in 1..11 {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in lines {
        let number = |at: &str, digits: usize| match line.pointer(at).and_then(Value::as_f64) {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        table.add_row([
            line["name"].as_str().unwrap_or_default().to_owned(),
            number("/series", 0),
            number("/fixed/standard", 1),
            number("/fixed/low FP", 1),
            number("/best/standard", 1),
            number("/best/low FP", 1),
            format!("{}/{}", line["found"], line["windows"]),
            number("/false_alerts", 0),
            number("/false_alerts_per_series_day", 3),
            number("/values_per_cpu_second", 0),
            number("/state_bytes", 0),
        ]);
    }
    println!("{table}");
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct that it is given, which lives here; any bits are valid.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
