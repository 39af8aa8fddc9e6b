//! Every metric of the daemon, once: `table.rs` holds name, type, unit, labels, help and buckets.
//!
//! The same table makes the handles (so a label cannot be forgotten or misspelt), the HELP lines,
//! the histogram buckets and the page in the documentation ([`markdown`]). Naming follows
//! <https://prometheus.io/docs/practices/naming/>: `millpond_<noun>_<unit>`, base units, `_total`
//! on counters; a test holds the table to it.

mod table;

use std::fmt::Write;
use std::marker::PhantomData;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

pub use table::*;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts again at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations in cumulative buckets, with their sum and count.
    Histogram,
}

impl Kind {
    /// The word in a TYPE line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric's number counts; the name ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration in seconds.
    Seconds,
    /// A point in time, in seconds since the Unix epoch.
    UnixSeconds,
    /// Bytes.
    Bytes,
    /// Things of the kind named.
    Count(&'static str),
    /// A number that names something, such as a table's version.
    Number(&'static str),
    /// 1 if what the name says is so, 0 if not.
    Flag(&'static str),
    /// Always 1; the labels are the information.
    Info,
}

impl Unit {
    /// What the metric's name (without `_total`) ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::UnixSeconds => "timestamp_seconds",
            Self::Bytes => "bytes",
            Self::Count(word) | Self::Number(word) | Self::Flag(word) => word,
            Self::Info => "info",
        }
    }

    /// The unit in words, for the documentation.
    pub fn describe(self) -> String {
        match self {
            Self::Seconds => "seconds".to_owned(),
            Self::UnixSeconds => "seconds since the Unix epoch".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Count(word) => word.replace('_', " "),
            Self::Number(_) => "number".to_owned(),
            Self::Flag(_) => "0 or 1".to_owned(),
            Self::Info => "always 1".to_owned(),
        }
    }

    /// The unit as OpenMetrics has it, which the name of the metric ends with; numbers of things
    /// have none.
    pub fn base(self) -> Option<&'static str> {
        match self {
            Self::Seconds | Self::UnixSeconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Count(_) | Self::Number(_) | Self::Flag(_) | Self::Info => None,
        }
    }

    fn recorded(self) -> Option<metrics::Unit> {
        match self {
            Self::Seconds | Self::UnixSeconds => Some(metrics::Unit::Seconds),
            Self::Bytes => Some(metrics::Unit::Bytes),
            Self::Count(_) => Some(metrics::Unit::Count),
            Self::Number(_) | Self::Flag(_) | Self::Info => None,
        }
    }
}

/// A metric's name with its `N` labels; `K` is the kind of handle it gives.
#[derive(Debug)]
pub struct Name<K, const N: usize> {
    name: &'static str,
    labels: [&'static str; N],
    kind: PhantomData<fn() -> K>,
}

/// Shown to recorders that filter by origin; ours does not.
static METADATA: Metadata<'static> = Metadata::new("millpond", Level::INFO, Some(module_path!()));

impl<K, const N: usize> Name<K, N> {
    const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, labels, kind: PhantomData }
    }

    /// The name as Prometheus sees it.
    pub fn as_str(&self) -> &'static str {
        self.name
    }

    fn key(&self, values: [&str; N]) -> Key {
        // The recorder takes two backslashes for one that is escaped already, and would render
        // values that differ in them alone as one.
        let labels: Vec<Label> = std::iter::zip(self.labels, values)
            .map(|(label, value)| Label::new(label, value.replace('\\', "\\\\")))
            .collect();
        Key::from_parts(self.name, labels)
    }
}

impl<const N: usize> Name<Counter, N> {
    /// The counter with these label values, in the table's order. Exported as 0 from now on, so
    /// that a rate sees the first increment. Looks up a map: keep the handle where it is hot.
    pub fn with(&self, values: [&str; N]) -> Counter {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }
}

impl<const N: usize> Name<Gauge, N> {
    /// The gauge with these label values, in the table's order.
    pub fn with(&self, values: [&str; N]) -> Gauge {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// Takes the gauge with these label values off the page: what it described is gone (a revoked
    /// partition's lag, say), and its last value must not be alerted on. The next `set` brings it
    /// back. The recorder cannot forget one series, so it is marked with a NaN, which the
    /// exporter leaves out.
    pub fn retire(&self, values: [&str; N]) {
        self.with(values).set(f64::NAN);
    }
}

impl<const N: usize> Name<Histogram, N> {
    /// The histogram with these label values, in the table's order.
    pub fn with(&self, values: [&str; N]) -> Histogram {
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The metric's name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Its labels, in the order handles take their values.
    pub labels: &'static [&'static str],
    /// Its help text, one sentence.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets, ascending, without +Inf; empty for other kinds.
    pub buckets: &'static [f64],
}

/// Tells the current recorder every metric's help text and unit.
pub fn describe() {
    metrics::with_recorder(|recorder| {
        for entry in ALL {
            let (name, unit, help) = (entry.name.into(), entry.unit.recorded(), entry.help.into());
            match entry.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
    });
}

/// The table of metrics and the table of labels in Markdown, for the documentation.
pub fn markdown() -> String {
    let mut page = String::from(
        "| metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    // Writing to a String cannot fail.
    for entry in ALL {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            entry.name,
            entry.kind.as_str(),
            entry.unit.describe(),
            labels.join(", "),
            entry.help,
        );
    }
    page.push_str("\n| label | values |\n| --- | --- |\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn is_snake_case(name: &str) -> bool {
        !name.is_empty()
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !name.contains("__")
            && !name.ends_with('_')
    }

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for entry in ALL {
            let name = entry.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(is_snake_case(name), "{name}");
            let stem = name.strip_prefix("millpond_").expect("every name has the prefix");
            let stem = match entry.kind {
                Kind::Counter => stem.strip_suffix("_total").expect("a counter ends in _total"),
                Kind::Gauge | Kind::Histogram => {
                    // Prometheus keeps these for the parts of histograms and for counters.
                    for reserved in ["_total", "_sum", "_count", "_bucket"] {
                        assert!(!stem.ends_with(reserved), "{name}");
                    }
                    stem
                }
            };
            let suffix = entry.unit.suffix();
            let noun = stem.strip_suffix(suffix).unwrap_or_else(|| {
                panic!("{name} does not end with its unit, {suffix}");
            });
            assert!(noun.ends_with('_'), "{name} has no noun before its unit");
            for scaled in ["milliseconds", "microseconds", "minutes", "kilobytes", "percent"] {
                assert!(!name.contains(scaled), "{name} is not in a base unit");
            }
            if matches!(entry.unit, Unit::Flag(_) | Unit::Info | Unit::UnixSeconds) {
                assert_eq!(entry.kind, Kind::Gauge, "{name}");
            }
        }
    }

    #[test]
    fn help_is_one_sentence_and_survives_the_exposition_format() {
        for Entry { name, help, .. } in ALL {
            assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
            assert!(!help.contains(['\n', '\\', '|']), "{name}: {help}");
            assert!(help.starts_with(|c: char| c.is_ascii_uppercase()), "{name}: {help}");
        }
    }

    #[test]
    fn labels_are_known_and_bounded() {
        let known: HashSet<&str> = LABELS.iter().map(|(label, _)| *label).collect();
        assert_eq!(known.len(), LABELS.len(), "a label is there twice");
        let used: HashSet<&str> = ALL.iter().flat_map(|entry| entry.labels).copied().collect();
        assert_eq!(used, known, "every label says what bounds it, and is used");
        for label in known {
            assert!(is_snake_case(label), "{label}");
            // `le`, `job` and `instance` are Prometheus' own; the others grow with the input.
            let unfit = ["le", "quantile", "job", "instance", "key", "ip", "client", "user"];
            assert!(!unfit.contains(&label), "{label}");
            assert!(!["offset", "error", "payload", "path", "url"].contains(&label), "{label}");
        }
        for entry in ALL {
            let unique: HashSet<_> = entry.labels.iter().collect();
            assert_eq!(unique.len(), entry.labels.len(), "{}", entry.name);
        }
    }

    #[test]
    fn histograms_alone_have_buckets_and_those_ascend() {
        for entry in ALL {
            assert_eq!(entry.kind == Kind::Histogram, !entry.buckets.is_empty(), "{}", entry.name);
            assert!(entry.buckets.is_sorted_by(|a, b| a < b), "{}", entry.name);
            assert!(entry.buckets.iter().all(|b| b.is_finite() && *b > 0.0), "{}", entry.name);
        }
    }

    #[test]
    fn the_documentation_has_a_row_for_each() {
        let page = markdown();
        for entry in ALL {
            assert_eq!(page.matches(&format!("| `{}` |", entry.name)).count(), 1);
        }
        for line in page.lines().take(ALL.len() + 2) {
            assert_eq!(line.matches('|').count(), 6, "{line}");
        }
        for (label, _) in LABELS {
            assert!(page.contains(&format!("\n| `{label}` | ")), "{label}");
        }
    }

    /// What the page has between these is [`markdown`]'s.
    const BEGIN: &str = "<!-- begin: src/telemetry/names/table.rs -->\n\n";
    const END: &str = "\n<!-- end -->\n";

    #[test]
    fn the_documentation_has_the_table_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
        let page = std::fs::read_to_string(path).expect("docs/METRICS.md");
        let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
        let (table, after) = rest.split_once(END).expect("where the table ends");
        if std::env::var_os("MILLPOND_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", markdown()))
                .expect("docs/METRICS.md can be written");
            return;
        }
        let expected = markdown();
        for (is, should) in table.lines().zip(expected.lines()) {
            assert_eq!(is, should, "docs/METRICS.md; MILLPOND_WRITE_DOCS=1 writes it");
        }
        assert_eq!(table.lines().count(), expected.lines().count());
    }
}
