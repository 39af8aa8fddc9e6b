//! What a sink is called in the cluster.

use super::KafkaOptions;
use crate::sink::error::SinkError;
use crate::sink::target::TargetContext;

/// The names under which a cluster knows a sink.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The producer's `transactional.id`.
    pub transactional_id: String,
    /// The group whose offset is the epoch.
    pub group: String,
    /// The topic that the offset is of; its partition 0.
    pub marker_topic: String,
}

impl Names {
    pub fn new(options: &KafkaOptions, context: &TargetContext) -> Result<Self, SinkError> {
        let marker_topic = options.marker_topic.clone().or_else(|| options.topic.clone());
        let marker_topic = marker_topic.ok_or_else(|| {
            SinkError::definition(
                &context.sink,
                "epochs are remembered under the name of a topic: set `topic` (which rows without \
                 a topic of their own go to) or `marker_topic`",
            )
        })?;
        let name = format!("millpond-{}-{}", context.pipeline, context.sink);
        Ok(Self { group: format!("{name}-epochs"), transactional_id: name, marker_topic })
    }
}
