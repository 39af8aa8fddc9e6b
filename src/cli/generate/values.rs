//! The values that `generate`'s options take.

use std::path::PathBuf;
use std::str::FromStr;

use crate::weblog::{parse_duration, parse_quantity};

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Null,
    /// One file.
    File(PathBuf),
    /// A directory of files.
    Directory(PathBuf),
    /// A Kafka topic.
    Kafka,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "stdout" || text == "-" => Ok(Self::Stdout),
            None if text == "null" => Ok(Self::Null),
            None if text == "kafka" => Ok(Self::Kafka),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err("expected stdout, null, file:PATH, dir:PATH or kafka".to_owned()),
        }
    }
}

pub(super) fn duration(text: &str) -> Result<i64, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn span(text: &str) -> Result<(i64, i64), String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO, such as 150s..600s")?;
    Ok((duration(from)?, duration(to)?))
}

pub(super) fn quantity(text: &str) -> Result<f64, String> {
    parse_quantity(text).map_err(|error| error.to_string())
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    let number = quantity(text)?;
    // Above 2^53 a float skips integers.
    if number.fract() != 0.0 || number > 9.0e15 {
        return Err(format!("'{text}' is not a whole number"));
    }
    Ok(number as u64)
}

pub(super) fn instant(text: &str) -> Result<i64, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|at| at.timestamp_micros())
        .map_err(|_| format!("'{text}' is not an instant; write 2026-01-01T00:00:00Z"))
}

pub(super) fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Lines `NAME=VALUE`; empty ones and those that begin with '#' are passed over. What is wrong is
/// told by its line alone, which may hold a secret.
pub(super) fn properties_of(text: &str) -> Result<Vec<(String, String)>, String> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| property(line).map_err(|error| format!("line {}: {error}", index + 1)))
        .collect()
}
