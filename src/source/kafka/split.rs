//! A partition's queue as a [`SplitReader`].

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;

use super::PartitionQueue;
use crate::source::{Envelope, Record, RecordMeta, SourceError, SplitReader, Taken};

/// How long a broker may take to answer a question.
const ASK: Duration = Duration::from_secs(20);

impl SplitReader for PartitionQueue {
    fn take(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Taken {
        let (topic, partition) = (self.topic.clone(), self.partition);
        let mut next = self.next;
        let taken = self.messages(limit, |message| {
            next = message.offset + 1;
            visit(Record {
                offset: message.offset,
                payload: message.payload,
                key: message.key,
                meta: RecordMeta {
                    topic: Some(&topic),
                    partition: Some(partition),
                    envelope: Envelope::Message(message.envelope),
                    ..RecordMeta::default()
                },
            });
        });
        self.next = taken.end.map_or(next, |end| next.max(end));
        Taken {
            messages: taken.messages,
            end: taken.end,
            error: taken.error.map(SourceError::Fetch),
            ..Taken::default()
        }
    }

    fn on_ready(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.on_nonempty(wake);
    }

    /// The queue comes from [`super::KafkaGroup::assign`] with its offset, so there is nothing to
    /// do unless the position is another one.
    fn seek(&mut self, next: i64) -> Result<(), SourceError> {
        if next == self.next {
            return Ok(());
        }
        self.consumer
            .seek(&self.topic, self.partition, Offset::Offset(next), ASK)
            .map_err(|error| SourceError::Position { position: next, reason: error.to_string() })?;
        self.next = next;
        Ok(())
    }

    fn backlog(&self) -> Option<u64> {
        let end = self.known_end()?;
        u64::try_from(end.saturating_sub(self.next)).ok()
    }

    fn barrier(&mut self, _epoch: u64) {}

    fn durable(&mut self, _next: i64) {}

    fn bound(&mut self) -> Result<i64, SourceError> {
        self.consumer
            .fetch_watermarks(&self.topic, self.partition, ASK)
            .map(|(_, end)| end)
            .map_err(|error| SourceError::Connection {
                address: super::split_name(&self.topic, self.partition),
                reason: format!("asking the brokers for the end failed: {error}"),
            })
    }
}
