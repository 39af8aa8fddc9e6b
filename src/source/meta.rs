//! What is known of a record beside its bytes.

use std::borrow::Cow;
use std::sync::Arc;

use super::kafka::MessageEnvelope;

/// What is known of a record beside its bytes: metadata columns are filled from it, and dead
/// letters say by it where a record stood. Cheap to make: what costs something to find out (a
/// message's timestamp and headers) is only looked up when it is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordMeta<'a> {
    /// The Kafka topic.
    pub topic: Option<&'a str>,
    /// The Kafka partition.
    pub partition: Option<i32>,
    /// Where timestamp and headers are; see [`RecordMeta::timestamp_us`], [`RecordMeta::headers`].
    pub envelope: Envelope<'a>,
    /// The file's path, as it was discovered.
    pub file: Option<&'a str>,
    /// The line in the file where the record begins, counted from 1.
    pub line: Option<u64>,
    /// When the file was last modified, microseconds since the Unix epoch.
    pub modified_us: Option<i64>,
    /// The file's header record, without its line end, when the source takes it off
    /// (CSV with `header = true`). The same `Arc` for all records of a file, so a decoder may
    /// compare it by pointer.
    pub header: Option<&'a Arc<[u8]>>,
}

/// The timestamp and the headers of a record.
#[derive(Debug, Clone, Copy, Default)]
pub enum Envelope<'a> {
    /// There are none.
    #[default]
    None,
    /// They are known.
    Known {
        /// Microseconds since the Unix epoch.
        timestamp_us: Option<i64>,
        /// Who set it.
        timestamp_type: TimestampType,
        /// In the order in which they were sent; a key may repeat.
        headers: &'a [(&'a str, Option<&'a [u8]>)],
    },
    /// They are in a Kafka message, not parsed yet.
    Message(MessageEnvelope<'a>),
}

/// Who set a Kafka record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// There is no timestamp.
    #[default]
    NotAvailable,
    /// The producer.
    CreateTime,
    /// The broker.
    LogAppendTime,
}

impl TimestampType {
    /// As in the column `timestampType` of Spark's Kafka source: -1, 0 or 1.
    pub fn code(self) -> i32 {
        match self {
            Self::NotAvailable => -1,
            Self::CreateTime => 0,
            Self::LogAppendTime => 1,
        }
    }
}

/// One header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key. Bytes that are no UTF-8 (the protocol forbids them) are replaced by U+FFFD.
    pub key: Cow<'a, str>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordMeta<'a> {
    /// The record's own timestamp, microseconds since the Unix epoch. For Kafka, what the
    /// producer or the broker set; `None` where there is none.
    pub fn timestamp_us(&self) -> Option<i64> {
        match &self.envelope {
            Envelope::None => None,
            Envelope::Known { timestamp_us, .. } => *timestamp_us,
            Envelope::Message(message) => message.timestamp().0,
        }
    }

    /// Who set the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        match &self.envelope {
            Envelope::None => TimestampType::NotAvailable,
            Envelope::Known { timestamp_type, .. } => *timestamp_type,
            Envelope::Message(message) => message.timestamp().1,
        }
    }

    /// The headers, in the order in which they were sent.
    pub fn headers(&self) -> Headers<'a> {
        Headers(match &self.envelope {
            Envelope::None => Inner::Known(&[]),
            Envelope::Known { headers, .. } => Inner::Known(headers),
            Envelope::Message(message) => Inner::Message { message: *message, next: 0 },
        })
    }
}

/// Iterator over a record's headers.
#[derive(Debug, Clone)]
pub struct Headers<'a>(Inner<'a>);

#[derive(Debug, Clone)]
enum Inner<'a> {
    Known(&'a [(&'a str, Option<&'a [u8]>)]),
    Message { message: MessageEnvelope<'a>, next: usize },
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        match &mut self.0 {
            Inner::Known(rest) => {
                let ((key, value), others) = rest.split_first()?;
                *rest = others;
                Some(Header { key: Cow::Borrowed(key), value: *value })
            }
            Inner::Message { message, next } => {
                let header = message.header(*next)?;
                *next += 1;
                Some(header)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_an_envelope_has_neither_timestamp_nor_headers() {
        let meta = RecordMeta::default();
        assert_eq!(meta.timestamp_us(), None);
        assert_eq!(meta.timestamp_type().code(), -1);
        assert_eq!(meta.headers().count(), 0);
    }

    #[test]
    fn known_headers_come_in_order_and_may_repeat() {
        let headers: &[(&str, Option<&[u8]>)] =
            &[("a", Some(b"1")), ("b", None), ("a", Some(b"2"))];
        let envelope = Envelope::Known {
            timestamp_us: Some(5),
            timestamp_type: TimestampType::CreateTime,
            headers,
        };
        let meta = RecordMeta { envelope, ..RecordMeta::default() };
        let seen: Vec<_> = meta.headers().map(|h| (h.key.into_owned(), h.value)).collect();
        assert_eq!(seen[0], ("a".to_owned(), Some(&b"1"[..])));
        assert_eq!(seen[1], ("b".to_owned(), None));
        assert_eq!(seen[2], ("a".to_owned(), Some(&b"2"[..])));
        assert_eq!((meta.timestamp_us(), meta.timestamp_type().code()), (Some(5), 0));
    }
}
