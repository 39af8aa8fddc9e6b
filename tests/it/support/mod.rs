//! What the whole-daemon tests stand on: a real broker, the daemon as a process, a producer, and
//! readers that share no code with the daemon.
//!
//! Everything lives in a temporary directory and dies with the test; every wait has a deadline
//! and says what it waited for.

pub mod broker;
pub mod browser;
pub mod config;
pub mod daemon;
pub mod events;
pub mod faults;
pub mod http;
pub mod memory;
pub mod object_store;
pub mod postgres;
pub mod producer;
pub mod prometheus;
pub mod proxy;
pub mod python;
pub mod random;
pub mod readers;
#[expect(dead_code, reason = "for the tests of formats with a registry, yet to come")]
pub mod registry;
pub mod tables;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A temporary directory. Stays if the test fails, with all logs in it, and says where.
pub struct Dir(Option<tempfile::TempDir>);

impl Dir {
    /// A new one.
    pub fn new() -> Self {
        Self(Some(tempfile::tempdir().expect("a temporary directory")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        // Taken out by `drop` only.
        self.0.as_ref().expect("a directory").path()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take().filter(|_| std::thread::panicking()) {
            eprintln!("tables and logs are kept in {}", dir.keep().display());
        }
    }
}

/// Waits until `done` gives something, and gives that. Panics with `what` when `limit` is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`wait_for`], for a condition.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    wait_for(what, limit, || done().then_some(()));
}

/// Makes the process end with the thread that starts it, so that a test that is killed leaves
/// nothing behind.
pub fn die_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is async-signal-safe and the closure touches nothing else.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

/// Sends a signal to a process that the test has started.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: kill takes any numbers; the process is a child that has not been waited for.
    let code = unsafe { libc::kill(pid as i32, signal) };
    assert_eq!(code, 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
}

/// Seconds, for readable tests.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds, for readable tests.
pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
