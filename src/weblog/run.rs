//! From a generator to an output, as fast as possible or by the clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::output::Output;
use super::{Generator, Pacer, WeblogError};

/// Records made at a time: large enough for a system call, small enough for the cache.
const CHUNK: usize = 256;
/// The step of a paced run: shorter steps cost wake-ups, longer ones show as bursts.
const STEP: Duration = Duration::from_millis(10);
/// The longest sleep, so that an interruption is noticed soon.
const NAP: Duration = Duration::from_millis(100);
/// How often `progress` is called.
const REPORT: Duration = Duration::from_millis(250);

/// When a run is over, and how fast it goes.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Event time to stop at, microseconds since the Unix epoch; `i64::MAX` for no end.
    pub until: i64,
    /// Records to stop after; `u64::MAX` for no end.
    pub count: u64,
    /// Holds event time to the wall clock; as fast as possible if none.
    pub pacer: Option<Pacer>,
    /// Wall time to stop after although `until` is not reached, for a run that cannot keep up.
    pub wall_limit: Option<Duration>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Records handed to the output.
    pub records: u64,
    /// Their bytes, without line feeds.
    pub bytes: u64,
    /// Records known not to have arrived.
    pub failed: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// Event time reached, microseconds since the Unix epoch.
    pub event_time: i64,
    /// Wall time by which a paced run is behind its plan.
    pub behind: Duration,
}

/// Runs until the options say so or `interrupted` is set, and finishes the output. `progress` is
/// called several times a second, with whatever the output wants a person to know, and at the end.
///
/// # Errors
/// The output's. What was reached until then has been reported to `progress`.
pub fn run(
    generator: &mut Generator,
    output: &mut dyn Output,
    mut options: RunOptions,
    interrupted: &AtomicBool,
    progress: &mut dyn FnMut(&Progress, Option<String>),
) -> Result<(), WeblogError> {
    let began = Instant::now();
    let mut done = Progress { event_time: generator.event_time_now(), ..Progress::default() };
    let mut reported = began;
    let mut result =
        write_all(generator, output, &mut options, interrupted, began, &mut |now, output| {
            done = Progress { failed: output.failed(), elapsed: began.elapsed(), ..*now };
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                progress(&done, output.notice());
            }
        });
    if result.is_ok() {
        result = output.finish();
    }
    done.elapsed = began.elapsed();
    done.failed = output.failed();
    progress(&done, output.notice());
    result
}

fn write_all(
    generator: &mut Generator,
    output: &mut dyn Output,
    options: &mut RunOptions,
    interrupted: &AtomicBool,
    began: Instant,
    step: &mut dyn FnMut(&Progress, &mut dyn Output),
) -> Result<(), WeblogError> {
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    let mut now = Progress::default();
    while now.records < options.count && !interrupted.load(Ordering::Relaxed) {
        let elapsed = began.elapsed();
        if options.wall_limit.is_some_and(|limit| elapsed >= limit) {
            break;
        }
        let mut until = options.until;
        if let Some(pacer) = &mut options.pacer {
            let due = pacer.due(elapsed, generator.event_time_now());
            if let Some(skip_to) = due.skip_to {
                generator.skip_to(skip_to.min(options.until));
            }
            until = until.min(due.until);
        }
        let wanted = (options.count - now.records).min(CHUNK as u64) as usize;
        let written = generator.fill_until(&mut buffer, &mut ends, until, wanted);
        if written > 0 {
            output.write(&buffer, &ends)?;
            now.records += written as u64;
            now.bytes += (buffer.len() - written) as u64;
            buffer.clear();
            ends.clear();
        }
        now.event_time = generator.event_time_now();
        now.behind = options.pacer.as_ref().map_or(Duration::ZERO, Pacer::behind);
        step(&now, output);
        if written == wanted {
            continue;
        }
        if now.event_time >= options.until || generator.is_over() {
            break;
        }
        if let Some(pacer) = &options.pacer {
            let next = generator.next_event_time().min(options.until);
            let time = pacer.wait(began.elapsed(), next).clamp(STEP, NAP);
            output.pause(time);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::output::NullOutput;
    use super::super::{DEFAULT_START, GeneratorOptions, Rate};
    use super::*;

    fn outcome(options: RunOptions, rate: f64, interrupted: &AtomicBool) -> Progress {
        let rate = Rate::PerWallSecond(rate);
        let options_of_log = GeneratorOptions { rate, ..GeneratorOptions::default() };
        let mut generator = Generator::new(options_of_log).expect("the options make sense");
        let mut last = Progress::default();
        run(&mut generator, &mut NullOutput, options, interrupted, &mut |progress, _| {
            last = *progress;
        })
        .expect("nothing can go wrong with nothing");
        last
    }

    fn unlimited() -> RunOptions {
        RunOptions { until: i64::MAX, count: u64::MAX, pacer: None, wall_limit: None }
    }

    #[test]
    fn it_ends_where_it_should() {
        let go = AtomicBool::new(false);
        let by_count = outcome(RunOptions { count: 1000, ..unlimited() }, 10.0, &go);
        assert_eq!(by_count.records, 1000);
        let until = DEFAULT_START + 300_000_000;
        let by_time = outcome(RunOptions { until, ..unlimited() }, 10.0, &go);
        assert!((2800..3200).contains(&by_time.records), "{}", by_time.records);
        assert_eq!(by_time.event_time, until);
        assert_eq!(outcome(unlimited(), 10.0, &AtomicBool::new(true)).records, 0);
    }

    #[test]
    fn a_paced_run_takes_its_time() {
        let options = RunOptions {
            until: DEFAULT_START + 400_000,
            pacer: Some(Pacer::new(DEFAULT_START, 1.0)),
            wall_limit: Some(Duration::from_secs(60)),
            ..unlimited()
        };
        let paced = outcome(options, 10_000.0, &AtomicBool::new(false));
        assert!(paced.elapsed >= Duration::from_millis(390), "{paced:?}");
        assert!((3700..4300).contains(&paced.records), "{paced:?}");
    }

    #[test]
    fn a_run_that_cannot_keep_up_ends_by_the_clock() {
        /// Takes a hundredth of a second for whatever it gets.
        struct Slow;
        impl Output for Slow {
            fn write(&mut self, _: &[u8], _: &[usize]) -> Result<(), WeblogError> {
                std::thread::sleep(Duration::from_millis(10));
                Ok(())
            }
            fn finish(&mut self) -> Result<(), WeblogError> {
                Ok(())
            }
        }
        let rate = Rate::PerWallSecond(1e6);
        let options = GeneratorOptions { rate, ..GeneratorOptions::default() };
        let mut generator = Generator::new(options).expect("the options make sense");
        let options = RunOptions {
            pacer: Some(Pacer::new(DEFAULT_START, 1.0)),
            wall_limit: Some(Duration::from_millis(1500)),
            ..unlimited()
        };
        let mut last = Progress::default();
        let go = AtomicBool::new(false);
        let result = run(&mut generator, &mut Slow, options, &go, &mut |progress, _| {
            last = *progress;
        });
        assert!(result.is_ok());
        assert!(last.behind > Duration::ZERO && last.elapsed < Duration::from_secs(10), "{last:?}");
    }
}
