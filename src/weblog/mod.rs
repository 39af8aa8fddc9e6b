//! Web logs to look at: a web shop's, made up, the same bytes for the same seed.
//!
//! [`Generator`] writes them into memory, [`Pacer`] holds it to the wall clock, [`output`] carries
//! them to files and to Kafka. A [`Script`] says what goes wrong when, and then
//! [`Generator::ground_truth`] says what a detector should have found.
//!
//! A record:
//!
//! ```json
//! {"timestamp":"2026-01-01T00:00:00.004Z","ip":"10.38.7.214","method":"GET",
//!  "endpoint":"/api/v1/cart","status_code":200,"response_time":18.3,"bytes":1320,
//!  "user_agent":"Mozilla/5.0 ...","referer":null,"request_id":"5d2f0a9b6c1e7f43"}
//! ```
//!
//! (on one line). Response times are in milliseconds; a request's id is unique within a log.

mod catalogue;
mod format;
mod generator;
mod malformed;
mod math;
pub mod output;
mod pacer;
mod rng;
mod run;
mod script;
mod tables;
#[cfg(test)]
mod tests;
mod traffic;
mod units;

use std::path::PathBuf;

pub use generator::{DEFAULT_START, Generator, GeneratorOptions, MAX_SPAN, Rate, Stats};
pub use malformed::Malformation;
pub use pacer::{Due, Pacer};
pub use run::{Progress, RunOptions, run};
pub use script::{AnomalyKind, Script, ScriptedAnomaly, TrueAnomaly};
pub use units::{instant_text, parse_duration, parse_quantity};

/// The columns of a record, as Spark DDL.
pub const SCHEMA: &str = "timestamp TIMESTAMP NOT NULL, ip STRING NOT NULL, \
     method STRING NOT NULL, endpoint STRING NOT NULL, status_code INT NOT NULL, \
     response_time DOUBLE NOT NULL, bytes BIGINT NOT NULL, user_agent STRING, referer STRING, \
     request_id STRING NOT NULL";

/// What can go wrong in making a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeblogError {
    /// An option or a script that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// The file, or what stands for it.
        path: PathBuf,
        /// What was to be done with it.
        action: &'static str,
        /// The operating system's reason. Not a `source`, since it is part of the text.
        reason: std::io::Error,
    },
    /// Kafka refused something, or did not answer.
    #[error("kafka at {brokers}: {reason}")]
    Kafka {
        /// The brokers as they were given.
        brokers: String,
        /// What happened.
        reason: String,
    },
}

impl WeblogError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    /// Whether the reader at the other end of a pipe has gone, which is how readers say "enough".
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { reason, .. } if reason.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// The records that [`Generator::fill`] wrote into an empty `buffer`, without their line feeds.
pub fn records<'a>(buffer: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    ends.iter().scan(0, move |start, &end| {
        let record = buffer.get(*start..end);
        *start = end + 1;
        record
    })
}

/// The client's address in a record, as far as it is whole up to there.
pub fn client_of(record: &[u8]) -> Option<&[u8]> {
    const BEFORE: std::ops::Range<usize> = 38..46;
    if record.get(BEFORE)? != b"\",\"ip\":\"" {
        return None;
    }
    let rest = &record[BEFORE.end..];
    memchr::memchr(b'"', rest).map(|length| &rest[..length])
}
