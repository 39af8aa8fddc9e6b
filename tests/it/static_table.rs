//! Readings from files, enriched with what a CSV table says of their devices, while it changes.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::{Daemon, millpond};
use crate::support::{Dir, millis, secs};

const CONFIG: &str = r#"
name = "enriched"
data_dir = "DIR/data"
trigger = "100ms"

[restart]
initial_backoff = "50ms"
max_backoff = "200ms"

[server]
listen = "127.0.0.1:0"

[sources.readings]
type = "files"
path = "DIR/input"
schema = "device INT, temperature DOUBLE"
settle = "0s"
poll_interval = "50ms"

[sources.readings.format]
type = "json"

[tables.devices]
type = "csv"
path = "DIR/devices.csv"
schema = "id INT NOT NULL, name STRING, room STRING"
refresh = "100ms"
format = { header = true }

[queries.enriched]
sql = '''
SELECT r.device, d.name, d.room, r.temperature
FROM readings r LEFT JOIN devices d ON r.device = d.id
'''

[queries.enriched.sink]
type = "files"
path = "${data_dir}/enriched"
format = "ndjson"
"#;

/// Puts a file there in one go, as its writer should.
fn put(dir: &Path, name: &str, text: &str) {
    let unfinished = dir.join(format!(".{}", name.replace('/', "_")));
    fs::write(&unfinished, text).expect("a file");
    fs::rename(&unfinished, dir.join(name)).expect("a file");
}

/// What the query has written: device, name, room.
fn written(dir: &Path) -> Vec<(i64, Option<String>, Option<String>)> {
    let Ok(entries) = fs::read_dir(dir.join("data/enriched")) else { return Vec::new() };
    let mut rows = Vec::new();
    for entry in entries {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file that is complete");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| row[name].as_str().map(str::to_owned);
            rows.push((row["device"].as_i64().expect("a device"), text("name"), text("room")));
        }
    }
    rows.sort();
    rows
}

fn row(device: i64, name: &str, room: &str) -> (i64, Option<String>, Option<String>) {
    (device, Some(name.to_owned()), Some(room.to_owned()))
}

#[test]
fn readings_get_the_names_that_their_devices_have_now() {
    let dir = Dir::new();
    let dir = dir.path();
    fs::create_dir(dir.join("input")).expect("a directory");
    let config = dir.join("enriched.toml");
    fs::write(&config, CONFIG.replace("DIR", &dir.display().to_string())).expect("a file");

    // Without the table, nothing is wrong with the configuration but that.
    let output = millpond().arg("validate").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("devices.csv"), "{said}");
    assert!(said.contains("tables.devices.path"), "{said}");

    // The daemon waits for it, and no reading is joined with nothing meanwhile.
    put(dir, "input/1.json", "{\"device\": 1, \"temperature\": 20.5}\n");
    let mut daemon = Daemon::run(&config);
    daemon.wait("it to miss the table", secs(40), |daemon| {
        let failed = daemon.reported("/tables/0/error").map(|error| error.to_string());
        failed.is_some_and(|error| error.contains("devices.csv"))
    });
    assert_eq!(written(dir), []);
    put(dir, "devices.csv", "room,id,name\nattic,1,\"probe, old\"\ncellar,2,pump\n");
    daemon.wait("the first reading", secs(40), |_| written(dir).len() == 1);
    assert_eq!(written(dir), [row(1, "probe, old", "attic")]);
    let output = millpond().arg("validate").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("  table     devices"), "{said}");

    // Moved, and a new one.
    put(dir, "devices.csv", "id,name,room\n1,probe,hall\n3,fan,hall\n");
    let rows = |daemon: &Daemon| daemon.metric("millpond_table_loads_total", &[]);
    daemon.wait("the table to be read again", secs(40), |daemon| {
        rows(daemon).is_some_and(|loads| loads >= 2.0)
            && daemon.reported("/tables/0/error").is_none()
    });
    put(
        dir,
        "input/2.json",
        "{\"device\": 1, \"temperature\": 20.5}\n{\"device\": 2, \"temperature\": 1}\n{\"device\": 3}\n",
    );
    daemon.wait("the readings after it", secs(40), |_| written(dir).len() == 4);
    let mut expected = vec![
        row(1, "probe", "hall"),
        row(1, "probe, old", "attic"),
        (2, None, None),
        row(3, "fan", "hall"),
    ];
    assert_eq!(written(dir), expected);

    // Half a table is none: the rows from before are kept, and it is told.
    put(dir, "devices.csv", "id,name,room\n1,lost,lost\nthree,fan,hall\n");
    daemon.wait("the complaint", secs(40), |daemon| {
        let error = daemon.reported("/tables/0/error").map(|error| error.to_string());
        error.is_some_and(|error| error.contains("devices.csv, line 3"))
    });
    assert_eq!(daemon.metric("millpond_table_failing", &[("table", "devices")]), Some(1.0));
    put(dir, "input/3.json", "{\"device\": 3, \"temperature\": 4.5}\n");
    daemon.wait("a reading meanwhile", secs(40), |_| written(dir).len() == 5);
    expected.push(row(3, "fan", "hall"));
    assert_eq!(written(dir), expected);
    let restarts = |actor| daemon.metric("millpond_pipeline_restarts_total", &[("actor", actor)]);
    assert_eq!(restarts("operator_shard"), Some(0.0));

    put(dir, "devices.csv", "id,name,room\n3,fan,attic\n");
    daemon.wait("it to be well again", secs(40), |daemon| {
        daemon.metric("millpond_table_failing", &[]) == Some(0.0)
            && daemon.reported("/tables/0/numRows").and_then(|rows| rows.as_u64()) == Some(1)
    });
    put(dir, "input/4.json", "{\"device\": 3, \"temperature\": 4.5}\n");
    daemon.wait("the last reading", secs(40), |_| written(dir).len() == 6);
    assert!(written(dir).contains(&row(3, "fan", "attic")));
    let (code, took) = daemon.terminate();
    assert_eq!(code, 0, "after {took:?}");
}

#[test]
fn a_table_that_hangs_does_not_hold_up_the_end() {
    let dir = Dir::new();
    let dir = dir.path();
    fs::create_dir(dir.join("input")).expect("a directory");
    let config = dir.join("enriched.toml");
    fs::write(&config, CONFIG.replace("DIR", &dir.display().to_string())).expect("a file");
    // Nobody ever writes to it, so opening it for reading waits.
    let made = Command::new("mkfifo").arg(dir.join("devices.csv")).status().expect("mkfifo");
    assert!(made.success());
    let mut daemon = Daemon::run(&config);
    daemon.wait("it to begin", secs(40), |daemon| daemon.reported("/tables/0/name").is_some());
    std::thread::sleep(millis(500));
    let (code, took) = daemon.terminate();
    assert_eq!(code, 0);
    assert!(took < secs(10), "{took:?}");
}
