//! A TCP proxy between clients and the broker: cut, restore, slow down.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes moved at a time; small, so that a cut falls into the middle of responses.
const CHUNK: usize = 16 << 10;

/// A running proxy. Ends with the test process; connections are cut when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: SocketAddr,
    cut: AtomicBool,
    closing: AtomicBool,
    /// Bytes a second towards the clients, over all connections; 0: as fast as it goes.
    rate: AtomicU64,
    paced: Mutex<Instant>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port and connects to `upstream` for each client.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the proxy");
        let address = listener.local_addr().expect("the proxy's address");
        let state = Arc::new(State {
            upstream,
            cut: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            paced: Mutex::new(Instant::now()),
            connections: Mutex::new(Vec::new()),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.closing.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(client) = client {
                    accepting.connect(client);
                }
            }
        });
        Self { address, state }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection and refuses new ones. Returns how many were cut.
    pub fn cut(&self) -> usize {
        self.state.cut.store(true, Ordering::SeqCst);
        let mut connections = self.state.connections.lock().expect("no holder panics");
        let count = connections.len();
        for connection in connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        count
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Limits what clients are sent, in bytes a second; 0: no limit.
    pub fn limit(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.cut.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        {
            let mut connections = self.connections.lock().expect("no holder panics");
            connections.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
        }
        let ends = (client.try_clone(), server.try_clone());
        let (Ok(from_client), Ok(to_server)) = ends else { return };
        let state = self.clone();
        std::thread::spawn(move || state.pump(from_client, to_server, false));
        let state = self.clone();
        std::thread::spawn(move || state.pump(server, client, true));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, limited: bool) {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || self.cut.load(Ordering::SeqCst) {
                break;
            }
            if limited {
                self.pace(count);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn pace(&self, count: usize) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let pause = {
            let mut paced = self.paced.lock().expect("no holder panics");
            let now = Instant::now();
            *paced = (*paced).max(now) + Duration::from_secs_f64(count as f64 / rate as f64);
            paced.saturating_duration_since(now)
        };
        std::thread::sleep(pause);
    }
}
