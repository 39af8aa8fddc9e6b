use std::fs;
use std::path::Path;

use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: DetectArgs,
}

fn parsed(line: &[&str]) -> DetectArgs {
    Line::try_parse_from(["detect"].iter().chain(line)).unwrap().args
}

fn run(line: &[&str]) -> anyhow::Result<(Summary, Found)> {
    let args = parsed(line);
    let plan = Plan::of_arguments(&args)?;
    let form = CsvForm { delimiter: None, no_header: args.no_header };
    let batches = input::read(&plan.input, form, crate::catalog::Catalog::new())?;
    plan.run(&args, &batches)
}

/// A file of five-minute values of two endpoints, with a spike of one for three values.
fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn minutes(count: usize, spike: std::ops::Range<usize>) -> String {
    let mut text = "timestamp,value\n".to_owned();
    for i in 0..count {
        let value = if spike.contains(&i) { 2400 } else { 400 + i * 7 % 13 };
        text.push_str(&format!("2014-04-01 {:02}:{:02}:00,{value}\n", i / 12, i % 12 * 5));
    }
    text
}

#[test]
fn a_spike_in_a_file_is_one_anomaly_and_every_row_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "values.csv", &minutes(100, 60..63));
    let (summary, found) = run(&[&path, "--kind", "traffic_spike"]).unwrap();
    assert_eq!((summary.values, summary.series, summary.gaps), (100, 1, 0));
    assert_eq!(summary.interval_seconds, Some(300.0));
    assert_eq!(summary.anomalies.len(), 1);
    let anomaly = &summary.anomalies[0];
    assert_eq!(anomaly.started_at, "2014-04-01T05:00:00Z");
    assert_eq!(anomaly.ended_at.as_deref(), Some("2014-04-01T05:15:00Z"));
    assert_eq!((anomaly.windows, anomaly.severity), (3, "critical"));
    assert!(
        anomaly.reason.starts_with("requests 2,400 in 5 minutes, expected "),
        "{}",
        anomaly.reason
    );
    assert!(anomaly.reason.ends_with(", for 15 minutes"), "{}", anomaly.reason);
    let mut csv = Vec::new();
    output::write_csv(&mut csv, &found.rows, false).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "timestamp,value,expected,lower,upper,anomaly_score,is_anomaly");
    assert_eq!(lines[1], "2014-04-01 00:00:00,400,,,,0,false", "as it came, still warming up");
    assert_eq!(lines.len(), 101);
    assert!(lines[61].starts_with("2014-04-01 05:00:00,2400,") && lines[61].ends_with(",true"));
    let text = summary.as_text(100);
    assert!(text.contains("2014-04-01 05:00:00"), "{text}");
    assert!(text.contains("15 min"), "{text}");
}

#[test]
fn what_does_not_fit_is_counted_and_the_rest_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let text = "when;n;host\n\
        2014-04-01T00:10:00Z;3;a\n2014-04-01T00:00:00Z;1;a\n2014-04-01T00:05:00Z;2;a\n\
        2014-04-01T00:05:00Z;20;a\n;4;a\nsoon;4;a\n2014-04-01T00:15:00Z;;a\n\
        2014-04-01T00:20:00Z;NaN;a\n2014-04-01T00:25:00Z;many;a\n2014-04-01T01:00:00Z;5;b\n";
    let path = write(dir.path(), "values.csv", text);
    let (summary, found) =
        run(&[&path, "--kind", "traffic_spike", "--time", "WHEN", "--value", "n", "--key", "host"])
            .unwrap();
    let counts = &summary.counts;
    assert_eq!((counts.rows, counts.without_time, counts.without_value), (10, 2, 2));
    assert_eq!((counts.not_numbers, counts.out_of_order, counts.duplicates), (1, 3, 1));
    assert_eq!((summary.gaps, summary.longest_gap_seconds), (1, 2100.0));
    assert_eq!(summary.columns.keys, ["host"]);
    assert_eq!(summary.examples.len(), 2, "{:?}", summary.examples);
    assert!(summary.examples[0].contains("row 6") && summary.examples[0].contains("soon"));
    let shown: Vec<(Option<f64>, bool)> =
        found.rows.iter().map(|row| (row.point.value, row.judgement.is_some())).collect();
    let (judged, not) = (true, false);
    assert_eq!(
        shown,
        [
            (Some(1.0), judged),
            (Some(20.0), judged),
            (Some(3.0), judged),
            (None, not),
            (None, not),
            (None, not),
            (Some(5.0), judged)
        ]
    );
    let mut json = Vec::new();
    output::write_file(&dir.path().join("o.json"), Form::Json, &found.rows, true).unwrap();
    std::io::Read::read_to_end(&mut fs::File::open(dir.path().join("o.json")).unwrap(), &mut json)
        .unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 7);
    assert_eq!((&rows[3]["value"], &rows[6]["key"]), (&().into(), &"b".into()));
}

#[test]
fn windows_put_values_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "values.csv", &minutes(24, 0..0));
    let of = |how: &str| {
        let line = [path.as_str(), "--window", "1h", "--combine", how];
        run(&line).unwrap().1.rows.iter().map(|row| row.point.value.unwrap()).collect::<Vec<_>>()
    };
    let first_hour = (0..12).map(|i| (400 + i * 7 % 13) as f64);
    assert_eq!(of("sum")[0], first_hour.clone().sum::<f64>());
    assert_eq!(of("mean")[0], first_hour.clone().sum::<f64>() / 12.0);
    assert_eq!((of("max")[0], of("min")[0]), (412.0, 400.0));
    assert_eq!((of("count"), of("last").len()), (vec![12.0, 12.0], 2));
    assert_eq!(of("first")[0], 400.0);
}

#[test]
fn parquet_goes_in_and_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "values.csv", &minutes(100, 60..63));
    let (first, found) = run(&[&path, "--kind", "traffic_spike"]).unwrap();
    let parquet = dir.path().join("judged.parquet");
    output::write_file(&parquet, Form::Parquet, &found.rows, false).unwrap();
    let (second, _) = run(&[parquet.to_str().unwrap(), "--kind", "traffic_spike"]).unwrap();
    assert_eq!(second.columns.time, "timestamp");
    assert_eq!(
        serde_json::to_value(&first.anomalies).unwrap(),
        serde_json::to_value(&second.anomalies).unwrap()
    );
    let svg = plot::svg(&report::chart(&first, &found), Size::default()).unwrap();
    assert!(svg.contains("expected") && svg.contains("15 min"), "{svg}");
}

#[test]
fn a_file_without_a_header_and_standard_forms_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "values.tsv", "1396310400\t5\n1396310700\t6\n1396311000\t7\n");
    let (summary, _) = run(&[&path, "--no-header", "--value", "_c1"]).unwrap();
    assert_eq!(summary.from.as_deref(), Some("2014-04-01T00:00:00Z"));
    assert_eq!((summary.columns.time.as_str(), summary.values), ("_c0", 3));
}

#[test]
fn wrong_usage_says_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "values.csv", "time,requests,errors\n1,2,3\n");
    let error = |line: &[&str]| {
        let error = run(line).unwrap_err();
        assert!(error.is::<Usage>(), "{error:#}");
        error.to_string()
    };
    assert!(error(&[&path, "--value", "request"]).contains("did you mean 'requests'?"));
    assert!(error(&[&path, "--kind", "trafic_spike"]).contains("did you mean \"traffic_spike\"?"));
    assert!(
        error(&[&path, "--kind", "traffic_spike", "-p", "treshold=3"])
            .contains("did you mean \"threshold\"?")
    );
    assert!(
        error(&[&path, "--kind", "traffic_spike", "-p", "threshold=high"])
            .contains("expected a number from 1 to 100")
    );
    assert!(error(&[&path, "--kind", "error_rate"]).contains("needs --weight"));
    assert!(
        error(&[&path, "--time", "errors", "--series", "x"]).contains("there is no series 'x'")
    );
    let words = write(dir.path(), "words.csv", "when,what\nsoon,1\n");
    assert!(error(&[&words, "--time", "when", "--value", "what"]).contains("'soon'"));
    let wide = write(dir.path(), "wide.csv", "a,b,c,d\n1,2,3,4\n");
    assert!(error(&[&wide]).contains("a, b, c, d"));
    let gif = parsed(&[&path, "--plot", "x.gif"]);
    assert!(check_outputs(&gif).unwrap_err().to_string().contains(".svg or .png"));
    let text = parsed(&[&path, "--output", "x.text"]);
    assert!(check_outputs(&text).unwrap_err().to_string().contains(".parquet"));
    let many = write(dir.path(), "many.csv", "time,value\n1,2\n1800000000,3\n");
    assert!(error(&[&many, "--window", "10ms"]).contains("windows of that length"));
}

#[test]
fn several_series_taken_for_one_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = "timestamp,value,endpoint\n".to_owned();
    for i in 0..20 {
        text.push_str(&format!("{},1,/a\n{},2,/b\n", 1000 + i, 1000 + i));
    }
    let path = write(dir.path(), "values.csv", &text);
    let (summary, _) = run(&[&path]).unwrap();
    assert!(summary.examples[0].contains("--key (endpoint)"), "{:?}", summary.examples);
    let (summary, found) = run(&[&path, "--key", "endpoint"]).unwrap();
    assert!(summary.examples.is_empty());
    assert_eq!((summary.series, report::other_series(&found)), (2, 1));
}

#[test]
fn an_empty_file_is_an_error_and_one_without_rows_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "none.csv", "");
    assert!(format!("{:#}", run(&[&path]).unwrap_err()).contains("there is nothing in it"));
    let path = write(dir.path(), "header.csv", "timestamp,value\n");
    let (summary, found) = run(&[&path]).unwrap();
    assert_eq!((summary.values, summary.series, found.rows.len()), (0, 0, 0));
    assert!(summary.as_text(80).contains("0 of 0 series"));
}

#[test]
fn the_default_needs_no_tuning() {
    let dir = tempfile::tempdir().unwrap();
    // Four days of five minutes, so that it has seen enough to judge by.
    let mut text = "timestamp,value\n".to_owned();
    let start = 1_396_310_400;
    for i in 0..1152 {
        let day = (f64::from(i) / 288.0 * std::f64::consts::TAU).sin() * 50.0;
        let value =
            if (1000..1006).contains(&i) { 900.0 } else { 200.0 + day + f64::from(i * 7 % 13) };
        text.push_str(&format!("{},{value}\n", start + i * 300));
    }
    let path = write(dir.path(), "values.csv", &text);
    let (summary, _) = run(&[&path]).unwrap();
    assert_eq!(summary.kind, "auto");
    let began = time::text((start + 1000 * 300) as i64 * 1_000_000);
    assert!(summary.anomalies.iter().any(|a| a.started_at == began), "{:?}", summary.anomalies);
    assert!(summary.anomalies.len() <= 2, "{:?}", summary.anomalies);
}
