//! Metrics, rules and alerts before the real Prometheus and Alertmanager (Debian's packages).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::grafana;
use crate::support::daemon::{Daemon, millpond};
use crate::support::prometheus::{Receiver, Server, hurried, program, run, shipped};
use crate::support::{Dir, http, python, secs, wait_for, wait_until};

fn rule_files() -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(shipped("prometheus/rules"))
        .expect("prometheus/rules")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
}

#[test]
fn promtool_and_amtool_take_what_is_shipped() {
    run(program("promtool").args(["check", "config"]).arg(shipped("prometheus/prometheus.yml")));
    run(program("promtool")
        .args(["check", "rules", "--lint=all", "--lint-fatal"])
        .args(rule_files()));
    run(program("amtool").arg("check-config").arg(shipped("prometheus/alertmanager.yml")));
}

#[test]
fn every_rule_passes_its_tests() {
    let tests = fs::read_dir(shipped("prometheus/tests")).expect("prometheus/tests");
    let tests = tests.map(|entry| entry.expect("a file").path());
    run(program("promtool").args(["test", "rules"]).args(tests));
}

/// Rules, their tests and the runbooks as the YAML that they are, by a Python script.
#[test]
fn every_alert_fires_in_one_case_stays_silent_in_another_and_has_its_runbook() {
    let found = python::script("rules.py", &json!({ "root": shipped("") }));
    assert_eq!(found["problems"], json!([]));
    assert!(found["alerts"].as_u64() >= Some(25), "{found}");
}

/// Half an hour of event time goes by in this, so an hour of service lasts a minute.
const DEMO: &str = "30s";
const FACTOR: f64 = 60.0;

/// Alerts that a demo may raise beside that on anomalies: it has unreadable and late records on
/// purpose, and its event time begins half an hour ago. On a busy machine a scrape can take longer
/// than half a second, and the first one can come late.
const EXPECTED: [&str; 8] = [
    "MillpondAbsent",
    "MillpondAnomalyOpen",
    "MillpondDown",
    "MillpondSeriesOutOfBand",
    "MillpondDeadLetters",
    "MillpondLateRows",
    "MillpondWatermarkLagging",
    "MillpondConsumerLagGrowing",
];

#[test]
fn heavy_the_scripted_anomaly_fires_and_resolves_in_prometheus_and_alertmanager() {
    let dir = Dir::new();
    let receiver = Receiver::start();
    let alertmanager =
        Server::alertmanager(&alertmanager_config(dir.path(), &receiver), dir.path());
    let mut command = millpond();
    command.args(["demo", "--json", "--duration", DEMO, "--rate", "2k", "--listen", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(dir.path().join("demo"));
    let mut demo = Daemon::spawn(command, dir.path());
    let address = wait_for("the demo to serve", secs(20), || {
        let log = demo.log();
        let line = log.lines().find(|line| line.contains("serves metrics"))?;
        line.split("http://").nth(1)?.split('/').next()?.parse().ok()
    });
    let config = prometheus_config(dir.path(), address, alertmanager.address);
    let prometheus = Server::prometheus(&config, dir.path());
    let began = Instant::now();

    // Fires: the error burst of the script, found by the detector of error rates.
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let mut look = || {
        let alerts = alertmanager.json("/api/v2/alerts?active=true");
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        for alert in &alerts {
            let name = alert["labels"]["alertname"].as_str().unwrap_or_default();
            seen.insert(name.to_owned(), alert.clone());
        }
        alerts.into_iter().find(|alert| {
            alert["labels"]["alertname"] == "MillpondAnomalyOpen"
                && alert["labels"]["detector"] == "error_rate"
        })
    };
    let alert = wait_for("the alert on the error burst", secs(45), &mut look);
    let fired = began.elapsed();
    assert_eq!(alert["labels"]["pipeline"], "demo", "{alert}");
    assert_eq!(alert["labels"]["job"], "millpond", "{alert}");
    let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("error_rate of demo has"), "{summary}");

    // Both formats, with real traffic behind them.
    check_formats(address, &prometheus);

    suits_the_dashboards_of_promql_anomaly_detection(&prometheus);

    // Resolves, while the daemon goes on.
    wait_until("the alert to be resolved", secs(30), || look().is_none());
    let resolved = began.elapsed();
    let up = "max_over_time(up{job=\"millpond\"}[5s])";
    assert_eq!(prometheus.value(up), Some(1.0), "the demo is still there");
    assert!(demo.poll_exit().is_none(), "the demo is still there");
    let mut told: Vec<Value> = Vec::new();
    wait_until("Alertmanager to tell both", secs(10), || {
        told.extend(receiver.taken());
        let status = |status| {
            let alerts = told.iter().filter_map(|body| body["alerts"].as_array()).flatten();
            alerts.into_iter().any(|alert| {
                alert["labels"]["detector"] == "error_rate" && alert["status"] == status
            })
        };
        status("firing") && status("resolved")
    });

    // Nothing else was raised.
    let code = demo.wait_exit(secs(60));
    assert_eq!(code, 0, "the demo failed: {}", demo.log());
    look();
    let names: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    let unexpected: Vec<&&str> = names.iter().filter(|name| !EXPECTED.contains(*name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}: {seen:#?}");

    // The daemon has gone.
    wait_until("the alert on a daemon that is down", secs(20), || {
        let down = alertmanager.json("/api/v2/alerts?filter=alertname%3DMillpondDown");
        down.as_array().is_some_and(|alerts| !alerts.is_empty())
    });
    let panels = grafana::every_panel_shows_something(&prometheus, began.elapsed() + secs(5));
    println!(
        "fired after {fired:.1?}, resolved after {resolved:.1?}; {panels} queries of panels; {:.1?} in all",
        began.elapsed()
    );
}

/// The queries of <https://github.com/grafana/promql-anomaly-detection>'s dashboards, for a series
/// that its variables would choose.
fn suits_the_dashboards_of_promql_anomaly_detection(prometheus: &Server) {
    let series =
        prometheus.ask("series", &[("match[]", "{anomaly_name=~\".+\", job=\"millpond\"}")]);
    let names: BTreeSet<&str> = series
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|series| series["anomaly_name"].as_str())
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    let name =
        names.iter().find(|name| name.starts_with("demo:error_rate:/")).expect("an endpoint");
    let of = format!("job=\"millpond\", anomaly_name=\"{name}\", instance=~\".+\"");
    for query in [
        format!("anomaly:select{{{of}}}"),
        format!("last_over_time(anomaly:level{{{of}, anomaly_type=\"errors\"}}[2m])"),
        format!("last_over_time(anomaly:lower_band{{{of}, anomaly_strategy=\"millpond\"}}[2m])"),
        format!("last_over_time(anomaly:upper_band{{{of}, anomaly_select=\"1\"}}[2m])"),
    ] {
        assert!(prometheus.value(&query).is_some_and(f64::is_finite), "{query}");
    }
    let alerts = "last_over_time(ALERTS{job=\"millpond\", anomaly_name!=\"\", anomaly_select=\"1\", \
                  alertstate=\"firing\"}[2m])";
    assert_eq!(prometheus.value(alerts), Some(1.0), "{alerts}");
}

/// The shipped configuration, hurried, with a receiver that the test can hear.
fn alertmanager_config(dir: &Path, receiver: &Receiver) -> std::path::PathBuf {
    let text = fs::read_to_string(shipped("prometheus/alertmanager.yml")).expect("it is there");
    let hook = format!(
        "  - name: people\n    webhook_configs:\n      - url: http://{}/\n        send_resolved: true\n",
        receiver.address
    );
    let text = text.replace("  - name: people\n", &hook);
    assert!(text.contains(&hook), "{text}");
    // Groups are told every few seconds in service.
    let text = hurried(&text, &["group_wait", "group_interval"], FACTOR);
    let path = dir.join("alertmanager.yml");
    fs::write(&path, text).expect("the configuration");
    path
}

/// The shipped rules, hurried, and a scrape every half second.
fn prometheus_config(
    dir: &Path,
    millpond: std::net::SocketAddr,
    alertmanager: std::net::SocketAddr,
) -> std::path::PathBuf {
    let rules = dir.join("rules");
    fs::create_dir(&rules).expect("a directory");
    for file in rule_files() {
        let text = fs::read_to_string(&file).expect("rules");
        let text = hurried(&text, &["for", "keep_firing_for"], FACTOR);
        fs::write(rules.join(file.file_name().expect("a name")), text).expect("rules");
    }
    let config = json!({
        "global": {
            "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms",
        },
        "rule_files": [rules.join("*.yml")],
        "alerting": {"alertmanagers": [
            {"static_configs": [{"targets": [alertmanager.to_string()]}]},
        ]},
        "scrape_configs": [
            {"job_name": "millpond", "static_configs": [{"targets": [millpond.to_string()]}]},
        ],
    });
    // JSON is YAML.
    let path = dir.join("prometheus.yml");
    fs::write(&path, config.to_string()).expect("the configuration");
    run(program("promtool").args(["check", "config"]).arg(&path));
    path
}

/// What `/metrics` gives a person, and what it gives a scraper that asks for OpenMetrics; and that
/// Prometheus, which does, reads all of it.
fn check_formats(address: std::net::SocketAddr, prometheus: &Server) {
    let (_, text) = http::get(address, "/metrics").expect("the demo answers");
    let mut promtool = program("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");

    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (head, openmetrics) = http::get_as(address, "/metrics", accept).expect("the demo answers");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let read = python::script("metrics.py", &json!({"openmetrics": openmetrics, "text": text}));
    assert_eq!(read["problems"], json!([]));
    assert!(read["families"].as_u64() >= Some(60), "{read}");

    let count = |query: &str| prometheus.value(query).unwrap_or(0.0);
    assert!(count("count({__name__=~\"millpond_.+\", job=\"millpond\"})") > 400.0);
    // 2.42 asks for OpenMetrics first, so the types are those that OpenMetrics has.
    let metadata = prometheus.ask("metadata", &[("metric", "millpond_build")]);
    assert_eq!(metadata["millpond_build"][0]["type"], "info", "{metadata}");
    let metadata = prometheus.ask("metadata", &[("metric", "millpond_source_bytes")]);
    assert_eq!(metadata["millpond_source_bytes"][0]["unit"], "bytes", "{metadata}");
}
