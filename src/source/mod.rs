//! Sources: where bytes arrive, with their partition and position. I/O only.

pub mod kafka;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One partition of a source: the unit of order, of position and of watermark.
///
/// Shown as `source/split`, for instance `logs/web-logs-3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The source's name in the configuration.
    pub source: Arc<str>,
    /// What the source itself calls the partition; for Kafka `topic-partition`.
    pub split: Arc<str>,
}

impl PartitionId {
    /// A partition named `split` of the source named `source`.
    pub fn new(source: impl Into<Arc<str>>, split: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), split: split.into() }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.split)
    }
}

/// A partition is a map key in checkpoints, so it is written as its shown form. A source's name
/// holds no slash (the configuration refuses one), so the first slash parts the two.
impl Serialize for PartitionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartitionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once('/') {
            Some((source, split)) => Ok(Self::new(source, split)),
            None => Err(serde::de::Error::custom(format!("'{text}' is not source/split"))),
        }
    }
}
