//! `millpond generate`: web logs to Kafka, files or standard output.

mod report;
#[cfg(test)]
mod tests;
mod values;

use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::error::ErrorKind;

use self::report::{Terminal, summarise, truth};
pub use self::values::Destination;
use self::values::{count, duration, instant, properties_of, property, quantity, span};
use crate::weblog::output::{
    DirectoryOutput, KafkaOptions, KafkaOutput, Key, NullOutput, Output, StreamOutput,
};
use crate::weblog::{
    DEFAULT_START, Generator, GeneratorOptions, Pacer, Progress, Rate, RunOptions, Script,
    WeblogError, run,
};

/// Records a second if a live log is asked for and nothing else is said.
const LIVE_RATE: f64 = 10.0;

/// Set by the first SIGINT or SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

const EXAMPLES: &str = "\
Examples:
  Ten log lines a second for five minutes, to look at:
    millpond generate --rate 10 --duration 300

  The same into the topic 'web-logs', live, with something going wrong every quarter of an hour:
    millpond generate --brokers localhost:9092 --rate 10 --anomalies hourly

  Five million records as fast as the broker takes them, the same for everybody:
    millpond generate --brokers localhost:9092 --partitions 4 --count 5M --seed 42

  Half an hour of event time in three minutes, and the truth to hold a detector against:
    millpond generate --to dir:logs --rate 10k --time-scale 10 --duration 3m \\
        --anomalies demo --truth truth.json

  A topic that wants TLS and a password (any librdkafka property, also from a file):
    millpond generate --brokers kafka.example.com:9093 --properties client.properties \\
        -X security.protocol=SASL_SSL

Anomaly scripts (TOML; 'demo' and 'hourly' are built in):
    repeat_every = \"1h\"               # optional: over and over
    [[anomaly]]
    kind = \"traffic_spike\"            # magnitude: times the usual traffic
    at = \"10m\"                        # of event time, after the start
    duration = \"2m\"
    magnitude = 5.0
    endpoint = \"/products\"            # optional: all endpoints without
    # kind = \"error_burst\"              magnitude: share of requests that fail (0 to 1)
    # kind = \"slow_down\"                magnitude: times the usual response time
    # kind = \"abusive_ip\"               magnitude: share of all traffic (0 to 0.95); ip = \"...\"

Exit status: 0 done or interrupted, 1 something was not written, 2 wrong usage.";

/// Write the log of a made-up web shop: to Kafka, to files, or to standard output
///
/// One JSON object a line: timestamp, ip, method, endpoint, status_code, response_time (ms),
/// bytes, user_agent, referer, request_id. A few records are late and a few are broken, as in
/// life; --clean leaves that out. The same options with the same --seed give the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "Examples and the anomaly script: --help")]
pub struct GenerateArgs {
    /// stdout, null, file:PATH, dir:PATH (files of --file-events each) or kafka
    /// [default: kafka if --brokers or --topic is given, stdout otherwise]
    #[arg(long, value_name = "WHERE", help_heading = "Output")]
    pub to: Option<Destination>,
    /// Records in each file of dir:PATH
    #[arg(long, value_name = "N", default_value = "100k", value_parser = count, help_heading = "Output")]
    pub file_events: u64,
    /// Kafka brokers, host:port, separated by commas [default: localhost:9092]
    #[arg(long, value_name = "LIST", help_heading = "Output")]
    pub brokers: Option<String>,
    /// Kafka topic, made if it is missing [default: web-logs]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub topic: Option<String>,
    /// Partitions of a topic that is made [default: the broker's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Output")]
    pub partitions: Option<i32>,
    /// Key of the Kafka records: none (partitions in turn) or ip
    #[arg(long, value_name = "KEY", help_heading = "Output")]
    pub key: Option<Key>,
    /// Set a property of librdkafka; may be repeated
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = property, help_heading = "Output")]
    pub property: Vec<(String, String)>,
    /// Read properties of librdkafka from a file, one NAME=VALUE a line (keeps secrets out of ps)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub properties: Option<PathBuf>,

    /// Records a second of wall time, such as 10, 2.5k or 1M [default: as fast as possible; 10 if
    /// the log is live]
    #[arg(long, value_name = "N", value_parser = quantity, help_heading = "How fast and how much")]
    pub rate: Option<f64>,
    /// Records a second of event time [default: 1000]
    #[arg(long, value_name = "N", value_parser = quantity, conflicts_with = "rate", help_heading = "How fast and how much")]
    pub event_rate: Option<f64>,
    /// Seconds of event time in a second of wall time [default: 1 with --rate]
    #[arg(long, value_name = "FACTOR", value_parser = quantity, help_heading = "How fast and how much")]
    pub time_scale: Option<f64>,
    /// Stop after so long, such as 300 (seconds), 90s, 5m or 1h30m; event time if nothing sets the
    /// pace [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "How fast and how much")]
    pub duration: Option<i64>,
    /// Stop after so many records, such as 1000 or 5M
    #[arg(long, value_name = "N", value_parser = count, help_heading = "How fast and how much")]
    pub count: Option<u64>,

    /// The same seed gives the same bytes [default: 0; another each time if the log is live]
    #[arg(long, value_name = "N", help_heading = "What")]
    pub seed: Option<u64>,
    /// Event time to start at, RFC 3339 [default: 2026-01-01T00:00:00Z]
    #[arg(long, value_name = "TIME", value_parser = instant, help_heading = "What")]
    pub start: Option<i64>,
    /// Event time is the wall clock's: the log is live [default: to kafka, without --seed,
    /// --start, --count, --event-rate and --time-scale]
    #[arg(long, conflicts_with_all = ["start", "time_scale"], help_heading = "What")]
    pub realtime: bool,
    /// What goes wrong, on a script: none, demo (half an hour), hourly, or a TOML file
    #[arg(long, value_name = "SCRIPT", default_value = "none", help_heading = "What")]
    pub anomalies: String,
    /// At the end, write what really went wrong to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "What")]
    pub truth: Option<PathBuf>,
    /// Timestamps are up to so long before their record is written
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, help_heading = "What")]
    pub disorder: i64,
    /// Share of the records that are late
    #[arg(long, value_name = "SHARE", default_value_t = 0.001, help_heading = "What")]
    pub late: f64,
    /// How late those are
    #[arg(long, value_name = "FROM..TO", default_value = "150s..600s", value_parser = span, help_heading = "What")]
    pub late_by: (i64, i64),
    /// Share of the records that are broken
    #[arg(long, value_name = "SHARE", default_value_t = 0.0005, help_heading = "What")]
    pub malformed: f64,
    /// In order and whole: --disorder 0 --late 0 --malformed 0
    #[arg(long, conflicts_with_all = ["disorder", "late", "malformed"], help_heading = "What")]
    pub clean: bool,
    /// How much the hour of the day changes the rate, 0 to 1 [default: 1; 0 with --rate or
    /// --event-rate, which then hold at any hour]
    #[arg(long, value_name = "SHARE", help_heading = "What")]
    pub diurnal: Option<f64>,

    /// No progress, no summary
    #[arg(long, short)]
    pub quiet: bool,
    /// The summary as JSON, on standard output (on standard error if the log goes there)
    #[arg(long)]
    pub json: bool,
}

/// Runs `millpond generate`. Wrong usage is explained on standard error and gives status 2.
///
/// # Errors
/// What could not be written, or not be reached.
pub fn execute(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    match generate(&args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref::<WeblogError>() {
            Some(error) if error.is_broken_pipe() => Ok(ExitCode::SUCCESS),
            Some(WeblogError::Invalid(reason)) => {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{reason}\n")).print()?;
                Ok(ExitCode::from(2))
            }
            _ => Err(error),
        },
    }
}

/// The options, worked out.
struct Plan {
    destination: Destination,
    options: GeneratorOptions,
    run: RunOptions,
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let plan = plan(args, now())?;
    let mut generator = Generator::new(plan.options)?;
    watch_signals()?;
    let mut output = open(args, &plan.destination)?;

    let to_stdout = plan.destination == Destination::Stdout;
    let mut terminal = Terminal {
        quiet: args.quiet,
        // A log that scrolls by on the same terminal would tear the line of progress apart.
        live: !args.quiet
            && std::io::stderr().is_terminal()
            && !(to_stdout && std::io::stdout().is_terminal()),
        shown: None,
    };
    let mut last = Progress::default();
    let result =
        run(&mut generator, &mut *output, plan.run, &INTERRUPTED, &mut |progress, notice| {
            last = *progress;
            terminal.show(progress, notice);
        });
    terminal.clear();
    if let Some(path) = &args.truth {
        let text = format!("{:#}\n", truth(&generator));
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !result.as_ref().is_err_and(WeblogError::is_broken_pipe) {
        summarise(args, &generator, &last, to_stdout);
    }
    Ok(result?)
}

fn plan(args: &GenerateArgs, now: i64) -> Result<Plan, WeblogError> {
    let invalid = |reason: &str| Err(WeblogError::Invalid(reason.to_owned()));
    let names_kafka = args.brokers.is_some() || args.topic.is_some();
    let destination = match &args.to {
        Some(to) => to.clone(),
        None if names_kafka => Destination::Kafka,
        None => Destination::Stdout,
    };
    let to_kafka = destination == Destination::Kafka;
    let about_kafka = names_kafka
        || args.partitions.is_some()
        || args.key.is_some()
        || args.properties.is_some()
        || !args.property.is_empty();
    if about_kafka && !to_kafka {
        return invalid(
            "--brokers, --topic, --partitions, --key, -X and --properties are for --to kafka only",
        );
    }

    let live = to_kafka
        && args.seed.is_none()
        && args.start.is_none()
        && args.count.is_none()
        && args.event_rate.is_none()
        && args.time_scale.is_none();
    let realtime = args.realtime || live;
    let rate = match (args.rate, args.event_rate) {
        (Some(rate), _) => Rate::PerWallSecond(rate),
        (None, Some(rate)) => Rate::PerEventSecond(rate),
        (None, None) if realtime => Rate::PerWallSecond(LIVE_RATE),
        (None, None) => GeneratorOptions::default().rate,
    };
    let paced = realtime || args.rate.is_some() || args.time_scale.is_some();
    let scale = args.time_scale.unwrap_or(1.0);
    let endless = args.count.is_none() && args.duration.is_none();
    let keeps = !matches!(destination, Destination::Stdout | Destination::Null);
    if endless && !paced && keeps {
        return invalid(
            "as fast as possible and without an end: say --rate, --duration or --count",
        );
    }

    let start = if realtime { now } else { args.start.unwrap_or(DEFAULT_START) };
    let exact = args.rate.is_some() || args.event_rate.is_some();
    let options = GeneratorOptions {
        // A live log is another each time, so that two in one topic share no request ids.
        seed: args.seed.unwrap_or(if realtime { now as u64 } else { 0 }),
        start,
        rate,
        time_scale: scale,
        diurnal: args.diurnal.unwrap_or(if exact || realtime { 0.0 } else { 1.0 }),
        script: Script::load(&args.anomalies)?,
        disorder_us: if args.clean { 0 } else { args.disorder },
        late: if args.clean { 0.0 } else { args.late },
        late_by_us: args.late_by,
        malformed: if args.clean { 0.0 } else { args.malformed },
    };
    let pacer =
        paced.then(|| if realtime { Pacer::realtime(start) } else { Pacer::new(start, scale) });
    let until = match args.duration {
        // A float becomes the nearest integer there is.
        Some(duration) if paced => start.saturating_add((duration as f64 * scale) as i64),
        Some(duration) => start.saturating_add(duration),
        None => i64::MAX,
    };
    // The last records are due at the very end and may come a little later.
    let wall_limit = args
        .duration
        .filter(|_| paced)
        .map(|duration| Duration::from_micros(duration.unsigned_abs()) + Duration::from_secs(1));
    let run = RunOptions { until, count: args.count.unwrap_or(u64::MAX), pacer, wall_limit };
    Ok(Plan { destination, options, run })
}

fn open(args: &GenerateArgs, destination: &Destination) -> anyhow::Result<Box<dyn Output>> {
    Ok(match destination {
        Destination::Stdout => Box::new(StreamOutput::new(std::io::stdout(), "standard output")),
        Destination::Null => Box::new(NullOutput),
        Destination::File(path) => Box::new(StreamOutput::create(path)?),
        Destination::Directory(path) => Box::new(DirectoryOutput::new(path, args.file_events)?),
        Destination::Kafka => {
            let mut properties = Vec::new();
            if let Some(path) = &args.properties {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                properties = properties_of(&text).map_err(|reason| {
                    WeblogError::Invalid(format!("{}: {reason}", path.display()))
                })?;
            }
            properties.extend(args.property.iter().cloned());
            let options = KafkaOptions {
                brokers: args.brokers.clone().unwrap_or_else(|| "localhost:9092".to_owned()),
                topic: args.topic.clone().unwrap_or_else(|| "web-logs".to_owned()),
                partitions: args.partitions,
                key: args.key.unwrap_or_default(),
                properties,
            };
            Box::new(KafkaOutput::connect(options, &INTERRUPTED)?)
        }
    })
}

/// The first signal asks for an orderly end, the second ends the process.
fn watch_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot watch for signals")?;
    let (ready, registered) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let signals = signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
            let (mut interrupt, mut terminate) = match signals {
                Ok(signals) => signals,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if INTERRUPTED.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    })?;
    // A signal that comes before this would end the process without a summary.
    registered.recv().context("cannot watch for signals")?.context("cannot watch for signals")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
