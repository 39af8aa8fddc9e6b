//! Statements over HTTP, run by something that does as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::Schema;
use futures::future::BoxFuture;

use super::*;
use crate::server::sql::Answer as Rows;

/// `wait` goes on for ever, `panic` panics, everything else gives no rows.
#[derive(Debug, Default)]
struct Obedient {
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Statements for Obedient {
    fn tables(&self) -> BoxFuture<'static, Vec<TableColumns>> {
        Box::pin(async { Vec::new() })
    }

    fn run(&self, sql: String, _: Limits) -> BoxFuture<'static, Result<Rows, StatementError>> {
        let running = Arc::clone(&self.running);
        Box::pin(async move {
            running.fetch_add(1, Ordering::SeqCst);
            let _running = Running(running);
            match sql.as_str() {
                "wait" => std::future::pending().await,
                "panic" => panic!("as I was told"),
                "wrong" => Err(StatementError::Refused("this is wrong".to_owned())),
                _ => Ok(Rows {
                    schema: Arc::new(Schema::empty()),
                    batches: Vec::new(),
                    truncated: false,
                    notices: vec![sql],
                }),
            }
        })
    }
}

fn serve_statements(timeout: Duration) -> (ServerHandle, Arc<AtomicUsize>) {
    let statements = Obedient::default();
    let running = Arc::clone(&statements.running);
    let mut options = ServerOptions::local("127.0.0.1:0".parse().expect("an address"));
    options.sql.timeout = timeout;
    let state = ServerState::new(handle(), Vec::new()).with_statements(Arc::new(statements));
    (start(options, state).expect("it starts"), running)
}

fn post(body: &str, headers: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn send(server: &ServerHandle, body: &str) -> Answer {
    raw(server, &post(body, JSON))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_statement_is_answered_or_it_is_said_why_not() {
    let (server, running) = serve_statements(Duration::from_secs(20));
    let good = send(&server, r#"{"sql": "SELECT 1"}"#);
    assert_eq!(good.status, 200);
    assert_eq!(good.json()["notices"][0], "SELECT 1");
    assert_eq!(send(&server, r#"{"sql": "wrong"}"#).status, 400);
    assert_eq!(send(&server, r#"{"sql": 1}"#).status, 400);
    assert_eq!(send(&server, r#"{"sql": "a", "x": 1}"#).status, 400);
    assert_eq!(send(&server, "").status, 400);
    let panicked = send(&server, r#"{"sql": "panic"}"#);
    assert_eq!(panicked.status, 500);
    assert_eq!(send(&server, r#"{"sql": "SELECT 1"}"#).status, 200, "the next one is answered");
    assert_eq!(get(&server, "/api/v1/tables").json()["limits"]["maxRows"], 1000);
    assert_eq!(running.load(Ordering::SeqCst), 0);

    let long = format!(r#"{{"sql": "{}"}}"#, "a".repeat(70_000));
    assert_eq!(send(&server, &long).status, 413);
    let chunked = format!(
        "POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(raw(&server, chunked.as_bytes()).status, 411);
    assert_eq!(get(&server, "/api/v1/sql").status, 405);
}

#[test]
fn a_form_or_a_script_of_another_site_is_refused() {
    let (server, _) = serve_statements(Duration::from_secs(20));
    let body = r#"{"sql": "SELECT 1"}"#;
    let status = |headers: &str| raw(&server, &post(body, headers)).status;
    assert_eq!(status("Content-Type: text/plain\r\n"), 415);
    assert_eq!(status(""), 415);
    assert_eq!(status(&format!("{JSON}Origin: http://evil.example\r\n")), 403);
    assert_eq!(status(&format!("{JSON}Origin: null\r\n")), 403);
    assert_eq!(status(&format!("{JSON}Sec-Fetch-Site: cross-site\r\n")), 403);
    assert_eq!(
        status(&format!("{JSON}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n")),
        200
    );
    // The question that a browser asks before another site's script may send JSON.
    let question = "OPTIONS /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\
                    Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    let answer = raw(&server, question.as_bytes());
    assert_eq!(answer.status, 405);
    assert!(!answer.head.contains("access-control-allow"), "{}", answer.head);
}

#[test]
fn so_many_at_a_time_and_those_that_nobody_waits_for_end() {
    let (server, running) = serve_statements(Duration::from_secs(600));
    let waiting: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(&post(r#"{"sql": "wait"}"#, JSON)).expect("it reads");
            stream
        })
        .collect();
    wait_until("both to run", || running.load(Ordering::SeqCst) == 2);
    let third = send(&server, r#"{"sql": "SELECT 1"}"#);
    assert_eq!(third.status, 429);
    assert!(third.head.contains("retry-after: 1"), "{}", third.head);
    assert!(third.body.contains("server.sql.max_concurrent"), "{}", third.body);
    assert_eq!(get(&server, "/healthz").status, 200, "everything else is answered");
    drop(waiting);
    wait_until("both to be cancelled", || running.load(Ordering::SeqCst) == 0);
    wait_until("room for another", || send(&server, r#"{"sql": "SELECT 1"}"#).status == 200);
}

#[test]
fn a_statement_that_takes_too_long_is_cancelled() {
    let (server, running) = serve_statements(Duration::from_millis(200));
    let late = send(&server, r#"{"sql": "wait"}"#);
    assert_eq!(late.status, 504);
    assert!(late.body.contains("server.sql.timeout"), "{}", late.body);
    wait_until("it to end", || running.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_server_without_statements_says_so() {
    let server = serve(Vec::new());
    let answer = send(&server, r#"{"sql": "SELECT 1"}"#);
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("server.sql.enabled"), "{}", answer.body);
    assert_eq!(get(&server, "/api/v1/tables").status, 404);
}
