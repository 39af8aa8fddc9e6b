//! Where to begin in partitions that no checkpoint knows.

use std::collections::BTreeMap;

/// Where to begin in a partition that no checkpoint knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is still there.
    Earliest,
    /// At what arrives from now on.
    Latest,
    /// At the first record whose timestamp is this or later, as the brokers' index has it
    /// (`offsetsForTimes`); where there is none, at what arrives from now on.
    Timestamp {
        /// Milliseconds since the Unix epoch.
        ms: i64,
    },
    /// At places given partition by partition.
    Offsets {
        /// By topic and partition. An offset that the partition does not hold is an error.
        listed: BTreeMap<(String, i32), StartAt>,
        /// In partitions that are not listed, for instance because they were added later.
        others: StartAt,
    },
}

/// A place in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record; `-2` in Spark's `startingOffsets`.
    Earliest,
    /// What arrives from now on; `-1` in Spark's `startingOffsets`.
    Latest,
    /// This offset.
    Offset(i64),
}

impl StartAt {
    /// Reads a number as Spark's `startingOffsets` has it: -2 is earliest, -1 latest.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            -2 => Some(Self::Earliest),
            -1 => Some(Self::Latest),
            0.. => Some(Self::Offset(number)),
            _ => None,
        }
    }
}
