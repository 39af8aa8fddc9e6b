use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Instant;

use super::*;
use crate::telemetry::exporter;
use crate::telemetry::progress::PipelineState;

mod access;
mod page;
mod statements;
mod tls;

/// The process's recorder: the server's thread counts there.
fn handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| exporter::install().expect("no other test installs one")).clone()
}

fn serve(pipelines: Vec<Arc<PipelineProgress>>) -> ServerHandle {
    let listen = "127.0.0.1:0".parse().expect("an address");
    start(ServerOptions::local(listen), ServerState::new(handle(), pipelines)).expect("it starts")
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

fn connect(server: &ServerHandle) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

/// Sends `request` as it is and reads until the server closes.
fn raw(server: &ServerHandle, request: &[u8]) -> Answer {
    let mut stream = connect(server);
    stream.write_all(request).expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it answers and closes");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn request(server: &ServerHandle, method: &str, path: &str) -> Answer {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    raw(server, request.as_bytes())
}

fn get(server: &ServerHandle, path: &str) -> Answer {
    request(server, "GET", path)
}

#[test]
fn every_route_answers() {
    let weblogs = PipelineProgress::new("weblogs");
    weblogs.source("logs").partition("web-logs-0").read(10, 2500);
    let odd = PipelineProgress::new("a <b> & c");
    let server = serve(vec![weblogs, odd]);

    let metrics = get(&server, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.contains("# TYPE millpond_build_info gauge\nmillpond_build_info{version"));
    assert!(metrics.body.contains("process_cpu_seconds_total "));
    let not_ready = "millpond_pipeline_ready{pipeline=\"weblogs\",check=\"running\"} 0\n";
    assert!(metrics.body.contains(not_ready), "{}", metrics.body);

    assert!(metrics.head.contains("vary: accept"), "{}", metrics.head);
    let scrape = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Accept: application/openmetrics-text;version=1.0.0\r\n\
        Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\r\n";
    let openmetrics = raw(&server, scrape.as_bytes());
    let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(openmetrics.head.contains(content_type), "{}", openmetrics.head);
    assert!(openmetrics.body.contains("# TYPE millpond_build info\n"), "{}", openmetrics.body);
    assert!(openmetrics.body.contains("# TYPE process_cpu_seconds counter\n"));
    assert!(openmetrics.body.ends_with("\n# EOF\n"), "{}", openmetrics.body);

    let health = get(&server, "/healthz");
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "alive");
    assert_eq!(health.json()["version"], env!("CARGO_PKG_VERSION"));

    let all = get(&server, "/api/v1/pipelines");
    assert_eq!(all.status, 200);
    assert_eq!(all.json()["pipelines"][0]["name"], "weblogs");
    assert_eq!(all.json()["pipelines"][0]["numInputRows"], 10);
    assert_eq!(all.json()["pipelines"][1]["name"], "a <b> & c");

    assert_eq!(get(&server, "/api/v1/pipelines/weblogs").json()["sources"][0]["name"], "logs");
    assert_eq!(get(&server, "/api/v1/pipelines/weblogs?x=1").status, 200);
    let odd = get(&server, "/api/v1/pipelines/a%20%3Cb%3E%20%26%20c");
    assert_eq!(odd.json()["name"], "a <b> & c");

    let index = get(&server, "/").json();
    assert!(
        index["paths"].as_array().is_some_and(|all| all.iter().any(|p| p["path"] == "/metrics"))
    );
    assert_eq!(index["pipelines"][1]["name"], "a <b> & c");

    let counted = get(&server, "/metrics").body;
    let series = "millpond_http_requests_total{route=\"/metrics\",status=\"200\"} ";
    assert!(counted.contains(series), "{counted}");
    server.stop();
}

#[test]
fn what_is_not_there_and_what_is_not_allowed_is_said_in_json() {
    let server = serve(vec![PipelineProgress::new("weblogs")]);
    let missing = get(&server, "/api/v1/pipelines/nope");
    assert_eq!(missing.status, 404);
    let message = missing.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(message, "no pipeline is named 'nope'; there are: weblogs");

    for path in ["/nope", "/metrics/", "/api/v1/pipelines/", "/%ff", "/api/../metrics"] {
        let answer = get(&server, path);
        assert_eq!(
            (answer.status, &answer.json()["error"]["status"]),
            (404, &404.into()),
            "{path}"
        );
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        for path in ["/", "/metrics", "/page/app.js", "/api/v1/pipelines/weblogs", "/nope"] {
            let answer = request(&server, method, path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
            assert!(answer.json()["error"]["message"].is_string());
        }
    }
    let head = request(&server, "HEAD", "/metrics");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(head.head.contains("content-length: "), "{}", head.head);
    assert!(head.head.contains("cache-control: no-store"), "{}", head.head);
    // A made-up path does not become a label.
    assert!(!get(&server, "/metrics").body.contains("nope"));
}

#[test]
fn readiness_follows_the_pipeline() {
    let weblogs = PipelineProgress::new("weblogs");
    let (source, sink) = (weblogs.source("logs"), weblogs.sink("gold"));
    let server = serve(vec![Arc::clone(&weblogs)]);

    let early = get(&server, "/readyz");
    assert_eq!(early.status, 503);
    let json = early.json();
    assert_eq!(json["ready"], false);
    let checks = &json["pipelines"][0]["checks"];
    assert_eq!(checks["running"]["reason"], "the pipeline is starting");
    assert_eq!(checks["checkpointing"]["reason"], "no epoch has become durable yet");
    assert_eq!(checks["sinks_reachable"]["ok"], false);

    weblogs.set_state(PipelineState::Running);
    source.assigned();
    sink.opened(Some(0));
    weblogs.epoch_durable(1, 10, 1, Duration::ZERO, Duration::ZERO);
    let ready = get(&server, "/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &true.into()));
    assert_eq!(ready.json()["pipelines"][0]["checks"]["assigned"], serde_json::json!({"ok": true}));

    sink.retrying("permission denied", 1, Duration::from_secs(1));
    let broken = get(&server, "/readyz");
    assert_eq!(broken.status, 503);
    assert!(broken.body.contains("permission denied"), "{}", broken.body);
    assert_eq!(get(&server, "/healthz").status, 200, "alive all the same");
    sink.recovered();
    weblogs.set_state(PipelineState::Restarting);
    assert_eq!(get(&server, "/readyz").status, 503);
    weblogs.set_state(PipelineState::Running);
    assert_eq!(get(&server, "/readyz").status, 200);
}

#[test]
fn a_daemon_without_pipelines_is_alive_and_not_ready() {
    let server = serve(Vec::new());
    assert_eq!(get(&server, "/readyz").status, 503);
    assert_eq!(get(&server, "/healthz").status, 200);
    let missing = get(&server, "/api/v1/pipelines/x").json();
    assert_eq!(missing["error"]["message"], "no pipeline is named 'x'; there are none");
}

#[test]
fn slow_and_malformed_requests_hold_nobody_up() {
    let server = serve(vec![PipelineProgress::new("weblogs")]);
    let started = Instant::now();
    // Heads that never end, and connections that never say a word.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
    for stream in &mut slow[..10] {
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            .expect("it reads");
    }
    assert_eq!(get(&server, "/healthz").status, 200);
    assert!(started.elapsed() < HEAD_TIMEOUT, "the slow ones did not delay it");

    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: x\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n",
    ] {
        let answer = raw(&server, garbage);
        assert_eq!(answer.status, 400, "{garbage:?}: {}", answer.head);
    }
    // A head without end is cut off by its size.
    let mut endless = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: ".to_vec();
    endless.resize(300_000, b'a');
    let mut stream = connect(&server);
    // It may close before all is written.
    let _ = stream.write_all(&endless);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(get(&server, "/healthz").status, 200);

    for stream in &mut slow {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let waited = started.elapsed();
    assert!(waited < HEAD_TIMEOUT * 3, "the slow ones were closed after {waited:?}");
}

#[test]
fn bodies_are_refused_unread() {
    let server = serve(Vec::new());
    let declared =
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n";
    let answer = raw(&server, declared);
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"]["message"].is_string());

    let started = Instant::now();
    let mut stream = connect(&server);
    stream
        .write_all(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .expect("it reads");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("it does not wait for the end");
    assert_eq!(&head, b"HTTP/1.1 413");
    // Chunks for as long as it takes them: it must hang up.
    let closed = loop {
        if stream.write_all(b"4\r\naaaa\r\n").is_err() {
            break true;
        }
        if started.elapsed() > Duration::from_secs(10) {
            break false;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(closed, "a body without end is not read for ever");
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let server = serve(Vec::new());
    let mut stream = connect(&server);
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).expect("it answers");
        assert!(bytes[..n].starts_with(b"HTTP/1.1 200"));
    }
    // An idle connection does not hold up the end.
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(SHUTDOWN_SECONDS + 2));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let first = serve(Vec::new());
    let listen = first.addr();
    let error = start(ServerOptions::local(listen), ServerState::new(handle(), Vec::new()))
        .expect_err("the port is taken");
    assert!(matches!(error, ServerError::PortTaken { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&listen.to_string()) && text.contains("server.listen"), "{text}");

    first.stop();
    let again = start(ServerOptions::local(listen), ServerState::new(handle(), Vec::new()))
        .expect("the port is free again at once");
    assert_eq!(again.addr(), listen);

    let elsewhere = "203.0.113.1:80".parse().expect("an address that is not ours");
    let options = ServerOptions { allow_remote: true, ..ServerOptions::local(elsewhere) };
    let error = start(options, ServerState::new(handle(), Vec::new())).expect_err("it is not ours");
    assert!(error.to_string().contains("server.listen"), "{error}");
}

#[test]
fn the_server_runs_beside_an_actix_system_and_ends_with_its_handle() {
    let addr = actix_web::rt::System::new().block_on(async {
        let server = serve(Vec::new());
        let addr = server.addr();
        // `get` blocks this thread; the server has its own.
        assert_eq!(get(&server, "/healthz").status, 200);
        drop(server);
        addr
    });
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}
