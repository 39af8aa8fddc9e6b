//! The sink cannot be written for a while.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::memory::{Curve, draw, mib};
use crate::support::producer::Producer;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, secs};

#[test]
fn heavy_a_table_that_cannot_be_written_is_retried_until_it_can() {
    let dir = Dir::new();
    let pipeline = Pipeline::new(dir.path(), "", "events");
    let (table, aside) = (pipeline.table("bronze"), dir.path().join("bronze-aside"));
    outage(
        dir.path(),
        pipeline,
        // Permissions do not stop root, a file in the directory's place does.
        || {
            fs::rename(&table, &aside).expect("the table moves");
            fs::write(&table, "not a directory").expect("a file stands in its place");
        },
        || {
            fs::remove_file(&table).expect("the file goes");
            fs::rename(&aside, &table).expect("the table moves back");
        },
    );
}

/// Says to the copy of this program that it runs in a mount namespace of its own.
const IN_NAMESPACE: &str = "MILLPOND_TEST_IN_NAMESPACE";

#[test]
fn heavy_a_full_disk_is_waited_for() {
    if std::env::var_os(IN_NAMESPACE).is_none() {
        return in_namespace("outage_sink::heavy_a_full_disk_is_waited_for");
    }
    let dir = Dir::new();
    // Tables on a small disk, checkpoints on another: first the tables run out of space.
    let mut pipeline = Pipeline::new(dir.path(), "", "events");
    pipeline.checkpoint = Some(dir.path().join("checkpoint"));
    disk_outage(dir.path(), pipeline, "data");
}

#[test]
fn heavy_a_full_disk_under_the_checkpoint_is_waited_for() {
    if std::env::var_os(IN_NAMESPACE).is_none() {
        return in_namespace("outage_sink::heavy_a_full_disk_under_the_checkpoint_is_waited_for");
    }
    let dir = Dir::new();
    let mut pipeline = Pipeline::new(dir.path(), "", "events");
    pipeline.checkpoint = Some(dir.path().join("small/checkpoint"));
    disk_outage(dir.path(), pipeline, "small");
}

/// Mounts a small disk as `name`, fills it up under load, and makes room again.
fn disk_outage(dir: &Path, pipeline: Pipeline, name: &str) {
    let disk = dir.join(name);
    fs::create_dir_all(&disk).expect("a place to mount at");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
        .arg(&disk)
        .status()
        .expect("mount");
    assert!(mounted.success(), "mounting a small disk");
    let filler = disk.join("filler");
    outage(
        dir,
        pipeline,
        || {
            // Until nothing fits any more.
            let mut file = fs::File::create(&filler).expect("a file to fill the disk");
            let error = loop {
                if let Err(error) = std::io::Write::write_all(&mut file, &[7; 4096]) {
                    break error;
                }
            };
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        },
        || fs::remove_file(&filler).expect("room again"),
    );
    // Before the directory is removed.
    let _ = Command::new("umount").args(["--lazy"]).arg(&disk).status();
}

/// Runs one test of this program again, where it may mount a disk.
fn in_namespace(test: &str) {
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let namespaces: &[&str] =
        if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let permitted =
        Command::new("unshare").args(namespaces).arg("true").status().is_ok_and(|s| s.success());
    assert!(
        permitted,
        "a full disk is tested on a small one of its own, which takes root or user namespaces \
         (unshare {} true) to mount",
        namespaces.join(" ")
    );
    let status = Command::new("unshare")
        .args(namespaces)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .status()
        .expect("unshare");
    assert!(status.success(), "in its own namespace: {status}");
}

/// Breaks the disk under load, holds it so for a while, heals it, and looks at the tables.
fn outage(dir: &Path, mut pipeline: Pipeline, break_it: impl FnOnce(), heal_it: impl FnOnce()) {
    let broker = Broker::start(dir);
    broker.create_topic("events", 4);
    pipeline.brokers = broker.address().to_owned();
    pipeline.in_flight = "8MiB".to_owned();
    pipeline.source_options = "\"queued.max.messages.kbytes\" = 1024".to_owned();
    let shape = Shape { malformed_every: 1000, ..Shape::default() };
    let mut producer = Producer::new(broker.address(), "events", 4, &dir.join("input"), shape);
    producer.produce(2_000);
    producer.flush();
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_ready();
    let stream = producer.stream(20_000, 400_000);
    daemon.wait_epochs(3, secs(30));

    let curve = Curve::of(daemon.pid());
    break_it();
    daemon.wait("a retry to show", secs(40), |daemon| {
        let retries = daemon.metric("millpond_sink_retries_total", &[]).unwrap_or(0.0);
        let failed = daemon.reported("/checkpoint/failed").and_then(|n| n.as_u64()).unwrap_or(0);
        retries >= 1.0 || failed >= 1
    });
    let error = daemon.reported("/checkpoint/error");
    let why = daemon.get("/readyz").expect("it answers");
    println!("readyz: {why:?}; checkpoint: {error:?}");
    // A table that is being retried is not ready at once; a checkpoint shows its error, and is not
    // ready when it is too old.
    assert!(why.0 == 503 || error.is_some(), "nothing shows that it cannot write");
    std::thread::sleep(secs(6));
    assert!(daemon.poll_exit().is_none(), "it stays alive");
    let during = daemon.committed_epoch();
    let restarts = daemon.metric("millpond_pipeline_restarts_total", &[]).unwrap_or(0.0);
    heal_it();
    daemon.wait_epochs(2, secs(60));
    println!("{during:?} epochs before, {:?} now; {restarts} restarts", daemon.committed_epoch());

    let mut producer = stream.join();
    producer.finish();
    daemon.wait_caught_up(&producer, secs(60));
    daemon.wait_ready();
    let (code, _) = daemon.terminate();
    assert_eq!(code, 0);
    let samples = curve.finish();
    draw(&samples);
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
    let (first, most) = (samples[0].1, samples.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0));
    // Credits, the client's queues, and what writing files takes besides.
    let allowed = (8 + 4 * 2 + 96) << 20;
    assert!(most < first + allowed, "memory grew from {:.0} to {:.0} MiB", mib(first), mib(most));
}
