//! Upkeep, killed and crowded: whatever happens to it, the table is readable and has the same rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millpond::lake::{LakeTable, TableSpec};
use millpond::sink::delta::DeltaWriter;

use crate::support::daemon::{Daemon, millpond};
use crate::support::random::Random;
use crate::support::tables::{ask, number};
use crate::support::{Dir, die_with_us, millis, secs, wait_for};

const ROWS: i64 = 2_000;
const COMMITS: i64 = 12;

/// A table of small files, written as a sink writes it.
fn make(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let columns = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("day", DataType::Utf8, true),
        ]));
        let mut spec = TableSpec::new(path.to_str().unwrap(), columns.clone());
        spec.partition_by = vec!["day".to_owned()];
        let mut table = LakeTable::open_or_create(&spec).await.unwrap();
        let mut writer = DeltaWriter::new(&table, &spec).unwrap();
        for commit in 0..COMMITS {
            let ids: Vec<i64> = (commit * ROWS..(commit + 1) * ROWS).collect();
            let names: StringArray =
                ids.iter().map(|id| (id % 7 != 0).then(|| format!("n{}", id % 100))).collect();
            let days: StringArray =
                ids.iter().map(|id| Some(["a", "b", "c"][*id as usize % 3])).collect();
            let columns: [ArrayRef; 3] =
                [Arc::new(Int64Array::from(ids)), Arc::new(names), Arc::new(days)];
            let rows = RecordBatch::try_new(spec.schema.clone(), columns.to_vec()).unwrap();
            writer.write(&rows).await.unwrap();
            let adds = writer.prepare().await.unwrap();
            table.commit(adds, &[], &[]).await.unwrap();
        }
    });
}

/// What another reader finds in the table.
fn rows(data: &Path) -> Vec<String> {
    let sql = "SELECT count(*), count(DISTINCT id), sum(id), count(name), \
               count(DISTINCT day) FROM t";
    let found = ask(data, &["t"], &[("all", sql)]);
    vec![found["all"].to_string()]
}

fn start(table: &Path, args: &[&str], points: &str) -> Child {
    let mut command = millpond();
    command.args(["table", args[0]]).arg(table).args(&args[1..]);
    command.env("MILLPOND_FAILPOINTS", points);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    die_with_us(&mut command).spawn().unwrap()
}

fn names(dir: &Path, suffix: &str) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.path() {
            path if path.is_dir() && !path.ends_with("_delta_log") => names(&path, suffix),
            path => usize::from(path.to_string_lossy().ends_with(suffix)),
        })
        .sum()
}

#[test]
fn heavy_upkeep_that_is_killed_leaves_the_same_rows() {
    let dir = Dir::new();
    let table = dir.path().join("t");
    make(&table);
    let before = rows(dir.path());
    let log = table.join("_delta_log");
    let vacuum = ["vacuum", "--retain", "0h", "--force"];
    // Each is held there, with what tells that it is there: more data files, or more commits.
    for (args, point, files, commits) in [
        (&["optimize"][..], "upkeep::stored", 1, 0),
        (&["optimize", "--zorder", "id,name"], "upkeep::commit", 1, 0),
        (&["optimize"], "upkeep::committed", 1, 1),
        (&["restore", "--version", "3"], "upkeep::restore", 0, 0),
        (&vacuum, "upkeep::vacuum", 0, 1),
    ] {
        let (data, versions) = (names(&table, ".parquet"), names(&log, ".json"));
        let mut child = start(&table, args, &format!("{point}=sleep(60000)"));
        wait_for("the fail point", secs(30), || {
            let there = names(&table, ".parquet") >= data + files
                && names(&log, ".json") >= versions + commits;
            there.then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(rows(dir.path()), before, "{args:?} killed at {point}");
    }
    // And at any moment.
    let mut random = Random::seeded();
    for round in 0..12 {
        let args: &[&str] = match round % 3 {
            0 => &["optimize", "--zorder", "name,id", "--target-size", "64KiB"],
            1 => &["optimize", "--zorder", "id", "--target-size", "64KiB"],
            _ => &vacuum,
        };
        let mut child = start(&table, args, "");
        std::thread::sleep(random.between(Duration::ZERO, millis(150)));
        let _ = child.kill();
        child.wait().unwrap();
        if round % 4 == 3 {
            assert_eq!(rows(dir.path()), before, "after round {round}");
        }
    }
    // Undisturbed, they finish what the killed ones left.
    for args in [&["optimize", "--zorder", "id,name"][..], &vacuum] {
        assert!(start(&table, args, "").wait().unwrap().success(), "{args:?}");
    }
    assert_eq!(rows(dir.path()), before);
}

fn config(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(format!("{name}.toml"));
    // A schedule of every second, so that it is always in the writers' way.
    let text = format!(
        r#"
name = "{name}"
data_dir = "{dir}/data-{name}"
[checkpoint]
interval = "150ms"
[server]
listen = "127.0.0.1:0"
[sources.clock]
type = "rate"
rows_per_second = 2000
[queries.numbers]
sql = "SELECT value, '{name}' AS writer FROM clock"
[queries.numbers.sink]
type = "delta"
path = "{dir}/t"
table = "bronze.numbers"
partition_by = ["writer"]
upkeep = {{ compact = "* * * * * *", zorder = "*/3 * * * * *", zorder_by = ["value"], vacuum = "*/2 * * * * *", checkpoint = "* * * * * *", retain = "0s", force = true, min_files = 2, settle = "0s" }}
"#,
        dir = dir.display()
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn heavy_two_daemons_write_and_keep_one_table() {
    let dir = Dir::new();
    let configs = [config(dir.path(), "one"), config(dir.path(), "two")];
    let mut daemons: Vec<Daemon> = configs.iter().map(|config| Daemon::run(config)).collect();
    let done = |daemon: &Daemon, task: &str| {
        let labels = [("task", task), ("outcome", "done"), ("table", "bronze.numbers")];
        daemon.metric("millpond_upkeep_runs_total", &labels).unwrap_or(0.0)
    };
    for daemon in &mut daemons {
        daemon.wait("compactions and a vacuum", secs(60), |daemon| {
            done(daemon, "compact") >= 2.0 && done(daemon, "vacuum") >= 1.0
        });
        let tasks = daemon.reported("/upkeep").unwrap();
        assert_eq!(tasks.as_array().unwrap().len(), 5, "{tasks:#}");
    }
    // Killed in the middle of all that, and started again, beside the one that goes on.
    daemons[0].kill();
    daemons[0] = Daemon::run(&configs[0]);
    for daemon in &mut daemons {
        let before = done(daemon, "compact");
        daemon.wait("more of them", secs(60), |daemon| done(daemon, "compact") > before + 1.0);
        daemon.wait_epochs(3, secs(30));
    }
    for daemon in &mut daemons {
        let (code, took) = daemon.terminate();
        assert_eq!(code, 0, "{}", daemon.log_tail(30));
        assert!(took < secs(12), "{took:?}");
    }
    // Every number from 0 on, once, of each of them.
    let sql = "SELECT count(*) FROM (SELECT writer, count(*) n, count(DISTINCT value) d, \
               max(value) m FROM t GROUP BY writer) WHERE n = d AND n = m + 1 AND n > 1000";
    let found = ask(dir.path(), &["t"], &[("whole", sql), ("rows", "SELECT count(*) FROM t")]);
    assert_eq!(number(&found, "whole"), 2, "{found:?}");
}

#[test]
fn tables_are_looked_at_from_the_command_line() {
    let dir = Dir::new();
    let table = dir.path().join("t");
    make(&table);
    let run = |args: &[&str]| {
        let output = millpond().arg("table").args(args).current_dir(dir.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let json = |args: &[&str]| -> serde_json::Value {
        let (code, out, err) = run(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).unwrap()
    };
    let (code, out, _) = run(&["history", "t", "--limit", "2"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("version  timestamp (UTC)"), "{out}");
    assert!(out.lines().nth(1).unwrap().starts_with("     12  "), "{out}");
    assert_eq!(out.lines().count(), 3);
    assert_eq!(json(&["detail", "t", "--json"])["numFiles"], COMMITS * 3);
    assert_eq!(
        json(&["files", "t", "--where", "day = 'b'", "--json"]).as_array().unwrap().len(),
        12
    );
    assert_eq!(json(&["optimize", "t", "--dry-run", "--json"])["filesRemoved"], 36);
    let done = json(&["optimize", "t", "--json"]);
    assert_eq!((&done["filesAdded"], &done["rows"]), (&3.into(), &(ROWS * COMMITS).into()));
    let (code, out, err) = run(&["optimize", "t"]);
    assert_eq!((code, err.as_str()), (0, ""), "no progress where there is no terminal");
    assert!(out.contains("nothing to do"), "{out}");
    assert_eq!(json(&["restore", "t", "--version", "12", "--json"])["restoredVersion"], 12);
    for (args, code, said) in [
        (&["history", "nowhere/t"][..], 2, "no Delta table"),
        (&["history", "nowhere"], 2, "there is no table 'nowhere'"),
        (&["optimize", "t", "--zorder", "nmae"], 2, "did you mean `name`?"),
        (&["optimize", "t", "--where", "id = 1"], 2, "no partition column"),
        (&["vacuum", "t", "--retain", "1h"], 2, "delta.deletedFileRetentionDuration"),
        (&["vacuum", "t", "--retain", "1"], 2, "add a unit"),
        (&["restore", "t", "--version", "99"], 2, "newest version is 14"),
        (&["restore", "t"], 2, "--version"),
        (&["restore", "t", "--timestamp", "yesterday"], 2, "is no time"),
    ] {
        let (found, _, err) = run(args);
        assert_eq!(found, code, "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
    fs::write(table.join("_delta_log/00000000000000000013.json"), "").unwrap();
    for command in ["history", "detail", "files", "optimize", "vacuum"] {
        let (code, _, err) = run(&[command, "t"]);
        assert_eq!(code, 1, "{command}: {err}");
        assert!(err.contains("_delta_log/00000000000000000013.json"), "{command}: {err}");
    }
}
