//! The thread that connects, receives, and connects again.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use memchr::{memchr, memrchr};

use super::{SAMPLE, Shared, SocketOptions};
use crate::source::wake::Waker;

/// How much is received at once.
pub(super) const CHUNK: usize = 64 << 10;
/// How long a wait for the peer may take before it is asked whether anyone still waits for us.
const LOOK: Duration = Duration::from_millis(250);

/// What arrived, in order.
pub(super) enum Arrival {
    /// Whole lines; the last may lack its end if the peer closed after it.
    Lines {
        bytes: Vec<u8>,
        /// Microseconds since the Unix epoch.
        received_us: i64,
    },
    /// The beginning of a line that is longer than accepted; the rest of it was skipped.
    Oversized(Vec<u8>),
    /// The connection broke in the middle of a line.
    Broken { error: io::Error, rest: Vec<u8> },
    /// The peer closed, and the input is bounded by that.
    End,
}

/// Nobody is interested any more.
struct Closing;

pub(super) struct Connection {
    options: SocketOptions,
    shared: Arc<Shared>,
    waker: Waker,
    send: SyncSender<Arrival>,
}

impl Connection {
    pub fn new(
        options: SocketOptions,
        shared: Arc<Shared>,
        waker: Waker,
        send: SyncSender<Arrival>,
    ) -> Self {
        Self { options, shared, waker, send }
    }

    /// Returns when the source is dropped, or at the end of a bounded input.
    pub fn run(self) {
        let address = format!("{}:{}", self.options.host, self.options.port);
        let mut pause = self.options.first_pause;
        while !self.is_closing() {
            let reason = match self.connect() {
                Ok(stream) => {
                    self.shared.set_trouble(None);
                    tracing::info!(peer = address, "connected");
                    let (received, end) = match self.receive(stream) {
                        Ok(outcome) => outcome,
                        Err(Closing) => return,
                    };
                    if self.shared.bounded.load(Ordering::Acquire) {
                        let _ = self.deliver(Arrival::End);
                        return;
                    }
                    if received {
                        pause = self.options.first_pause;
                    }
                    end
                }
                Err(error) => error.to_string(),
            };
            let trouble = format!("{address}: {reason}; connecting again");
            tracing::warn!(
                peer = address,
                reason,
                pause_seconds = pause.as_secs_f64(),
                "no connection; trying again after a pause"
            );
            self.shared.set_trouble(Some(trouble));
            // Ended early by the source's drop.
            thread::park_timeout(pause);
            pause = (pause * 2).min(self.options.max_pause);
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.options.host.as_str(), self.options.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.options.connect_timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(LOOK))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Receives until the connection ends. Says whether anything came, and why it ended.
    fn receive(&self, mut stream: TcpStream) -> Result<(bool, String), Closing> {
        let mut buffer = vec![0; CHUNK];
        // What has come of a line whose end has not.
        let mut rest: Vec<u8> = Vec::new();
        let mut discarding = false;
        let mut received = false;
        loop {
            if self.is_closing() {
                return Err(Closing);
            }
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(error) => {
                    let reason = error.to_string();
                    if !rest.is_empty() {
                        self.deliver(Arrival::Broken { error, rest })?;
                    }
                    return Ok((received, reason));
                }
            };
            received = true;
            let mut bytes = &buffer[..count];
            if discarding {
                let Some(end) = memchr(b'\n', bytes) else { continue };
                bytes = &bytes[end + 1..];
                discarding = false;
            }
            match memrchr(b'\n', bytes) {
                Some(end) => {
                    let mut lines = std::mem::take(&mut rest);
                    lines.extend_from_slice(&bytes[..=end]);
                    rest.extend_from_slice(&bytes[end + 1..]);
                    self.lines(lines)?;
                }
                None => rest.extend_from_slice(bytes),
            }
            // One more for the carriage return of a line that is just short enough.
            if rest.len() > self.options.max_line_bytes.saturating_add(1) {
                rest.truncate(SAMPLE);
                self.deliver(Arrival::Oversized(std::mem::take(&mut rest)))?;
                discarding = true;
            }
        }
        if !rest.is_empty() {
            self.lines(rest)?;
        }
        Ok((received, "the peer closed the connection".to_owned()))
    }

    fn lines(&self, bytes: Vec<u8>) -> Result<(), Closing> {
        let received_us = chrono::Utc::now().timestamp_micros();
        self.deliver(Arrival::Lines { bytes, received_us })
    }

    /// Hands over; waits while there is no room, which makes the peer wait as well.
    fn deliver(&self, arrival: Arrival) -> Result<(), Closing> {
        self.send.send(arrival).map_err(|_| Closing)?;
        self.waker.wake();
        Ok(())
    }
}
