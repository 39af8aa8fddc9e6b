//! One partition's messages, in batches.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::slice;
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaMessage, RDKafkaRespErr};
use rdkafka_sys as sys;

use super::envelope::MessageEnvelope;
use super::group::GroupContext;

/// The queue of one assigned partition.
///
/// rdkafka's own partition queue hands out one message a call and an event object for each, which
/// costs more than decoding a record does; this one asks librdkafka for a batch
/// (`rd_kafka_consume_batch_queue`).
pub struct PartitionQueue {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// The next offset, as far as `SplitReader` has been used.
    pub(super) next: i64,
    native: *mut sys::rd_kafka_queue_t,
    messages: Vec<*mut RDKafkaMessage>,
    wake: Option<Box<Wake>>,
    // The queue must not outlive the client that it belongs to.
    pub(super) consumer: Arc<BaseConsumer<GroupContext>>,
}

type Wake = Box<dyn Fn() + Send + Sync>;

// SAFETY: librdkafka's queues may be used from any thread; `messages` is empty between calls.
unsafe impl Send for PartitionQueue {}

/// One message, borrowed from librdkafka's fetch buffer for the time of a callback.
pub(super) struct Message<'a> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// The value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// Timestamp and headers, which cost nothing unless they are asked for.
    pub envelope: MessageEnvelope<'a>,
}

/// What a [`PartitionQueue::messages`] came to.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Messages shown.
    pub messages: usize,
    /// The end of the partition was reached: the offset that its next record will have.
    pub end: Option<i64>,
    /// Something else than a message came out.
    pub error: Option<FetchError>,
}

/// An error that came out of the partition's queue in place of a message.
#[derive(Debug, Clone)]
pub struct FetchError {
    /// librdkafka's code, as a bounded label: `OffsetOutOfRange`, `UnknownTopicOrPartition` ...
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub reason: String,
}

impl PartitionQueue {
    /// Takes the partition's queue out of the group's main queue.
    ///
    /// To be called *before* the partition is assigned: librdkafka then never forwards it, and no
    /// message can slip into the main queue in between.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<GroupContext>>,
        topic: &str,
        partition: i32,
        next: i64,
        batch: usize,
    ) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the client is alive (held by `consumer`) and the name is a C string.
        let native = unsafe {
            sys::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                name.as_ptr(),
                partition,
            )
        };
        if native.is_null() {
            return None;
        }
        // SAFETY: `native` was just returned by librdkafka; null means "do not forward".
        unsafe { sys::rd_kafka_queue_forward(native, ptr::null_mut()) };
        Some(Self {
            topic: topic.into(),
            partition,
            next,
            native,
            messages: Vec::with_capacity(batch),
            wake: None,
            consumer: consumer.clone(),
        })
    }

    /// Calls `wake` from one of librdkafka's threads when the empty queue gets a message.
    ///
    /// The callback must be quick and must not call into the queue.
    pub(super) fn on_nonempty(&mut self, wake: impl Fn() + Send + Sync + 'static) {
        unsafe extern "C" fn call(_: *mut RDKafka, opaque: *mut c_void) {
            // SAFETY: `opaque` is the `Wake` that `self.wake` keeps alive until the callback is
            // taken off (`drop`, or the next call of `on_nonempty`).
            let wake = unsafe { &*(opaque as *const Wake) };
            wake();
        }
        let wake: Box<Wake> = Box::new(Box::new(wake));
        // SAFETY: the pointer stays valid while the callback is enabled, see above.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(
                self.native,
                Some(call),
                &*wake as *const Wake as *mut c_void,
            );
        }
        self.wake = Some(wake);
    }

    /// Takes up to `limit` messages that are already here, without waiting, and shows each to
    /// `visit`.
    ///
    /// `visit` sees messages in offset order. Every message taken is shown, so what `visit` has
    /// seen is what has been consumed.
    pub(super) fn messages(&mut self, limit: usize, mut visit: impl FnMut(Message<'_>)) -> Shown {
        let limit = limit.min(self.messages.capacity());
        // SAFETY: the vector has room for `limit` pointers; librdkafka writes at most that many
        // and returns how many, or -1.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.native, 0, self.messages.as_mut_ptr(), limit)
        };
        let Ok(count) = usize::try_from(count) else { return Shown::default() };
        // SAFETY: `count` pointers were initialised by the call above.
        unsafe { self.messages.set_len(count) };
        let batch = TakenMessages(&mut self.messages);
        let mut taken = Shown::default();
        for &message in batch.0.iter() {
            // SAFETY: each pointer is a message that we own until `TakenMessages` is dropped.
            let message = unsafe { &*message };
            match message.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    taken.end = Some(message.offset);
                    continue;
                }
                _ => {
                    taken.error.get_or_insert_with(|| fetch_error(message));
                    continue;
                }
            }
            taken.messages += 1;
            visit(Message {
                offset: message.offset,
                payload: bytes(message.payload, message.len),
                key: bytes(message.key, message.key_len),
                envelope: MessageEnvelope::new(message),
            });
        }
        taken
    }

    /// The first and the next offset of the partition as last heard from its leader, without
    /// asking again. `None` before the first fetch.
    pub(super) fn known_end(&self) -> Option<i64> {
        let name = CString::new(&*self.topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive; the two out-parameters are valid for the call.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                name.as_ptr(),
                self.partition,
                &mut low,
                &mut high,
            )
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the callback is taken off before what it points to goes, and the queue handle
        // is given back once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.native, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.native);
        }
    }
}

/// Gives messages back to librdkafka even if a visitor panics.
struct TakenMessages<'a>(&'a mut Vec<*mut RDKafkaMessage>);

impl Drop for TakenMessages<'_> {
    fn drop(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: taken from the queue by us and not given back before.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

fn bytes<'a>(start: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka's pointer and length describe the message's buffer, which lives until
    // the message is destroyed; callers do not let the slice outlive `take`.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start as *const u8, len) })
}

fn fetch_error(message: &RDKafkaMessage) -> FetchError {
    // SAFETY: the string is static or lives in the message.
    let text = unsafe { sys::rd_kafka_message_errstr(message) };
    let reason = if text.is_null() {
        String::new()
    } else {
        // SAFETY: a C string of librdkafka, see above.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    FetchError { code: message.err.into(), reason }
}
