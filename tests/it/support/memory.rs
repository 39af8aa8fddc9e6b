//! Resident memory of a process over time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Samples a process until it is stopped.
pub struct Curve {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Duration, u64)>>,
}

impl Curve {
    /// Begins to sample, ten times a second.
    pub fn of(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.extend(resident(pid).map(|bytes| (began.elapsed(), bytes)));
                std::thread::sleep(Duration::from_millis(100));
            }
            samples
        });
        Self { stop, thread }
    }

    /// Ends it and gives the samples: time since the begin, and bytes.
    pub fn finish(self) -> Vec<(Duration, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler ends")
    }
}

/// Shows samples, one line a second.
pub fn draw(samples: &[(Duration, u64)]) {
    let most = samples.iter().map(|(_, bytes)| *bytes).max().unwrap_or(1);
    let mut next = Duration::ZERO;
    for (time, bytes) in samples {
        if *time >= next {
            let bar = "#".repeat((*bytes * 50 / most) as usize);
            println!("{:5.1} s {:6.1} MiB {bar}", time.as_secs_f64(), mib(*bytes));
            next = *time + Duration::from_secs(1);
        }
    }
    println!("peak {:.1} MiB", mib(most));
}

/// For people.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
