//! `[upkeep]` and `[queries.NAME.sink.upkeep]`: when tables are kept in order, and how.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::units::{serialize_duration, serialize_optional_duration};
use super::sink::Compression;
use crate::upkeep::Schedule;

/// When a task is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Never (`off`).
    Off,
    /// By a cron schedule, in UTC.
    At(Schedule),
}

impl When {
    /// The schedule, if there is one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Off => None,
            Self::At(schedule) => Some(schedule),
        }
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::At(schedule) => schedule.serialize(serializer),
        }
    }
}

/// What is written in one of the two places; what is not comes from the other, or is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpkeepKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact: Option<When>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zorder: Option<When>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zorder_by: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vacuum: Option<When>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<When>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_log: Option<When>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub retain: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_file_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_files: Option<usize>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub settle: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<usize>,
}

/// The upkeep of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpkeepSettings {
    /// `compact`: when small files are merged. Default `@hourly`.
    pub compact: When,
    /// `zorder`: when rows are put in z-order of `zorder_by`. Default off.
    pub zorder: When,
    pub zorder_by: Vec<String>,
    /// `vacuum`: when files that no version within `retain` needs are removed. Default `@daily`.
    pub vacuum: When,
    /// `checkpoint`: when a checkpoint of the log is written, beside the one every
    /// `checkpoint_interval` commits. Default `@hourly`.
    pub checkpoint: When,
    /// `clean_log`: when expired commits are removed. Default `@daily`.
    pub clean_log: When,
    /// `retain`: default what the table says (`delta.deletedFileRetentionDuration`).
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_duration"
    )]
    pub retain: Option<Duration>,
    /// `force`: whether `retain` may be less than what the table says. Default false.
    pub force: bool,
    /// `target_file_size`: default the table's `delta.targetFileSize`, or 128 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_file_size: Option<usize>,
    /// `min_files`: the fewest files worth merging. Default 8.
    pub min_files: usize,
    /// `settle`: a partition that was written to within this time waits until it has four times
    /// `min_files`. Default 10 minutes.
    #[serde(serialize_with = "serialize_duration")]
    pub settle: Duration,
    /// `compression` of the files that are written. Default zstd(1).
    pub compression: Compression,
    /// `threads`: default 1, so that the stream has the other cores.
    pub threads: usize,
    /// `memory`: bytes of rows that a z-order holds. Default 256 MiB.
    pub memory: usize,
    /// `<data_dir>/upkeep`: what a z-order does not hold in memory.
    pub spill_dir: PathBuf,
}

impl UpkeepKeys {
    /// The settings of a table: its own keys, then those of `[upkeep]`, then the defaults. `None`: no
    /// upkeep, because nobody asked for it or somebody asked not to.
    pub(crate) fn over(
        own: Option<&Self>,
        all: Option<&Self>,
        spill_dir: PathBuf,
    ) -> Option<UpkeepSettings> {
        if own.is_none() && all.is_none() {
            return None;
        }
        let none = Self::default();
        let (own, all) = (own.unwrap_or(&none), all.unwrap_or(&none));
        if !own.enabled.or(all.enabled).unwrap_or(true) {
            return None;
        }
        let when = |of: fn(&Self) -> &Option<When>, default: &str| {
            of(own)
                .clone()
                .or_else(|| of(all).clone())
                .unwrap_or_else(|| Schedule::parse(default).map_or(When::Off, When::At))
        };
        Some(UpkeepSettings {
            compact: when(|keys| &keys.compact, "@hourly"),
            zorder: when(|keys| &keys.zorder, "off"),
            zorder_by: own.zorder_by.clone().or_else(|| all.zorder_by.clone()).unwrap_or_default(),
            vacuum: when(|keys| &keys.vacuum, "@daily"),
            checkpoint: when(|keys| &keys.checkpoint, "@hourly"),
            clean_log: when(|keys| &keys.clean_log, "@daily"),
            retain: own.retain.or(all.retain),
            force: own.force.or(all.force).unwrap_or(false),
            target_file_size: own.target_file_size.or(all.target_file_size),
            min_files: own.min_files.or(all.min_files).unwrap_or(8),
            settle: own.settle.or(all.settle).unwrap_or(Duration::from_secs(600)),
            compression: own.compression.or(all.compression).unwrap_or(Compression::Zstd(1)),
            threads: own.threads.or(all.threads).unwrap_or(1),
            memory: own.memory.or(all.memory).unwrap_or(256 << 20),
            spill_dir,
        })
    }
}
