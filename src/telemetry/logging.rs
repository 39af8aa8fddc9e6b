//! The log: what is written, how, and where to.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// Libraries that log at `info` what is of no use to an operator, or report as errors what they
/// also return. A filter of the user's own that names one of them wins.
const QUIET: &str = "librdkafka=warn,rdkafka=warn,deltalake=warn,deltalake_core=warn,\
    delta_kernel=warn,buoyant_kernel=warn,datafusion=warn,object_store=warn,sled=warn,\
    actix_server=warn,actix_http=warn,mio=warn,hyper=warn,rustls=warn";

/// Why the log could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error(
        "the log filter '{filter}' cannot be understood: {reason} \
         (try 'info', or 'info,millpond::sink=debug')"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file could not be opened.
    #[error("the log file {path} cannot be opened: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else had set a log up before.
    #[error("a log is set up already")]
    Installed,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message, fields.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// How to log.
pub struct LogOptions {
    /// A level (`info`), or directives as in `info,millpond::sink=debug`
    /// ([`EnvFilter`] has the syntax).
    pub filter: String,
    /// The form of a line.
    pub format: LogFormat,
    /// Whether text is coloured.
    pub colours: bool,
    /// Where lines go.
    pub writer: BoxMakeWriter,
}

impl LogOptions {
    /// Text to stderr, coloured if that is a terminal and `NO_COLOR` is unset.
    pub fn stderr(filter: impl Into<String>) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            filter: filter.into(),
            format: LogFormat::Text,
            colours: io::stderr().is_terminal() && !no_colour,
            writer: BoxMakeWriter::new(io::stderr),
        }
    }

    /// Text appended to a file, which is created if need be; for when the terminal is taken by
    /// the live view.
    pub fn file(filter: impl Into<String>, path: &Path) -> Result<Self, LoggingError> {
        let file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| LoggingError::File { path: path.to_owned(), source })?;
        Ok(Self {
            filter: filter.into(),
            format: LogFormat::Text,
            colours: false,
            writer: BoxMakeWriter::new(file),
        })
    }
}

/// Sets the log up for the whole process, takes in what libraries write through the `log` crate,
/// and sends panics there too. Once, at start.
pub fn init(options: LogOptions) -> Result<(), LoggingError> {
    let filter = filter(&options.filter)?;
    let lines = layer(options.format, options.colours, options.writer);
    Registry::default()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|_| LoggingError::Installed)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The user's filter on top of [`QUIET`].
fn filter(directives: &str) -> Result<EnvFilter, LoggingError> {
    let wrong = |reason: String| LoggingError::Filter { filter: directives.to_owned(), reason };
    if directives.trim().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    // A lone word that is no level would be taken for a target, with everything else off.
    let lone = !directives.contains([',', '=', '[']);
    if lone && directives.trim().parse::<tracing::level_filters::LevelFilter>().is_err() {
        return Err(wrong(
            "the levels are 'off', 'error', 'warn', 'info', 'debug' and 'trace'".to_owned(),
        ));
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{directives}"))
        .map_err(|error| wrong(error.to_string()))
}

fn layer<S>(
    format: LogFormat,
    colours: bool,
    writer: BoxMakeWriter,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_ansi(colours).with_writer(writer);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// A panic as a log line instead of text on stderr, which may be a live view's terminal. The
/// supervisor logs what it does about it.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let location = info.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| tracing::field::display(backtrace));
    tracing::error!(
        thread = thread.name().unwrap_or("(unnamed)"),
        location,
        reason = message,
        backtrace,
        "panic"
    );
}

/// A writer that keeps what is logged in memory.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
struct MemoryLog(Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl MemoryLog {
    /// What was logged so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&super::lock(&self.0)).into_owned()
    }

    /// As a writer for [`LogOptions`].
    fn writer(&self) -> BoxMakeWriter {
        let log = self.clone();
        BoxMakeWriter::new(move || log.clone())
    }
}

#[cfg(test)]
impl io::Write for MemoryLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        super::lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` with what it logs on this thread going to memory as JSON; returns the lines.
#[cfg(test)]
pub(crate) fn capture(directives: &str, work: impl FnOnce()) -> Vec<serde_json::Value> {
    let log = MemoryLog::default();
    let subscriber = Registry::default().with(
        layer(LogFormat::Json, false, log.writer())
            .with_filter(filter(directives).expect("a test's filter is sound")),
    );
    tracing::subscriber::with_default(subscriber, work);
    log.text().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_asked_for() {
        let noise = || {
            tracing::info!(target: "librdkafka", "chatter");
            tracing::warn!(target: "librdkafka", "trouble");
            tracing::info!(target: "deltalake_core::kernel", "chatter");
            tracing::debug!(target: "millpond::sink", "ours");
        };
        let messages = |directives: &str| -> Vec<String> {
            capture(directives, noise)
                .iter()
                .map(|line| format!("{} {}", line["target"], line["message"]).replace('"', ""))
                .collect()
        };
        assert_eq!(messages("info"), ["librdkafka trouble"]);
        assert_eq!(messages("debug"), ["librdkafka trouble", "millpond::sink ours"]);
        assert_eq!(messages("warn,librdkafka=debug"), ["librdkafka chatter", "librdkafka trouble"]);
        assert_eq!(
            messages("error,deltalake_core=trace"),
            ["librdkafka trouble", "deltalake_core::kernel chatter"]
        );
    }

    #[test]
    fn a_wrong_filter_is_explained() {
        for directives in ["", "  ", "loud", "millpond=loud", "a=b=c"] {
            let error = filter(directives).expect_err(directives).to_string();
            assert!(error.contains("log filter"), "{error}");
        }
        assert!(filter("loud").expect_err("no level").to_string().contains("'debug'"));
        filter(" info ").expect("spaces do no harm");
    }

    #[test]
    fn lines_go_to_the_file_and_the_file_is_appended_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("millpond.log");
        for n in 0..2 {
            let options = LogOptions::file("info", &path).expect("it can be created");
            let subscriber =
                Registry::default().with(layer(options.format, options.colours, options.writer));
            tracing::subscriber::with_default(subscriber, || tracing::info!(n, "a line"));
        }
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("a line n=1"), "{text}");
        let missing = dir.path().join("no").join("such.log");
        let error = LogOptions::file("info", &missing).err().expect("no directory").to_string();
        assert!(error.contains("such.log"), "{error}");
    }

    #[test]
    fn a_panic_is_a_log_line() {
        let lines = capture("info", || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let result = std::panic::catch_unwind(|| panic!("out of {}", "luck"));
            std::panic::set_hook(before);
            assert!(result.is_err());
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["reason"], "out of luck");
        assert!(lines[0]["location"].as_str().is_some_and(|at| at.contains("logging.rs")));
    }
}
