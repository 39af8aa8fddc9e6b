//! The daemon as a process.

use std::cell::Cell;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::producer::Producer;
use super::{die_with_us, http, secs, signal, wait_for};

/// The executable under test.
pub fn millpond() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    // What a developer has set must not change what is tested.
    for name in ["RUST_LOG", "KAFKA_BROKERS", "MILLPOND_FAILPOINTS"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Every daemon of a test has a log of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running `millpond run`. Killed when dropped; then, if the test has failed, the end of its log
/// is shown.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    address: Cell<Option<SocketAddr>>,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Runs a configuration.
    pub fn run(config: &Path) -> Self {
        Self::with(config, &[], &[])
    }

    /// Runs a configuration until the end of what is there.
    pub fn available_now(config: &Path) -> Self {
        Self::with(config, &["--available-now"], &[])
    }

    /// Runs a configuration with fail points, in the syntax of the crate `fail`.
    pub fn failing(config: &Path, points: &str) -> Self {
        Self::with(config, &[], &[("MILLPOND_FAILPOINTS", points)])
    }

    /// Runs a configuration with more arguments and environment variables.
    pub fn with(config: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = millpond();
        command.arg("run").arg(config).args(args);
        command.envs(environment.iter().copied());
        Self::spawn(command, config.parent().expect("a configuration is in a directory"))
    }

    /// Starts a command whose log goes to `dir`.
    pub fn spawn(mut command: Command, dir: &Path) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = dir.join(format!("daemon-{number}.log"));
        let file = File::create(&log).expect("the daemon's log");
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the daemon's log"))
            .stderr(file);
        let child = die_with_us(&mut command).spawn().expect("the daemon starts");
        Self { child, log, address: Cell::new(None), ended: None }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the daemon's log")).into_owned()
    }

    /// The last lines it has logged.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Where its HTTP server listens, as soon as its log says so.
    pub fn address(&self) -> Option<SocketAddr> {
        if self.address.get().is_none() {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("http server listening"))?;
            let address = line.split("address=").nth(1)?.split_whitespace().next()?;
            self.address.set(address.parse().ok());
        }
        self.address.get()
    }

    /// GET a path of its HTTP server; an error while it can't be reached.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        http::get(self.address().ok_or("no HTTP server yet")?, path)
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) {
        self.wait("it to be ready", secs(40), |daemon| daemon.is_ready());
    }

    /// Waits for a condition of a daemon that has to stay alive meanwhile.
    pub fn wait(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.poll_exit() {
                panic!("the daemon ended ({status}) while the test waited for {what}");
            }
            if done(self) {
                return;
            }
            if began.elapsed() > limit {
                let report = self.report().map(|report| format!("{report:#}")).unwrap_or_default();
                panic!("waited {limit:?} in vain for {what}; {report}");
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// What `/api/v1/pipelines` says of its one pipeline.
    pub fn report(&self) -> Option<Value> {
        let (status, body) = self.get("/api/v1/pipelines").ok()?;
        if status != 200 {
            return None;
        }
        let mut answer: Value = serde_json::from_str(&body).expect("the API gives JSON");
        Some(answer["pipelines"][0].take())
    }

    /// A value in the report, by its JSON pointer.
    pub fn reported(&self, pointer: &str) -> Option<Value> {
        self.report()?.pointer(pointer).cloned().filter(|value| !value.is_null())
    }

    /// The sum of a metric's samples that have these labels; `None` if there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (_, body) = self.get("/metrics").ok()?;
        let samples = body.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let (found, rest) = key.split_once('{').unwrap_or((key, ""));
            let fits = labels.iter().all(|(l, v)| rest.contains(&format!("{l}=\"{v}\"")));
            (found == name && fits).then(|| value.parse::<f64>().ok()).flatten()
        });
        samples.reduce(|sum, value| sum + value)
    }

    /// The last epoch that is in all tables.
    pub fn committed_epoch(&self) -> Option<u64> {
        self.reported("/checkpoint/committedEpoch")?.as_u64()
    }

    /// The next offset that its readers take, added up over all partitions.
    pub fn read(&self) -> u64 {
        let Some(Value::Array(partitions)) = self.reported("/sources/0/partitions") else {
            return 0;
        };
        partitions.iter().filter_map(|p| p["nextOffset"].as_u64()).sum()
    }

    /// Waits until all that was produced has been read and is in the tables.
    pub fn wait_caught_up(&mut self, producer: &Producer, limit: Duration) {
        let ends: u64 = producer.ends().iter().map(|end| *end as u64).sum();
        self.wait("all records to be read", limit, |daemon| daemon.read() >= ends);
        self.wait_epochs(2, limit);
    }

    /// Waits until this many more epochs are in all tables.
    pub fn wait_epochs(&mut self, count: u64, limit: Duration) {
        let began = Instant::now();
        let mut first = None;
        self.wait("epochs to be committed", limit, |daemon| {
            let Some(epoch) = daemon.committed_epoch() else { return false };
            epoch >= *first.get_or_insert(epoch) + count
        });
        let _ = began;
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = Some(self.child.wait().expect("the daemon can be waited for"));
        }
    }

    /// Asks it to stop with SIGTERM; gives its exit code and how long it took.
    pub fn terminate(&mut self) -> (i32, Duration) {
        signal(self.pid(), libc::SIGTERM);
        let began = Instant::now();
        let code = self.wait_exit(secs(30));
        (code, began.elapsed())
    }

    /// Waits until it ends by itself; gives its exit code.
    pub fn wait_exit(&mut self, limit: Duration) -> i32 {
        let status = wait_for("the daemon to end", limit, || self.poll_exit());
        status.code().unwrap_or_else(|| panic!("the daemon ended by a signal: {status}"))
    }

    /// How it ended, if it has.
    pub fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the daemon can be waited for");
        }
        self.ended
    }

    /// Runs it to its end, which has to be a good one.
    pub fn finish(mut self, limit: Duration) -> String {
        let code = self.wait_exit(limit);
        assert_eq!(code, 0, "the daemon failed");
        self.log()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let how = match self.poll_exit() {
            Some(status) => status.to_string(),
            None => "still running".to_owned(),
        };
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ({how})\n{}\n---", self.log.display(), self.log_tail(60));
        }
    }
}
