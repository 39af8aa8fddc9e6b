//! What Prometheus expects every process to tell about itself, read from `/proc/self`.
//!
//! The names are those of the official client libraries
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). They are
//! written as text at the scrape instead of through the recorder: the values are read fresh, and
//! CPU seconds are a counter with a fraction, which the recorder's integer counters cannot hold.
//! Away from Linux there is no `/proc`, and the page goes without them.

use std::fs;

use super::exposition::{Families, Family};
use super::names::{Kind, Unit};

/// One reading of `/proc/self`. A field that cannot be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// User and system CPU time used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The limit on open file descriptors; absent when unlimited.
    pub max_fds: Option<u64>,
    /// When the process started, in seconds since the Unix epoch.
    pub start_seconds: Option<f64>,
}

impl ProcessStats {
    /// Reads the figures of this process.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = ticks_per_second();
        let (cpu_seconds, since_boot) = times(&stat, ticks);
        let boot = line_value(&machine, "btime ").map(|seconds| seconds as f64);
        Self {
            cpu_seconds,
            resident_bytes: line_value(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: line_value(&status, "VmSize:").map(|kib| kib * 1024),
            threads: line_value(&status, "Threads:"),
            // The descriptor that reads the directory is in it, and gone a moment later.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| (entries.count() as u64).saturating_sub(1)),
            max_fds: line_value(&limits, "Max open files"),
            start_seconds: boot.zip(since_boot).map(|(boot, since)| boot + since),
        }
    }

    /// Adds the figures to a page's.
    pub(super) fn add_to(&self, families: &mut Families<'_>) {
        use Kind::{Counter, Gauge};
        let count = |value: Option<u64>| value.map(|value| value as f64);
        let figures = [
            (
                "process_cpu_seconds_total",
                Counter,
                Some(Unit::Seconds),
                "Total user and system CPU time spent, in seconds.",
                self.cpu_seconds,
            ),
            (
                "process_max_fds",
                Gauge,
                None,
                "Maximum number of open file descriptors.",
                count(self.max_fds),
            ),
            (
                "process_open_fds",
                Gauge,
                None,
                "Number of open file descriptors.",
                count(self.open_fds),
            ),
            (
                "process_resident_memory_bytes",
                Gauge,
                Some(Unit::Bytes),
                "Resident memory size, in bytes.",
                count(self.resident_bytes),
            ),
            (
                "process_start_time_seconds",
                Gauge,
                Some(Unit::Seconds),
                "Start time of the process, in seconds since the Unix epoch.",
                self.start_seconds,
            ),
            (
                "process_threads",
                Gauge,
                None,
                "Number of threads of the process.",
                count(self.threads),
            ),
            (
                "process_virtual_memory_bytes",
                Gauge,
                Some(Unit::Bytes),
                "Virtual memory size, in bytes.",
                count(self.virtual_bytes),
            ),
        ];
        for (name, kind, unit, help, value) in figures {
            if let Some(value) = value {
                let samples = vec![format!("{name} {value}")];
                families.insert(name, Family { kind, unit, help, samples });
            }
        }
    }
}

/// CPU seconds used, and seconds from boot to the start of the process, out of `/proc/self/stat`
/// (proc_pid_stat(5): fields 14, 15 and 22).
fn times(stat: &str, ticks: f64) -> (Option<f64>, Option<f64>) {
    // The second field is the program's name in brackets, and may hold spaces and brackets; the
    // fields after it start behind the last closing one, with the third.
    let Some((_, rest)) = stat.rsplit_once(')') else { return (None, None) };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let seconds = |number: usize| -> Option<f64> {
        fields.get(number - 3)?.parse::<u64>().ok().map(|n| n as f64 / ticks)
    };
    (seconds(14).zip(seconds(15)).map(|(user, system)| user + system), seconds(22))
}

/// The first number behind `key` at the start of a line.
fn line_value(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointers and has no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // Linux fixes the unit of these files at 100 on every architecture that Rust supports.
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::{self, Format};
    use super::*;

    #[test]
    fn a_program_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 9 0 1200 1 2";
        assert_eq!(times(stat, 100.0), (Some(4.0), Some(12.0)));
        assert_eq!(times("", 100.0), (None, None));
        assert_eq!(times("1 (x) S 1", 100.0), (None, None));
    }

    #[test]
    fn values_are_found_by_their_line() {
        let status = "Name:\tx\nVmSize:\t  2000 kB\nVmRSS:\t    1000 kB\nThreads:\t7\n";
        assert_eq!(line_value(status, "VmRSS:"), Some(1000));
        assert_eq!(line_value(status, "Threads:"), Some(7));
        assert_eq!(line_value("Max open files   unlimited  unlimited", "Max open files"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_of_them() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{stats:?}");
        assert!(stats.open_fds.is_some_and(|fds| fds >= 3), "{stats:?}");
        let now = super::super::time::Now::read().unix_us as f64 / 1e6;
        let start = stats.start_seconds.unwrap_or(0.0);
        assert!((now - 86_400.0 * 7.0..=now + 5.0).contains(&start), "{start} against {now}");
        let mut families = Families::new();
        stats.add_to(&mut families);
        let page = exposition::write(&families, Format::Text);
        assert!(page.contains("# TYPE process_cpu_seconds_total counter\n"), "{page}");
        assert!(page.contains("\nprocess_resident_memory_bytes "), "{page}");
    }
}
