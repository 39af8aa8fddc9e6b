//! Killed at random moments, again and again, under load.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::{Daemon, millpond};
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::random::Random;
use crate::support::tables::{ask, assert_exactly_once, number};
use crate::support::{Dir, millis, secs};

const PARTITIONS: i32 = 4;

/// What a daemon was doing when it was killed.
struct Killed {
    after: Duration,
    ready: bool,
    durable: Option<u64>,
    committed: Option<u64>,
}

#[test]
fn heavy_every_event_counts_once_through_24_kills() {
    survive(Shape::default(), 200_000, 20_000, 1_200_000, 24);
}

#[test]
fn heavy_broken_records_are_dead_letters_once_through_8_kills() {
    let shape = Shape { malformed_every: 60, ..Shape::default() };
    survive(shape, 20_000, 10_000, 200_000, 8);
}

/// Produces `total` records, `backlog` of them before the start and the rest at `rate` a second,
/// while daemons are killed one after the other; the last one runs to the end.
fn survive(shape: Shape, backlog: u64, rate: u64, total: u64, kills: usize) {
    let dir = Dir::new();
    let mut random = Random::seeded();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let mut producer = Producer::new(broker.address(), "events", PARTITIONS, &input, shape);
    producer.produce(backlog / PARTITIONS as u64);
    producer.flush();
    let stream = producer.stream(rate, total);

    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.more.push_str(TOUCHY);
    let mut killed: Vec<Killed> = Vec::new();
    while killed.len() < kills || !stream.is_over() {
        // The configured interval is a second; epochs of several lengths meet more phases.
        let interval = millis([200, 500, 1000][killed.len() % 3]);
        let config = Pipeline { interval, ..pipeline.clone() }.write();
        killed.push(kill_one(&config, killed.len(), &mut random));
    }
    let mut producer = stream.join();
    producer.finish();
    report(&killed);

    let config = pipeline.write();
    Daemon::available_now(&config).finish(secs(120));
    assert_exactly_once(&pipeline, &producer);
    assert_anomalies(&pipeline.data, &config);
    assert!(producer.produced() >= total);

    // Kills of a daemon that never gets anywhere would show nothing.
    let progressed = killed.windows(2).filter(|pair| pair[0].durable < pair[1].durable).count();
    let working = killed.iter().filter(|kill| kill.durable.is_some()).count();
    assert!(killed.len() >= kills, "{} kills", killed.len());
    assert!(working * 2 >= kills, "only {working} daemons had got to work when they were killed");
    assert!(progressed * 3 >= kills, "only {progressed} daemons got further than the one before");
}

/// A detector that finds something in any noise, so that there are anomalies to compare.
const TOUCHY: &str = r#"
[detectors.touchy]
kind = "ratio_to_mean"
query = "endpoint_minutes"
value = "requests"
key = "endpoint"
ratio = 1.01
warm_up = 1
"#;

/// A replay over the windows that are in the table finds the same anomalies as all the daemons
/// together have told of, each event once.
fn assert_anomalies(data: &std::path::Path, config: &std::path::Path) {
    let output = millpond()
        .args(["detect", "--detector", "touchy", "--json", "--config"])
        .arg(config)
        .output()
        .expect("millpond detect runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let replay: Value = serde_json::from_slice(&output.stdout).expect("a summary");
    let replayed: BTreeSet<(String, i64, bool)> = replay["anomalies"]
        .as_array()
        .expect("anomalies")
        .iter()
        .map(|a| {
            let id = a["id"].as_str().expect("an id").to_owned();
            (id, a["windows"].as_i64().expect("windows"), a["endedAt"].is_null())
        })
        .collect();
    let answers = ask(
        data,
        &["anomalies"],
        &[
            (
                "told",
                "SELECT anomaly_id, max(windows), \
                 count(*) FILTER (WHERE event = 'closed') = 0 AS open FROM anomalies \
                 WHERE detector = 'touchy' GROUP BY anomaly_id",
            ),
            ("events", "SELECT count(*) FROM anomalies WHERE detector = 'touchy'"),
            ("twice", "SELECT count(*) - count(DISTINCT (anomaly_id, sequence)) FROM anomalies"),
        ],
    );
    let told: Vec<(String, i64, bool)> = answers["told"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            let id = row[0].as_str().expect("an id").to_owned();
            (id, row[1].as_i64().expect("windows"), row[2].as_bool().expect("a flag"))
        })
        .collect();
    assert_eq!(number(&answers, "twice"), 0, "an event is in the table twice");
    assert!(!replayed.is_empty(), "nothing to compare");
    // An open anomaly has gone on since it was last told of. One that is open at the last window of
    // the table is over for the daemon, whose watermark has gone on: in the windows behind, nothing
    // came.
    let known = |(id, windows, open): &(String, i64, bool)| {
        replayed.iter().any(|(i, w, still_open)| {
            let same = w == windows && (*still_open || !*open);
            i == id && (same || *still_open && *open && w > windows)
        })
    };
    let unknown: Vec<_> = told.iter().filter(|told| !known(told)).collect();
    assert!(unknown.is_empty(), "told and not found again: {unknown:?}, found: {replayed:?}");
    assert_eq!(told.len(), replayed.len(), "told {told:?}, found again {replayed:?}");
    println!("{} anomalies, {} events", told.len(), number(&answers, "events"));
}

/// Runs a daemon and kills it: every fourth at some moment of its start and recovery, the others
/// at some moment of their work.
fn kill_one(config: &std::path::Path, number: usize, random: &mut Random) -> Killed {
    let began = std::time::Instant::now();
    let mut daemon = Daemon::run(config);
    if number % 4 == 3 {
        std::thread::sleep(random.between(millis(20), millis(2500)));
    } else {
        daemon.wait("it to be ready", secs(60), |daemon| daemon.is_ready());
        std::thread::sleep(random.between(Duration::ZERO, millis(1500)));
    }
    let report = daemon.report();
    let at = |pointer: &str| report.as_ref().and_then(|r| r.pointer(pointer)?.as_u64());
    let (durable, committed) = (at("/checkpoint/epoch"), at("/checkpoint/committedEpoch"));
    let ready = report.as_ref().is_some_and(|r| r["readiness"]["ready"] == true);
    // Up to here the moment follows the phases of the HTTP server's answers.
    std::thread::sleep(random.between(Duration::ZERO, millis(120)));
    if let Some(status) = daemon.poll_exit() {
        panic!("the daemon ended by itself: {status}");
    }
    daemon.kill();
    Killed { after: began.elapsed(), ready, durable, committed }
}

fn report(killed: &[Killed]) {
    for (number, Killed { after, ready, durable, committed }) in killed.iter().enumerate() {
        println!(
            "kill {number:2}: after {:5.2} s, ready: {ready}, epoch durable {}, committed {}",
            after.as_secs_f64(),
            durable.map_or("-".into(), |epoch| epoch.to_string()),
            committed.map_or("-".into(), |epoch| epoch.to_string()),
        );
    }
}
