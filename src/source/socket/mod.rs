//! Lines from a TCP peer, as from `nc -lk 9999`: for trying things out.
//!
//! The peer sends each line once, so what was received and is not in a checkpoint when the daemon
//! dies is lost: at most once. A connection that breaks is made again, with growing pauses.

mod connection;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memchr::memchr;

use self::connection::{Arrival, CHUNK, Connection};
use super::wake::Waker;
use super::{
    Damaged, Envelope, Record, RecordMeta, SourceError, SplitReader, Taken, TimestampType,
};

/// How much of a line that is too long goes into its dead letter.
const SAMPLE: usize = 1 << 10;

/// What a [`SocketSource`] is made of.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// The peer's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The pause before the first attempt to connect again; it doubles up to `max_pause`.
    pub first_pause: Duration,
    /// The longest pause between two attempts.
    pub max_pause: Duration,
    /// How long one attempt may take.
    pub connect_timeout: Duration,
    /// A longer line goes to the dead letters.
    pub max_line_bytes: usize,
    /// About how many bytes are received ahead of the reader. Beyond that the peer has to wait.
    pub buffer_bytes: usize,
    /// Whether lines of nothing but spaces are no records: for JSON, not for text.
    pub skip_blank: bool,
}

impl SocketOptions {
    /// The defaults, for a peer.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            first_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            max_line_bytes: 1 << 20,
            buffer_bytes: 4 << 20,
            skip_blank: false,
        }
    }
}

/// What the reader and the connection's thread share.
#[derive(Debug, Default)]
struct Shared {
    closing: AtomicBool,
    /// The input ends with the connection.
    bounded: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Shared {
    fn set_trouble(&self, trouble: Option<String>) {
        // Nothing panics while it holds the lock, and the text would be whole if something did.
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// See the module's documentation.
pub struct SocketSource {
    options: SocketOptions,
    shared: Arc<Shared>,
    waker: Waker,
    arrivals: Option<Receiver<Arrival>>,
    thread: Option<JoinHandle<()>>,
    /// What has been received and not been shown.
    current: Option<Lines>,
    next: i64,
    ended: bool,
}

/// Whole lines that arrived together.
struct Lines {
    bytes: Vec<u8>,
    at: usize,
    received_us: i64,
}

impl SocketSource {
    /// Prepares the source; it connects with the first [`SplitReader::take`].
    pub fn open(options: SocketOptions) -> Result<Self, SourceError> {
        let refuse = |option, problem: &str| {
            Err(SourceError::Option { option, problem: problem.to_owned() })
        };
        if options.host.trim().is_empty() {
            return refuse("host", "it is empty");
        }
        if options.port == 0 {
            return refuse("port", "0 is no port to connect to");
        }
        if options.max_line_bytes == 0 {
            return refuse("max_line_bytes", "0 would read no line");
        }
        if options.connect_timeout.is_zero() {
            return refuse("connect_timeout", "0 would never connect");
        }
        Ok(Self {
            options,
            shared: Arc::default(),
            waker: Waker::default(),
            arrivals: None,
            thread: None,
            current: None,
            next: 0,
            ended: false,
        })
    }

    fn start(&mut self) -> Result<(), SourceError> {
        if self.arrivals.is_some() {
            return Ok(());
        }
        let room = (self.options.buffer_bytes / CHUNK).max(2);
        let (send, receive) = mpsc::sync_channel(room);
        let connection =
            Connection::new(self.options.clone(), self.shared.clone(), self.waker.clone(), send);
        let thread =
            thread::Builder::new()
                .name("socket".into())
                .spawn(move || connection.run())
                .map_err(|error| SourceError::Thread(format!("no thread for a socket: {error}")))?;
        (self.arrivals, self.thread) = (Some(receive), Some(thread));
        Ok(())
    }

    /// Shows the lines at hand, up to the limit.
    fn show(&mut self, limit: usize, taken: &mut Taken, visit: &mut dyn FnMut(Record<'_>)) {
        let Some(lines) = &mut self.current else { return };
        while taken.messages < limit && taken.damaged.is_empty() {
            let rest = &lines.bytes[lines.at..];
            if rest.is_empty() {
                self.current = None;
                return;
            }
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            lines.at += (end + 1).min(rest.len());
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            if self.options.skip_blank && line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let offset = self.next;
            self.next += 1;
            if line.len() > self.options.max_line_bytes {
                taken.damaged.push(oversized(offset, line, self.options.max_line_bytes));
                continue;
            }
            taken.messages += 1;
            let envelope = Envelope::Known {
                timestamp_us: Some(lines.received_us),
                timestamp_type: TimestampType::LogAppendTime,
                headers: &[],
            };
            visit(Record {
                offset,
                payload: Some(line),
                key: None,
                meta: RecordMeta { envelope, ..RecordMeta::default() },
            });
        }
    }
}

fn oversized(offset: i64, line: &[u8], limit: usize) -> Damaged {
    Damaged {
        offset,
        reason: "oversized",
        error: format!("the line has more bytes than the source accepts, {limit}"),
        file: None,
        line: None,
        payload: line[..line.len().min(SAMPLE)].to_vec(),
    }
}

impl SplitReader for SocketSource {
    fn take(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Taken {
        let mut taken = Taken::default();
        if let Err(error) = self.start() {
            taken.error = Some(error);
            return taken;
        }
        // What is damaged ends a take: it has to stand behind the take's records.
        while taken.messages < limit && taken.damaged.is_empty() {
            self.show(limit, &mut taken, visit);
            if self.current.is_some() {
                break;
            }
            let Some(arrivals) = &self.arrivals else { break };
            match arrivals.try_recv() {
                Ok(Arrival::Lines { bytes, received_us }) => {
                    self.current = Some(Lines { bytes, at: 0, received_us });
                }
                Ok(Arrival::Oversized(sample)) => {
                    let limit = self.options.max_line_bytes;
                    taken.damaged.push(oversized(self.next, &sample, limit));
                    self.next += 1;
                }
                Ok(Arrival::Broken { error, rest }) => {
                    taken.damaged.push(Damaged {
                        offset: self.next,
                        reason: "connection_lost",
                        error: format!("the connection broke in the middle of a line: {error}"),
                        file: None,
                        line: None,
                        payload: rest[..rest.len().min(SAMPLE)].to_vec(),
                    });
                    self.next += 1;
                }
                Ok(Arrival::End) => self.ended = true,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if !self.ended {
                        let gone = "the thread that reads the socket is gone".to_owned();
                        taken.error = Some(SourceError::Thread(gone));
                    }
                    break;
                }
            }
        }
        if taken.damaged.is_empty() {
            taken.end = Some(self.next);
            taken.finished = self.ended && self.current.is_none();
        }
        taken
    }

    fn on_ready(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.waker.set(wake);
    }

    /// Goes on counting from there; what was received before is not to be had again.
    fn seek(&mut self, next: i64) -> Result<(), SourceError> {
        self.next = next.max(0);
        Ok(())
    }

    /// Unknown: the peer does not say what it has.
    fn backlog(&self) -> Option<u64> {
        None
    }

    fn barrier(&mut self, _epoch: u64) {}

    fn durable(&mut self, _next: i64) {}

    /// A bounded run reads one connection to its end; [`Taken::finished`] says when that is.
    fn bound(&mut self) -> Result<i64, SourceError> {
        self.shared.bounded.store(true, Ordering::Release);
        Ok(i64::MAX)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_replayable(&self) -> bool {
        false
    }
}

impl Drop for SocketSource {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        // With nobody to receive, a thread that waits for room ends; one that waits for the peer
        // looks at `closing` soon. Nobody need wait for that.
        self.arrivals = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

#[cfg(test)]
mod tests;
