//! `millpond demo`: everything in one process, for a first look.
//!
//! ```text
//! weblog::Generator ──► EmbeddedBroker ──► the pipeline of config/demo.toml ──► Delta tables
//!    (Feed, a thread)      (librdkafka)       (Daemon, the main thread)            │
//!         ▲                                        │ progress                      │
//!         └──────────── Conductor (a thread) ◄─────┘                               ▼
//!                       the live view                        readback ──► checks, score, summary
//! ```

mod conductor;
mod data_dir;
mod feed;
mod plan;
mod readback;
mod score;
mod summary;
mod text;
mod view;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use self::conductor::{Conductor, Course, Show};
use self::data_dir::{CONFIG, DataDir, LOG};
use self::feed::{PARTITIONS, TOPIC};
use self::plan::Plan;
use self::readback::{ReadBack, read_back};
use self::summary::{Events, Summary, checks};
use self::view::{Abilities, Screen};
use super::daemon::{self, Daemon, DaemonError};
use super::run::refuse;
use super::{FAILED, OK, USAGE};
use crate::actors::{Blueprint, RunOptions};
use crate::config::{self, ConfigErrors, Environment};
use crate::source::kafka::embedded::EmbeddedBroker;
use crate::telemetry::logging::{self, LogOptions};
use crate::telemetry::progress::PipelineReport;
use crate::telemetry::time::{EventTime, Now};
use crate::weblog::{parse_duration, parse_quantity};

/// The pipeline: what users find in config/ is what runs.
const PIPELINE: &str = include_str!("../../config/demo.toml");
/// The tables, in the order in which they are shown.
const TABLES: [&str; 6] = [
    "bronze",
    "endpoint_windows",
    "traffic_windows",
    "client_windows",
    "anomalies",
    "dead_letters",
];
/// The shortest demo that has something to show.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const EXAMPLES: &str = "\
Half an hour of event time goes by in the given time: twelve minutes of usual traffic, then a
traffic spike, an error burst, a slow-down and an abusive client, with some late and some
unreadable records throughout. At the end the tables are read back and counted, and the detectors
are held against the script.

Examples:
  millpond demo
  millpond demo --duration 30s --rate 2k --seed 7
  millpond demo --json --duration 20s > summary.json

The tables stay where they are; the next demo in the same directory replaces them. A directory
that holds anything else is refused. The log is demo.log beside the tables.

Exit status: 0 the pipeline ran right (whatever was detected), 1 it did not, or the tables do not
add up, 2 wrong usage.";

/// Set by the first SIGINT or SIGTERM, and when the pipeline ends.
static STOP: AtomicBool = AtomicBool::new(false);

/// See Millpond at work: an embedded broker, made-up web logs with anomalies, the whole pipeline
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "What happens in it, and examples: --help")]
pub struct DemoArgs {
    /// How long it goes on, such as 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub duration: Duration,
    /// Log records a second, such as 500 or 20k; fewer while the pipeline does not keep up
    #[arg(long, value_name = "N", default_value = "10k", value_parser = quantity)]
    pub rate: f64,
    /// A directory of the demo's own, for tables, checkpoints and the log
    #[arg(long, value_name = "DIR", default_value = "./data/demo")]
    pub data_dir: PathBuf,
    /// Where to serve /metrics and /api/v1/pipelines; a free port if this one is taken
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9898", value_parser = address)]
    pub listen: SocketAddr,
    /// The same seed makes the same log, but for its dates
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// A line now and then instead of the live view
    #[arg(long, visible_alias = "no-live")]
    pub plain: bool,
    /// The summary as JSON on standard output, and no live view
    #[arg(long)]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let micros = parse_duration(text).map_err(|error| error.to_string())?;
    let duration = Duration::from_micros(micros.unsigned_abs());
    if (SHORTEST..=LONGEST).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("a demo takes from {} s to 24 h", SHORTEST.as_secs()))
    }
}

fn quantity(text: &str) -> Result<f64, String> {
    let rate = parse_quantity(text).map_err(|error| error.to_string())?;
    if (1.0..=1e6).contains(&rate) {
        Ok(rate)
    } else {
        Err("the rate is from 1 to 1M records a second".to_owned())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:9898".to_owned())
}

/// Runs the subcommand.
pub fn execute(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let directory = match DataDir::claim(&args.data_dir) {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let log = directory.join(LOG);
    logging::init(LogOptions::file("info", &log)?)?;
    daemon::arm_fail_points()?;
    let config = directory.join(CONFIG);
    std::fs::write(&config, PIPELINE)
        .with_context(|| format!("cannot write {}", config.display()))?;

    let broker = EmbeddedBroker::start()?;
    broker.create_topic(TOPIC, i32::try_from(PARTITIONS)?)?;
    let listen = free_address(&args);
    let blueprint = match blueprint(directory.path(), &broker.brokers(), listen)? {
        Ok(blueprint) => blueprint,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let window = blueprint.detectors.first().map_or(1, |detector| detector.window_us);
    let plan = Plan::new(Now::read().unix_us, args.duration, args.rate, args.seed);
    let daemon = match Daemon::start(blueprint, RunOptions::default()) {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(ExitCode::from(error.exit_code()));
        }
    };
    greet(&args, &directory, daemon.address());

    let progress = daemon.progress();
    let ended = Arc::new(AtomicBool::new(false));
    let conductor = Conductor {
        plan: plan.clone(),
        brokers: broker.brokers(),
        progress: progress.clone(),
        stopper: daemon.stopper(),
        stop: &STOP,
        ended: ended.clone(),
        window,
        address: daemon.address(),
        log,
        show: show(&args),
    };
    let leading = std::thread::Builder::new()
        .name("conductor".to_owned())
        .spawn(move || conductor.lead())
        .context("the demo's thread can't be started")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let asked = interrupted.clone();
    let outcome = daemon.run_and_tell(move || {
        asked.store(true, Ordering::Relaxed);
        STOP.store(true, Ordering::Relaxed);
    });
    ended.store(true, Ordering::Release);
    let course = leading.join().unwrap_or_else(|_| Course {
        written: None,
        writing: Duration::ZERO,
        error: Some("the demo panicked; its log has the reason".to_owned()),
    });
    drop(broker);

    let (found, unreadable) = match read_tables(directory.path()) {
        Ok(found) => (found, None),
        Err(error) => (ReadBack::default(), Some(format!("reading back: {error:#}"))),
    };
    let code = outcome.as_ref().err().map(DaemonError::exit_code);
    let error =
        outcome.err().map(|error| error.to_string()).or(course.error.clone()).or(unreadable);
    let ending = Ending { error, interrupted: interrupted.load(Ordering::Relaxed) };
    let summary = summarise(&plan, window, &course, found, &progress.snapshot(), ending);
    let code = match code {
        Some(code) => code,
        None if summary.ok => OK,
        None => FAILED,
    };
    finish(&args, &directory, &summary);
    Ok(ExitCode::from(code))
}

/// The address asked for, or the same one with a free port.
fn free_address(args: &DemoArgs) -> SocketAddr {
    let taken = TcpListener::bind(args.listen)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    if taken && args.listen.port() != 0 {
        say(args, &format!("{} is taken by another program; taking a free port", args.listen));
        return SocketAddr::new(args.listen.ip(), 0);
    }
    args.listen
}

/// The shipped pipeline with what the command line and the broker say laid over it.
fn blueprint(
    directory: &Path,
    brokers: &str,
    listen: SocketAddr,
) -> anyhow::Result<Result<Blueprint, ConfigErrors>> {
    let directory = directory.to_str().context("the data directory's name is not UTF-8")?;
    let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
    let overrides = [
        ("data_dir".to_owned(), text(directory)),
        ("sources.logs.brokers".to_owned(), text(brokers)),
        ("server.listen".to_owned(), text(&listen.to_string())),
        // Whoever names an address that others can reach on the command line wants them to.
        ("server.allow_remote".to_owned(), (!listen.ip().is_loopback()).to_string()),
    ];
    let settings =
        config::parse_str_with_overrides("demo.toml", PIPELINE, &overrides, &Environment::Real);
    Ok(settings.and_then(Blueprint::new))
}

fn show(args: &DemoArgs) -> Show {
    let abilities = Abilities::read();
    if args.json {
        Show::LinesOnStderr
    } else if args.plain || !abilities.live {
        Show::Lines
    } else {
        Show::Live(Screen::new(abilities), abilities)
    }
}

/// A line for people, which is not for standard output if that is for JSON.
fn say(args: &DemoArgs, line: &str) {
    // Nothing can be done about a terminal that has gone.
    let _ = if args.json {
        writeln!(std::io::stderr(), "{line}")
    } else {
        writeln!(std::io::stdout(), "{line}")
    };
}

fn greet(args: &DemoArgs, directory: &DataDir, address: Option<SocketAddr>) {
    let path = directory.path().display();
    let replaced = if directory.replaced() { ", in place of the last demo's" } else { "" };
    say(args, &format!("tables in {path}{replaced}; the log is {path}/{LOG}"));
    if let Some(address) = address {
        // An address that stands for all of them is none to go to.
        let reachable = match address.ip() {
            ip if ip.is_unspecified() => {
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
            }
            _ => address,
        };
        say(args, &format!("http://{reachable}/ serves metrics and progress while it runs"));
    }
}

fn read_tables(directory: &Path) -> anyhow::Result<ReadBack> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(read_back(directory, &TABLES))
}

/// How it ended, apart from the numbers.
struct Ending {
    error: Option<String>,
    interrupted: bool,
}

fn summarise(
    plan: &Plan,
    window: i64,
    course: &Course,
    found: ReadBack,
    report: &PipelineReport,
    ending: Ending,
) -> Summary {
    let written = course.written.as_ref();
    let generated = written.map_or(0, feed::Written::records);
    let seconds = course.writing.as_secs_f64();
    let reached = written.map_or(plan.start, |written| written.progress.event_time);
    let malformed = written.map_or(0, |written| written.stats.malformed());
    let windows = view::windows(report);
    let events = Events {
        generated,
        malformed,
        read: report.num_input_rows,
        bronze: found.rows("bronze"),
        dead_letters: found.rows("dead_letters"),
        late: windows.map_or(0, |query| query.num_late_rows),
        per_second: if seconds > 0.0 { generated as f64 / seconds } else { 0.0 },
    };
    let checks = checks(&events, &found, report);
    let truth = plan.options.script.ground_truth(plan.start, reached);
    let detection = score::score(&truth, &found.anomalies, window, found.closed);
    Summary {
        ok: ending.error.is_none() && checks.iter().all(|check| check.ok),
        interrupted: ending.interrupted,
        error: ending.error,
        seed: plan.options.seed,
        seconds,
        event_time_start: EventTime(plan.start),
        event_time_end: EventTime(reached),
        events,
        checks,
        epochs: report.checkpoint.committed_epoch.unwrap_or(0),
        restarts: report.restarts,
        root_cause: report.root_cause.clone(),
        windows_closed: windows.map_or(0, |query| query.num_windows_closed),
        tables: found.tables,
        detection,
    }
}

fn finish(args: &DemoArgs, directory: &DataDir, summary: &Summary) {
    if args.json {
        // A summary is made of text and numbers alone, and always has a JSON form.
        let json = serde_json::to_string_pretty(summary).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{json}");
        return;
    }
    say(args, &summary.text());
    say(args, &next_steps(directory.path()));
}

/// What to do next, in commands that work as they are.
fn next_steps(directory: &Path) -> String {
    // As it was called just now: it need not be on the path.
    let program = std::env::args().next().unwrap_or_else(|| "millpond".to_owned());
    let program = quoted(&program);
    let config = quoted(&directory.join(CONFIG).to_string_lossy());
    let table = quoted(&directory.join("anomalies").to_string_lossy());
    format!(
        "\nNext\n\
         # the pipeline that ran, and what it was planned to\n\
         {program} validate {config}\n\
         # any reader of Delta Lake reads the tables; this one comes with `pip install deltalake`\n\
         python3 -c \"import sys; from deltalake import DeltaTable, QueryBuilder; \
         print(QueryBuilder().register('t', DeltaTable(sys.argv[1])).execute('SELECT \
         window_start, severity, reason FROM t ORDER BY 1').read_all())\" {table}\n\
         # the same pipeline on a Kafka of yours (KAFKA_BROKERS), with logs to read\n\
         {program} generate --brokers localhost:9092 --rate 1k --anomalies hourly &\n\
         {program} run {config}"
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_held_to_what_makes_sense() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for text in ["1s", "25h", "-5s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(quantity("10k"), Ok(10_000.0));
        for text in ["0.5", "2G", "nan", "many"] {
            assert!(quantity(text).is_err(), "{text}");
        }
        assert_eq!(address("localhost:80"), Ok(([127, 0, 0, 1], 80).into()));
        assert!(address("example").is_err());
    }

    #[test]
    fn the_pipeline_is_planned_whatever_the_directory_is_called() {
        let any = ([127, 0, 0, 1], 0).into();
        for name in ["data", "12", "true", "with space", "quo\"te", "a='b'", "[x]"] {
            let directory = Path::new("/tmp").join(name);
            let planned = blueprint(&directory, "127.0.0.1:9", any).expect("a name in UTF-8");
            let blueprint = planned.unwrap_or_else(|errors| panic!("{name}: {errors}"));
            assert_eq!(blueprint.settings.data_dir, directory);
            assert!(blueprint.sources[0].input.describe().ends_with(" at 127.0.0.1:9"));
            let names: Vec<String> = blueprint
                .sinks
                .iter()
                .filter_map(|sink| {
                    Some(Path::new(&sink.address()).file_name()?.to_str()?.to_owned())
                })
                .collect();
            for table in TABLES {
                assert!(names.iter().any(|name| name == table), "{table} of {names:?}");
            }
            // Every record has to be decoded whole, or broken ones would not be noticed.
            let source = &blueprint.sources[0];
            assert_eq!(source.projection.len(), source.schema.fields().len());
        }
        let remote = ([0, 0, 0, 0], 9898).into();
        blueprint(Path::new("/tmp/data"), "127.0.0.1:9", remote)
            .expect("a name in UTF-8")
            .expect("an address that was asked for");
    }

    #[test]
    fn what_is_next_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("./data/demo"), "./data/demo");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted(""), "''");
        let steps = next_steps(Path::new("./my data"));
        assert!(steps.contains("read_all())\" './my data/anomalies'\n"), "{steps}");
        assert!(steps.contains(" validate './my data/demo.toml'\n"), "{steps}");
    }

    #[test]
    fn a_port_that_is_taken_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = taken.local_addr().expect("an address");
        let args = DemoArgs {
            duration: Duration::from_secs(5),
            rate: 1.0,
            data_dir: PathBuf::new(),
            listen,
            seed: 1,
            plain: true,
            json: true,
        };
        assert_eq!(free_address(&args).port(), 0);
        drop(taken);
        assert_eq!(free_address(&args), listen);
    }
}
