//! The checkpoint is gone, the tables are not.

use std::fs;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::{ask, assert_exactly_once, assert_rows, number};
use crate::support::{Dir, secs};

#[test]
fn without_its_checkpoint_it_refuses_to_repeat_what_is_in_the_table() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let shape = Shape { malformed_every: 200, ..Shape::default() };
    let mut producer =
        Producer::new(broker.address(), "events", 4, &dir.path().join("input"), shape);
    producer.produce(20_000);
    producer.finish();
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.stateless = true;
    let config = pipeline.write();
    let stream = producer.stream(10_000, 120_000);
    let mut daemon = Daemon::run(&config);
    daemon.wait_ready();
    daemon.wait_epochs(3, secs(30));
    // Killed, so that some files are written that no commit names.
    daemon.kill();
    fs::remove_dir_all(pipeline.table("checkpoints")).expect("the checkpoint is lost");

    let count = || {
        let rows = ask(&pipeline.data, &["bronze"], &[("rows", "SELECT count(*) FROM bronze")]);
        number(&rows, "rows")
    };
    let rows = count();
    let mut refused = Daemon::run(&config);
    let code = refused.wait_exit(secs(60));
    let log = refused.log();
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("--resume-from-table"), "it names the way out: {log}");
    assert_eq!(count(), rows, "a refused daemon writes nothing");

    let mut producer = stream.join();
    producer.finish();
    Daemon::with(&config, &["--resume-from-table", "--available-now"], &[]).finish(secs(60));
    assert_rows(&pipeline, &producer);

    // From then on it is a daemon like any other.
    producer.produce(3_000);
    producer.finish();
    Daemon::available_now(&config).finish(secs(60));
    assert_rows(&pipeline, &producer);
}

#[test]
fn a_damaged_checkpoint_is_no_reason_to_repeat_anything() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 2);
    let mut producer =
        Producer::new(broker.address(), "events", 2, &dir.path().join("input"), Shape::default());
    producer.produce(20_000);
    producer.finish();
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_caught_up(&producer, secs(60));
    assert_eq!(daemon.terminate().0, 0);

    // Every byte of the ledger's files, turned round.
    let mut damaged = 0;
    let mut directories = vec![pipeline.table("checkpoints")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("the checkpoint's files") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes: Vec<u8> = fs::read(&path).expect("a file").iter().map(|b| !b).collect();
                fs::write(&path, bytes).expect("the file is damaged");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
    let rows = || {
        let rows = ask(&pipeline.data, &["bronze"], &[("rows", "SELECT count(*) FROM bronze")]);
        number(&rows, "rows")
    };
    let before = rows();
    let mut refused = Daemon::with(&config, &["--available-now"], &[]);
    let code = refused.wait_exit(secs(60));
    println!("{}", refused.log_tail(5));
    assert!(code == 1 || code == 3, "exit code {code}: {}", refused.log());
    assert!(!refused.log().contains("panicked"), "a reason, not a panic: {}", refused.log());
    assert_eq!(rows(), before, "it writes nothing");
}

#[test]
fn a_query_that_has_changed_does_not_take_over_the_state_of_another() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 2);
    let mut producer =
        Producer::new(broker.address(), "events", 2, &dir.path().join("input"), Shape::default());
    producer.produce(20_000);
    producer.finish();
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_caught_up(&producer, secs(60));
    assert_eq!(daemon.terminate().0, 0);

    let changed = fs::read_to_string(&config)
        .expect("the configuration")
        .replace("WHERE status_code < 500", "WHERE status_code < 400");
    let path = dir.path().join("changed.toml");
    fs::write(&path, changed).expect("the configuration is written");
    let mut refused = Daemon::available_now(&path);
    let code = refused.wait_exit(secs(60));
    let log = refused.log();
    assert!(code == 1 || code == 2 || code == 3, "exit code {code}: {log}");
    assert!(log.contains("client_minutes"), "it names the query: {log}");

    // With the query as it was, nothing has happened.
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
