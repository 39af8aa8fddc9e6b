//! The dashboards: that they are what their source makes, that Grafana can take them, and that
//! every query of every panel shows something where there is something to show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::prometheus::{Server, run, shipped};
use crate::support::python;

fn dashboards() -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = fs::read_dir(shipped("grafana/dashboards"))
        .expect("grafana/dashboards")
        .map(|entry| {
            let path = entry.expect("a file").path();
            let text = fs::read_to_string(&path).expect("a dashboard");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// All panels of a dashboard, those in rows that are folded included.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let outer = list(dashboard, "/panels");
    let inner = outer.iter().flat_map(|panel| list(panel, "/panels"));
    outer.iter().chain(inner).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn the_files_are_what_the_source_makes() {
    run(Command::new("python3").arg("-B").arg(shipped("grafana/generate.py")).arg("--check"));
}

#[test]
fn dashboards_have_the_shape_that_grafana_expects() {
    let mut uids = BTreeSet::new();
    let all = dashboards();
    assert_eq!(all.len(), 5);
    for (file, dashboard) in &all {
        let uid = text(dashboard, "uid");
        assert_eq!(file, &format!("{uid}.json"));
        assert!(uids.insert(uid) && uid.len() <= 40, "{file}: {uid}");
        assert!(!text(dashboard, "title").is_empty() && !text(dashboard, "description").is_empty());
        assert_eq!(dashboard["schemaVersion"], 41, "{file}");
        assert!(dashboard["id"].is_null(), "{file}: Grafana gives the id");
        let variables: BTreeSet<&str> =
            list(dashboard, "/templating/list").iter().map(|v| text(v, "name")).collect();
        for needed in ["datasource", "job", "instance"] {
            assert!(variables.contains(needed), "{file} has no variable {needed}");
        }
        assert!(variables.contains("pipeline") || uid == "millpond-fleet", "{file}");
        assert!(list(dashboard, "/annotations/list").len() >= 2, "{file} has no marks");

        let mut ids = BTreeSet::new();
        for panel in panels(dashboard) {
            let title = format!("{file}: {}", text(panel, "title"));
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
            if panel["type"] == "row" {
                continue;
            }
            assert!(!text(panel, "title").is_empty(), "{title}");
            assert!(text(panel, "description").ends_with('.'), "{title} has no description");
            assert!(panel.pointer("/fieldConfig/defaults/unit").is_some(), "{title} has no unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            let targets = list(panel, "/targets");
            assert!(!targets.is_empty(), "{title} shows nothing");
            let refs: BTreeSet<&str> = targets.iter().map(|t| text(t, "refId")).collect();
            assert_eq!(refs.len(), targets.len(), "{title}");
            for target in targets {
                let expr = text(target, "expr");
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
                for name in used(expr) {
                    assert!(
                        variables.contains(&*name) || name == "__rate_interval",
                        "{title}: there is no ${name} in {expr}"
                    );
                }
                // A fixed range in a graph shows another number at each zoom.
                if panel["type"] == "timeseries" && expr.contains("rate(") {
                    assert!(expr.contains("[$__rate_interval]"), "{title}: {expr}");
                }
            }
        }
        overlaps(file, list(dashboard, "/panels"));
    }
}

/// Names of the variables in a text.
fn used(text: &str) -> Vec<String> {
    text.split('$')
        .skip(1)
        .map(|rest| {
            rest.trim_start_matches('{')
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
        .collect()
}

fn overlaps(file: &str, panels: &[Value]) {
    let mut taken: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{file}: {panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                let title = text(panel, "title");
                if let Some(other) = taken.insert((x, y), title) {
                    panic!("{file}: {title} lies on {other}");
                }
            }
        }
    }
}

#[test]
fn provisioning_leads_to_what_compose_mounts() {
    let found = python::script("grafana.py", &json!({ "root": shipped("") }));
    assert_eq!(found["problems"], json!([]));
}

/// Metrics of what the demo's configuration does not have: static tables, expectations, batch jobs.
/// Their panels have to show something as soon as there is such a metric. (That their queries name
/// metrics and labels that exist is checked with the table of metrics.)
const OPTIONAL: [&str; 3] = ["millpond_table_", "millpond_expectation_", "millpond_batch_"];

/// Asks `prometheus` every query of every panel, every variable and every mark, over the last
/// `span`. Fails on a query of a panel that shows nothing, and on a variable without values.
/// Gives the number of panels' queries.
pub fn every_panel_shows_something(prometheus: &Server, span: Duration) -> usize {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
    // A step beyond now, so that the last one sees what is there now.
    let (start, end) = ((now - span.as_secs_f64()).to_string(), (now + 1.0).to_string());
    let mut asked = 0;
    let mut empty = Vec::new();
    for (file, dashboard) in dashboards() {
        let variables = resolve(prometheus, &file, &dashboard, &start, &end);
        for panel in panels(&dashboard) {
            for target in list(panel, "/targets") {
                let expr = substitute(text(target, "expr"), &variables);
                let range = [("query", &*expr), ("start", &*start), ("end", &*end), ("step", "1")];
                let data = prometheus.ask("query_range", &range);
                asked += 1;
                // NaN is what 0/0 gives; a panel shows nothing for it.
                let shows = list(&data, "/result")
                    .iter()
                    .any(|series| list(series, "/values").iter().any(|value| value[1] != "NaN"));
                let absent = |prefix: &&str| {
                    let any = format!("count({{__name__=~\"{prefix}.+\"}})");
                    let range =
                        [("query", &*any), ("start", &*start), ("end", &*end), ("step", "1")];
                    let data = prometheus.ask("query_range", &range);
                    expr.contains(*prefix) && list(&data, "/result").is_empty()
                };
                if !shows && !OPTIONAL.iter().any(absent) {
                    empty.push(format!("{file}, {}: {expr}", text(panel, "title")));
                }
            }
        }
        for mark in list(&dashboard, "/annotations/list").iter().filter(|m| m["builtIn"].is_null())
        {
            let expr = substitute(text(mark, "expr"), &variables);
            let range = [("query", &*expr), ("start", &*start), ("end", &*end), ("step", "1")];
            let data = prometheus.ask("query_range", &range);
            if list(&data, "/result").is_empty() {
                empty.push(format!("{file}, mark {}: {expr}", text(mark, "name")));
            }
        }
    }
    assert!(empty.is_empty(), "nothing is shown by\n{}", empty.join("\n"));
    asked
}

/// The values that Grafana would choose on the first look at a dashboard.
fn resolve(
    prometheus: &Server,
    file: &str,
    dashboard: &Value,
    start: &str,
    end: &str,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    // Four scrapes of the test's Prometheus, and some more for a busy machine.
    values.insert("__rate_interval".to_owned(), "5s".to_owned());
    for variable in list(dashboard, "/templating/list") {
        if variable["type"] != "query" {
            continue;
        }
        let name = text(variable, "name");
        let definition = substitute(text(variable, "definition"), &values);
        let inner = definition.strip_prefix("label_values(").and_then(|d| d.strip_suffix(')'));
        let (selector, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(metric, label)");
        let series =
            prometheus.ask("series", &[("match[]", selector), ("start", start), ("end", end)]);
        let regex = text(variable, "regex").trim_matches('/').to_owned();
        let found: BTreeSet<&str> = list(&series, "").iter().map(|s| text(s, label)).collect();
        let fits = |value: &&str| {
            // The patterns of the dashboards are of one form: .*(one|or another).*
            let words = regex.trim_start_matches(".*(").trim_end_matches(").*");
            regex.is_empty() || words.split('|').any(|word| value.contains(word))
        };
        let first = found.into_iter().find(fits);
        let first = first.unwrap_or_else(|| panic!("{file}: nothing for ${name}: {definition}"));
        let all = variable["includeAll"] == true;
        values.insert(name.to_owned(), if all { ".*".to_owned() } else { first.to_owned() });
    }
    values
}

fn substitute(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    // The longer names first: one may begin another.
    let mut names: Vec<&String> = values.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        text = text.replace(&format!("${name}"), &values[name]);
    }
    text
}
