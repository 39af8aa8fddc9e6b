use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

struct Peer {
    listener: TcpListener,
    options: SocketOptions,
}

impl Peer {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut options = SocketOptions::new("127.0.0.1", listener.local_addr().unwrap().port());
        options.first_pause = Duration::from_millis(1);
        options.max_pause = Duration::from_millis(5);
        Self { listener, options }
    }

    fn accept(&self) -> TcpStream {
        self.listener.accept().unwrap().0
    }
}

/// A source with what it has shown so far.
struct Reader {
    source: SocketSource,
    woken: Receiver<()>,
    lines: Vec<(i64, String)>,
    damaged: Vec<Damaged>,
    finished: bool,
}

impl Reader {
    fn new(options: &SocketOptions) -> Self {
        let mut source = SocketSource::open(options.clone()).unwrap();
        let (wake, woken) = mpsc::channel();
        source.on_ready(Box::new(move || {
            let _ = wake.send(());
        }));
        Self { source, woken, lines: Vec::new(), damaged: Vec::new(), finished: false }
    }

    fn take(&mut self, limit: usize) -> usize {
        let Self { source, lines, .. } = self;
        let taken = source.take(limit, &mut |record| {
            assert!(record.meta.timestamp_us().is_some());
            let line = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
            lines.push((record.offset, line));
        });
        assert!(taken.error.is_none(), "{:?}", taken.error);
        self.damaged.extend(taken.damaged);
        self.finished |= taken.finished;
        taken.messages
    }

    /// Takes, woken by the source, until `done`.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            while self.take(3) > 0 {}
            if done(self) {
                return;
            }
            self.woken.recv_timeout(PATIENCE).unwrap();
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|(_, line)| line.as_str()).collect()
    }
}

#[test]
fn lines_arrive_over_connections_that_break() {
    let peer = Peer::new();
    let mut reader = Reader::new(&peer.options);
    reader.source.seek(10).unwrap();
    reader.take(1);
    for round in 0..3 {
        let mut stream = peer.accept();
        stream.write_all(format!("{round}a\r\n\n{round}b").as_bytes()).unwrap();
        drop(stream);
        reader.until(|reader| reader.lines.len() == 3 * (round + 1));
    }
    assert_eq!(reader.texts(), ["0a", "", "0b", "1a", "", "1b", "2a", "", "2b"]);
    let offsets: Vec<i64> = reader.lines.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (10..19).collect::<Vec<_>>());
    assert!(!reader.finished && !reader.source.is_replayable());
}

#[test]
fn a_peer_that_is_not_there_yet_is_waited_for() {
    let peer = Peer::new();
    let Peer { listener, options } = peer;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut reader = Reader::new(&options);
    reader.take(1);
    let began = std::time::Instant::now();
    while reader.source.trouble().is_none() {
        assert!(began.elapsed() < PATIENCE);
        thread::yield_now();
    }
    let trouble = reader.source.trouble().unwrap();
    assert!(trouble.contains(&address.to_string()), "{trouble}");
    let listener = TcpListener::bind(address).unwrap();
    listener.accept().unwrap().0.write_all(b"here\n").unwrap();
    reader.until(|reader| !reader.lines.is_empty());
    assert_eq!(reader.texts(), ["here"]);
}

#[test]
fn a_bounded_run_ends_with_its_connection() {
    let peer = Peer::new();
    let mut options = peer.options.clone();
    options.skip_blank = true;
    let mut reader = Reader::new(&options);
    assert_eq!(reader.source.bound().unwrap(), i64::MAX);
    reader.take(1);
    let mut stream = peer.accept();
    let text: String = (0..10_000).map(|number| format!("{number}\n \n")).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            stream.write_all(text.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        });
        reader.until(|reader| reader.finished);
    });
    assert_eq!(reader.lines.len(), 10_000);
    assert_eq!(reader.lines[9_999], (9_999, "9999".to_owned()));
}

#[test]
fn a_line_that_is_too_long_is_one_dead_letter() {
    let peer = Peer::new();
    let mut options = peer.options.clone();
    options.max_line_bytes = 1000;
    let mut reader = Reader::new(&options);
    reader.take(1);
    let mut stream = peer.accept();
    let long = "x".repeat(300_000);
    let exact = "y".repeat(1000);
    let text = format!("a\n{long}\nb\n{}\n{exact}\r\nc\n", &long[..1001]);
    thread::scope(|scope| {
        scope.spawn(|| stream.write_all(text.as_bytes()).unwrap());
        reader.until(|reader| reader.lines.last().is_some_and(|(_, line)| line == "c"));
    });
    assert_eq!(reader.texts(), ["a", "b", &exact, "c"]);
    assert_eq!(reader.damaged.len(), 2);
    assert_eq!((reader.damaged[0].offset, reader.damaged[0].reason), (1, "oversized"));
    assert!(reader.damaged.iter().all(|damaged| damaged.payload.len() <= SAMPLE));
}

#[test]
fn a_reader_that_does_not_read_makes_the_peer_wait() {
    let peer = Peer::new();
    let mut options = peer.options.clone();
    options.buffer_bytes = CHUNK;
    let mut reader = Reader::new(&options);
    reader.take(1);
    let mut stream = peer.accept();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let block = "0123456789abcde\n".repeat(4096);
    let mut sent = 0;
    // The buffers of the two sockets are a few MiB; this would be a GiB.
    while sent < 1 << 30 {
        // A write may have taken part of a line.
        match stream.write(&block.as_bytes()[sent % 16..]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    assert!(sent < 1 << 28, "{sent} bytes were taken in");
    drop(stream);
    reader.until(|reader| reader.lines.len() == sent.div_ceil(16));
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |change: &dyn Fn(&mut SocketOptions)| {
        let mut options = SocketOptions::new("localhost", 9999);
        change(&mut options);
        SocketSource::open(options).err().map(|error| error.code())
    };
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|options| options.host.clear()), Some("option"));
    assert_eq!(refused(&|options| options.port = 0), Some("option"));
    assert_eq!(refused(&|options| options.max_line_bytes = 0), Some("option"));
    assert_eq!(refused(&|options| options.connect_timeout = Duration::ZERO), Some("option"));
}
