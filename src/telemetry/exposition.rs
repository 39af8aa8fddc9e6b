//! The two formats that a page of metrics is written in, and how a scraper says which it takes.
//!
//! - Prometheus' text format 0.0.4
//!   (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>);
//! - OpenMetrics 1.0.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>): metric families
//!   with units, counters and the build information by their own types, and an end that tells a
//!   whole page from one that was cut off.
//!
//! A series has the same name and the same labels in both, bucket bounds included (`le="1.0"`, as
//! OpenMetrics writes it), so that a scraper that changes from one to the other goes on with the
//! series it has.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::names::{ALL, Entry, Kind, Unit};

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

const OPENMETRICS: &str = "application/openmetrics-text";

impl Format {
    /// Its media type, with version and character set.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers (RFC 9110, 12.5.1). OpenMetrics has to be named,
    /// in this version or in none, with no less weight than text has; everything else gets text,
    /// which every tool reads.
    pub fn negotiate(accept: &str) -> Self {
        let (mut openmetrics, mut text, mut any) = (0.0_f32, None::<f32>, None::<f32>);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut version) = (1.0_f32, None);
            for parameter in parts {
                let Some((name, value)) = parameter.split_once('=') else { continue };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    // What is no weight weighs nothing.
                    "q" => weight = value.parse().unwrap_or(0.0),
                    "version" => version = Some(value.to_owned()),
                    _ => {}
                }
            }
            match media.as_str() {
                OPENMETRICS if version.is_none_or(|version| version == "1.0.0") => {
                    openmetrics = openmetrics.max(weight);
                }
                "text/plain" | "text/*" => text = Some(weight.max(text.unwrap_or(0.0))),
                "*/*" => any = Some(weight.max(any.unwrap_or(0.0))),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= text.or(any).unwrap_or(0.0) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// One metric's samples, and what is said about it.
#[derive(Debug)]
pub(super) struct Family<'a> {
    pub kind: Kind,
    pub unit: Option<Unit>,
    pub help: &'a str,
    /// Whole lines, in the order in which they are written.
    pub samples: Vec<String>,
}

/// Families by name (that of the samples, `_total` included), so that two pages can be compared.
pub(super) type Families<'a> = BTreeMap<&'a str, Family<'a>>;

/// Takes apart what the recorder renders: in the order of a hash map, with retired gauges (see
/// [`super::names::Name::retire`]), and with bounds such as `le="1"`.
pub(super) fn parse(rendered: &str) -> Families<'_> {
    let known: BTreeMap<&str, &Entry> = ALL.iter().map(|entry| (entry.name, entry)).collect();
    let mut families = Families::new();
    for block in rendered.split("\n\n") {
        let (head, samples): (Vec<&str>, Vec<&str>) =
            block.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
        let Some(type_line) = head.iter().find_map(|line| line.strip_prefix("# TYPE ")) else {
            continue;
        };
        let (name, word) = type_line.split_once(' ').unwrap_or((type_line, ""));
        let entry = known.get(name);
        let kind = match word {
            "counter" => Kind::Counter,
            "histogram" => Kind::Histogram,
            _ => Kind::Gauge,
        };
        let mut samples: Vec<String> = match kind {
            Kind::Counter => samples.into_iter().map(str::to_owned).collect(),
            Kind::Gauge => samples
                .into_iter()
                .filter(|line| !line.ends_with(" NaN"))
                .map(str::to_owned)
                .collect(),
            Kind::Histogram => samples.into_iter().map(with_canonical_bound).collect(),
        };
        // A histogram's lines belong in the order of their buckets, as the recorder writes them.
        if kind != Kind::Histogram {
            samples.sort_unstable();
        }
        if samples.is_empty() {
            continue;
        }
        let of_recorder = head
            .iter()
            .find_map(|line| line.strip_prefix("# HELP ")?.strip_prefix(name)?.strip_prefix(' '));
        families.insert(
            name,
            Family {
                kind,
                unit: entry.map(|entry| entry.unit),
                help: entry.map(|entry| entry.help).or(of_recorder).unwrap_or_default(),
                samples,
            },
        );
    }
    families
}

/// A bucket's line with its bound as OpenMetrics wants it; other lines as they are.
fn with_canonical_bound(line: &str) -> String {
    let mark = "le=\"";
    // `le` is the last label, and its value holds no quotes.
    let bound = line.rfind(mark).and_then(|start| {
        let start = start + mark.len();
        let end = start + line.get(start..)?.find('"')?;
        Some((start, end, line.get(start..end)?.parse::<f64>().ok()?))
    });
    match bound {
        Some((start, end, bound)) if bound.is_finite() => {
            format!("{}{}{}", &line[..start], canonical(bound), &line[end..])
        }
        _ => line.to_owned(),
    }
}

/// A positive number as Go's `%g` writes it, with a point (`1.0`) where it has no exponent: the
/// canonical form of a bound.
fn canonical(bound: f64) -> String {
    if bound != 0.0 && !(1e-4..1e6).contains(&bound) {
        let text = format!("{bound:e}");
        if let Some((digits, exponent)) = text.split_once('e') {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            return format!("{digits}e{sign}{exponent:0>2}");
        }
    }
    format!("{bound:?}")
}

/// Writes the page.
pub(super) fn write(families: &Families<'_>, format: Format) -> String {
    let mut page = String::new();
    for (name, family) in families {
        match format {
            Format::Text => write_text(&mut page, name, family),
            Format::OpenMetrics => write_openmetrics(&mut page, name, family),
        }
    }
    if format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    page
}

// Writing to a String cannot fail, here and below.
fn write_text(page: &mut String, name: &str, family: &Family<'_>) {
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(page, "# HELP {name} {help}");
    let _ = writeln!(page, "# TYPE {name} {}", family.kind.as_str());
    for sample in &family.samples {
        let _ = writeln!(page, "{sample}");
    }
    page.push('\n');
}

fn write_openmetrics(page: &mut String, name: &str, family: &Family<'_>) {
    let (name, kind) = match (family.kind, family.unit) {
        (Kind::Counter, _) => (name.strip_suffix("_total").unwrap_or(name), "counter"),
        (_, Some(Unit::Info)) => (name.strip_suffix("_info").unwrap_or(name), "info"),
        (kind, _) => (name, kind.as_str()),
    };
    let _ = writeln!(page, "# TYPE {name} {kind}");
    if let Some(unit) = family.unit.and_then(Unit::base) {
        let _ = writeln!(page, "# UNIT {name} {unit}");
    }
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    let _ = writeln!(page, "# HELP {name} {help}");
    for sample in &family.samples {
        let _ = writeln!(page, "{sample}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::exporter::recorder;
    use crate::telemetry::names;

    fn rendered(count: impl FnOnce()) -> String {
        let recorder = recorder().expect("the table is sound");
        metrics::with_local_recorder(&recorder, count);
        recorder.handle().render()
    }

    #[test]
    fn families_are_sorted_and_retired_gauges_left_out() {
        let recorder = recorder().expect("the table is sound");
        metrics::with_local_recorder(&recorder, || {
            names::CONSUMER_LAG.with(["p", "logs", "t-1"]).set(5.0);
            names::CONSUMER_LAG.with(["p", "logs", "t-0"]).set(7.0);
            names::IDLE.with(["p", "logs", "t-1"]).set(1.0);
            names::CONSUMER_LAG.retire(["p", "logs", "t-1"]);
            names::IDLE.retire(["p", "logs", "t-1"]);
            names::RECORDS.with(["p", "logs", "t-0"]).increment(3);
            names::DECODE_SECONDS.with(["p", "logs"]).record(0.002);
        });
        let text = |rendered: &str| write(&parse(rendered), Format::Text);
        let page = text(&recorder.handle().render());
        let lag = "millpond_source_consumer_lag_records{pipeline=\"p\",source=\"logs\",partition";
        assert!(page.contains(&format!("{lag}=\"t-0\"}} 7\n")), "{page}");
        assert!(!page.contains("t-1") && !page.contains("idle"), "{page}");
        let names: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.is_sorted(), "{names:?}");
        let buckets: Vec<&str> = page.lines().filter(|line| line.contains("le=\"")).collect();
        assert!(buckets.first().is_some_and(|line| line.contains("le=\"0.0001\"")), "{page}");
        assert!(buckets.last().is_some_and(|line| line.contains("le=\"+Inf\"")), "{page}");

        metrics::with_local_recorder(&recorder, || {
            names::CONSUMER_LAG.with(["p", "logs", "t-1"]).set(2.0);
        });
        let page = text(&recorder.handle().render());
        assert!(page.contains(&format!("{lag}=\"t-1\"}} 2\n")), "it came back: {page}");
    }

    #[test]
    fn openmetrics_names_families_and_ends() {
        let rendered = rendered(|| {
            names::BUILD.with(["1.0", "abc"]).set(1.0);
            names::RECORD_BYTES.with(["p", "logs", "t-0"]).increment(3);
            names::DEAD_LETTERS.with(["p", "logs", "syntax"]).increment(1);
            names::SINK_COMMIT_SECONDS.with(["p", "s"]).record(0.3);
        });
        let page = write(&parse(&rendered), Format::OpenMetrics);
        let expected = [
            "# TYPE millpond_build info\n# HELP millpond_build The build that is running.\n\
             millpond_build_info{version=\"1.0\",revision=\"abc\"} 1\n",
            "# TYPE millpond_codec_dead_letter_records counter\n# HELP ",
            "# TYPE millpond_source_bytes counter\n# UNIT millpond_source_bytes bytes\n# HELP ",
            "\nmillpond_source_bytes_total{pipeline=\"p\",source=\"logs\",partition=\"t-0\"} 3\n",
            "# UNIT millpond_sink_commit_duration_seconds seconds\n",
            "le=\"1.0\"} 1\n",
            "le=\"120.0\"} 1\n",
        ];
        for part in expected {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(page.ends_with("\n# EOF\n") && page.matches("# EOF").count() == 1, "{page}");
        assert!(!page.contains("\n\n"), "{page}");
    }

    #[test]
    fn label_values_come_out_as_they_went_in() {
        for value in ["a\n\n# TYPE x\"", "\\", "a\\\"b", "\\\\", "\\\n\\", "\\n", "plain", "ü{}"] {
            let rendered = rendered(|| names::OUTPUT_ROWS.with([value, "q"]).increment(1));
            for format in [Format::Text, Format::OpenMetrics] {
                let page = write(&parse(&rendered), format);
                let samples: Vec<&str> =
                    page.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
                let escaped = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
                let sample = format!(
                    "millpond_query_output_rows_total{{pipeline=\"{escaped}\",query=\"q\"}} 1"
                );
                assert_eq!(samples, [sample], "{value:?}");
            }
        }
    }

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        let cases = [
            (0.0001, "0.0001"),
            (0.000_25, "0.00025"),
            (0.000_05, "5e-05"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (1e5, "100000.0"),
            (1e6, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1_073_741_824.0, "1.073741824e+09"),
            (1e12, "1e+12"),
        ];
        for (bound, text) in cases {
            assert_eq!(canonical(bound), text);
            assert_eq!(text.parse(), Ok(bound));
        }
    }

    #[test]
    fn every_bound_of_the_table_keeps_its_value() {
        for bound in ALL.iter().flat_map(|entry| entry.buckets) {
            assert_eq!(canonical(*bound).parse(), Ok(*bound));
        }
    }

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        let openmetrics = [
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text",
            "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
            // Prometheus 2.42 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "Application/OpenMetrics-Text, text/plain",
            "text/plain;q=0.2, */*, application/openmetrics-text;q=0.2",
        ];
        for accept in openmetrics {
            assert_eq!(Format::negotiate(accept), Format::OpenMetrics, "{accept}");
        }
        let text = [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=much",
            "application/openmetrics-text;q=0.4,text/plain;q=0.5",
            "application/openmetrics-text;q=0.1,*/*",
            ";;,,=;q",
        ];
        for accept in text {
            assert_eq!(Format::negotiate(accept), Format::Text, "{accept}");
        }
    }
}
