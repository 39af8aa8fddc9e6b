//! A message's timestamp and headers, looked up when they are asked for.

use std::ffi::{CStr, c_char, c_void};
use std::{fmt, ptr, slice};

use rdkafka::types::{RDKafkaMessage, RDKafkaRespErr};
use rdkafka_sys as sys;

use crate::source::meta::{Header, TimestampType};

/// A message of librdkafka's, for what is only looked up on demand: librdkafka parses the headers
/// the first time that they are asked for.
#[derive(Clone, Copy)]
pub struct MessageEnvelope<'a>(&'a RDKafkaMessage);

impl<'a> MessageEnvelope<'a> {
    pub(super) fn new(message: &'a RDKafkaMessage) -> Self {
        Self(message)
    }

    /// The timestamp in microseconds since the Unix epoch, and who set it.
    pub(in crate::source) fn timestamp(&self) -> (Option<i64>, TimestampType) {
        use sys::rd_kafka_timestamp_type_t as Native;
        let mut kind = Native::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive for 'a, and the out-parameter is valid for the call.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        let kind = match kind {
            Native::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => TimestampType::NotAvailable,
            Native::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::CreateTime,
            Native::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => TimestampType::LogAppendTime,
        };
        match kind {
            // -1 is how the protocol says that there is none.
            TimestampType::NotAvailable => (None, kind),
            _ if ms < 0 => (None, TimestampType::NotAvailable),
            _ => (ms.checked_mul(1000), kind),
        }
    }

    /// The header at `index`, `None` past the last.
    pub(in crate::source) fn header(&self, index: usize) -> Option<Header<'a>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive for 'a. librdkafka parses the headers into the message on
        // the first call; no other thread has the message.
        let code = unsafe { sys::rd_kafka_message_headers(self.0, &mut headers) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return None;
        }
        let mut key: *const c_char = ptr::null();
        let mut value: *const c_void = ptr::null();
        let mut len = 0;
        // SAFETY: the headers belong to the message; the out-parameters are valid for the call.
        let code =
            unsafe { sys::rd_kafka_header_get_all(headers, index, &mut key, &mut value, &mut len) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || key.is_null() {
            return None;
        }
        Some(Header {
            // SAFETY: a C string that lives as long as the message.
            key: unsafe { CStr::from_ptr(key) }.to_string_lossy(),
            // SAFETY: `len` bytes that live as long as the message.
            value: (!value.is_null())
                .then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), len) }),
        })
    }
}

impl fmt::Debug for MessageEnvelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageEnvelope").field("timestamp", &self.timestamp()).finish()
    }
}
