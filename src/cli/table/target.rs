//! Which table is meant, and running something on it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::TableError;
use crate::cli::catalog::CatalogArgs;
use crate::config::{self, Settings};
use crate::lake::TableLocation;
use crate::upkeep::{Progress, UpkeepError};

/// The table and where its name is looked up.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The table: a path, a URL, or a name of the configuration
    #[arg(value_name = "TABLE")]
    pub table: String,
    #[command(flatten)]
    catalog: CatalogArgs,
}

impl Target {
    /// Where the table is.
    pub fn location(&self) -> Result<TableLocation, TableError> {
        let catalog = self.catalog.catalog().map_err(TableError::Said)?;
        match catalog.resolve(&self.table) {
            Ok(entry) => Ok(entry.location),
            Err(error) => Err(TableError::Usage(error.to_string())),
        }
    }

    /// The configuration, if one is given.
    pub fn settings(&self) -> Result<Option<Settings>, TableError> {
        self.catalog.settings().map_err(TableError::Said)
    }
}

/// Runs an operation. Ctrl-C asks it to stop, a second one ends the process: what was committed
/// stands either way.
pub fn run<T>(
    operation: impl Future<Output = Result<T, UpkeepError>>,
    bar: &Bar,
) -> Result<T, TableError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| TableError::Process(error.to_string()))?;
    let result = runtime.block_on(async {
        let mut operation = std::pin::pin!(operation);
        loop {
            tokio::select! {
                result = &mut operation => return result,
                asked = tokio::signal::ctrl_c() => {
                    if asked.is_err() || bar.stop.swap(true, Ordering::Relaxed) {
                        return Err(UpkeepError::Cancelled);
                    }
                }
            }
        }
    });
    bar.finish();
    // Threads that wait for storage end with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result.map_err(TableError::from)
}

/// Progress on standard error, if that is a terminal.
pub struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Bar {
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        Self { bar, stop: Arc::default() }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, files: u64, bytes: u64) {
        // Where there are no bytes to count, files are.
        let (template, length) = if bytes > 0 {
            (
                "{msg} {bar:30} {bytes}/{total_bytes}, {prefix} files, {bytes_per_sec}, {eta} left",
                bytes,
            )
        } else {
            ("{msg} {spinner} {prefix} files, {elapsed}", files)
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.bar.set_prefix("0");
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&self, files: u64, bytes: u64) {
        let done: u64 = self.bar.prefix().parse().unwrap_or(0);
        self.bar.set_prefix((done + files).to_string());
        self.bar.inc(bytes);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A size on the command line.
pub fn size(text: &str) -> Result<u64, String> {
    config::parse_size(text)
        .map(|bytes| bytes as u64)
        .map_err(|help| help.unwrap_or_else(|| "write a size, for instance 128MiB".to_owned()))
}

/// A duration on the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).map_err(|help| {
        help.unwrap_or_else(|| "write a duration, for instance 168h or 7d".to_owned())
    })
}
