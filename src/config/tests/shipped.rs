//! The configurations that come with Millpond.

use std::path::{Path, PathBuf};

use super::super::{Environment, Settings, load};
use super::{BASE, delta, merged};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn shipped(name: &str) -> Settings {
    load(&[directory().join(name)], &Environment::None).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn all_are_valid() {
    let mut found = 0;
    for entry in std::fs::read_dir(directory()).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            load(std::slice::from_ref(&path), &Environment::None)
                .unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
            found += 1;
        }
    }
    assert!(found >= 2, "{found}");
}

#[test]
fn weblogs() {
    let settings = shipped("weblogs.toml");
    let names: Vec<&str> = settings.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["bronze", "endpoint_minutes", "traffic_minutes", "client_minutes"]);
    let paths: Vec<&str> =
        (0..settings.queries.len()).map(|query| delta(&settings, query).path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "./data/bronze",
            "./data/endpoint_minutes",
            "./data/traffic_minutes",
            "./data/client_minutes"
        ]
    );
    let detectors: Vec<&str> =
        settings.detectors.iter().map(|detector| detector.kind.as_str()).collect();
    assert_eq!(
        detectors,
        ["traffic_spike", "error_rate", "response_time", "client_share", "ratio_to_mean"]
    );
    assert_eq!(settings.sources[0].schema_text.iter().flat_map(|text| text.lines()).count(), 10);
}

#[test]
fn transactions() {
    let settings = shipped("transactions.toml");
    assert!(settings.sources[0].watermark.is_none());
    assert_eq!(
        settings.checkpoint.directory,
        Path::new("./data/transactions/checkpoints/transactions")
    );
}

/// What the examples of the documentation refer to.
const AROUND_EXAMPLES: &str = r#"
[sources.orders]
type = "kafka"
brokers = "localhost:9092"
topics = ["orders"]
schema = "order_id BIGINT"
[sources.clicks]
type = "files"
path = "clicks"
schema = "event_time TIMESTAMP, action STRING"
[queries.clicks_by_window]
sql = "SELECT 1"
sink = { type = "console" }
[queries.errors]
sql = "SELECT 1"
sink = { type = "console" }
[queries.endpoint_minutes]
sql = "SELECT 1"
sink = { type = "console" }
"#;

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).expect("the documentation is there");
    let mut checked = 0;
    for block in text.split("```toml\n").skip(1) {
        let example = block.split("```").next().expect("a split has a first part");
        // Columns alone are no configuration.
        if example.starts_with("schema") {
            continue;
        }
        let files =
            [("base.toml", BASE), ("around.toml", AROUND_EXAMPLES), ("example.toml", example)];
        merged(&files, &[], &Environment::None)
            .unwrap_or_else(|errors| panic!("{example}\n{errors}"));
        checked += 1;
    }
    assert!(checked >= 7, "{checked}");
}
