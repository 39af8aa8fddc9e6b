//! An HTTP proxy in front of an object store that does what stores do on a bad day.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Takes requests one by one and passes them on. Stops when dropped.
pub struct Faults {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: SocketAddr,
    /// Every so many requests are answered `503 SlowDown` or `500 InternalError` without reaching
    /// the store; 0: none, 1: all.
    refuse: AtomicU32,
    /// Every so many requests reach the store and are never answered; 0: none.
    lose: AtomicU32,
    /// Conditions of puts are taken out.
    careless: AtomicBool,
    requests: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    closing: AtomicBool,
}

impl Faults {
    /// In front of `upstream`, without any fault yet.
    pub fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            upstream,
            refuse: AtomicU32::new(0),
            lose: AtomicU32::new(0),
            careless: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closing.load(Ordering::SeqCst) {
                    break;
                }
                let state = accepting.clone();
                // A client that goes away ends its own connection only.
                std::thread::spawn(move || state.serve(client));
            }
        });
        Self { address, state }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers every so many requests with an error; 0: none, 1: all.
    pub fn refuse_every(&self, requests: u32) {
        self.state.refuse.store(requests, Ordering::SeqCst);
    }

    /// Passes every so many requests on and hangs up instead of answering; 0: none.
    pub fn lose_every(&self, requests: u32) {
        self.state.lose.store(requests, Ordering::SeqCst);
    }

    /// Takes the conditions out of puts, as a store does that does not know them.
    pub fn ignore_conditions(&self) {
        self.state.careless.store(true, Ordering::SeqCst);
    }

    /// Requests so far: all, those answered with an error, those not answered.
    pub fn counts(&self) -> (u64, u64, u64) {
        let State { requests, refused, lost, .. } = &*self.state;
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        (count(requests), count(refused), count(lost))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.state.closing.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, client: TcpStream) {
        let _ = client.set_nodelay(true);
        let Ok(reading) = client.try_clone() else { return };
        let (mut reader, mut writer) = (BufReader::new(reading), client);
        while let Ok(Some((head, body))) = take(&mut reader) {
            let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            let due = |every: &AtomicU32| {
                let every = u64::from(every.load(Ordering::SeqCst));
                every > 0 && number.is_multiple_of(every)
            };
            if due(&self.refuse) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let (status, code) = if number.is_multiple_of(2) {
                    ("503 Slow Down", "SlowDown")
                } else {
                    ("500 Internal Server Error", "InternalError")
                };
                let body = format!("<Error><Code>{code}</Code><Message>Not now.</Message></Error>");
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                // HEAD has no body, and a client would take it for the next answer.
                let answer = if head.starts_with("HEAD") {
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
                } else {
                    answer
                };
                if writer.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
            let Ok(answer) = self.pass_on(&head, &body) else { return };
            if due(&self.lose) {
                self.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            // The store says where its answer ends by closing; here the connection ends with it.
            let _ = writer.write_all(&answer);
            return;
        }
    }

    /// The store's whole answer. The connection is its own, so that the end is known.
    fn pass_on(&self, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut store = TcpStream::connect(self.upstream)?;
        let careless = self.careless.load(Ordering::SeqCst);
        let kept = head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            let condition = careless && line.starts_with("if-none-match:");
            // Google's token, which is empty here.
            let token = line.starts_with("authorization: bearer");
            let ours = line.starts_with("connection:") || line.starts_with("expect:");
            !(condition || token || ours)
        });
        let mut request: String = kept
            .map(|line| match line.to_ascii_lowercase().as_str() {
                // Google's name for the condition that S3's protocol has as well.
                "x-goog-if-generation-match: 0" => "If-None-Match: *\r\n".to_owned(),
                _ => format!("{line}\r\n"),
            })
            .collect();
        // The server wants to know whose request it is, and does not look at signatures.
        if !request.to_ascii_lowercase().contains("\r\nauthorization:") {
            request.push_str(
                "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/\
                 aws4_request, SignedHeaders=host, Signature=0\r\n",
            );
        }
        request.push_str("Connection: close\r\n\r\n");
        store.write_all(request.as_bytes())?;
        store.write_all(body)?;
        let mut answer = Vec::new();
        store.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// One request: its head without the empty line, and its body. `None` at the end.
fn take(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}
