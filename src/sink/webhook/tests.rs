use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use serde_json::{Value, json};

use super::body::body;
use super::*;
use crate::anomaly::{AnomalyEvent, EventKind, Severity, anomaly_schema, to_batch};
use crate::sink::{StagedSink, TargetSpec};
use crate::sql::OutputMode;

fn event(number: u32, kind: EventKind, severity: Severity) -> AnomalyEvent {
    AnomalyEvent {
        id: format!("slow:20261121T200000Z:{number:016x}").into(),
        sequence: u32::from(kind != EventKind::Opened),
        event: kind,
        corrected: false,
        detector: "slow".into(),
        kind: "response_time",
        key: "/api/checkout".into(),
        window_start: 1_795_291_200_000_000,
        window_end: 1_795_291_260_000_000,
        value: 2.4,
        expected: 0.4,
        lower: 0.3,
        upper: 0.6,
        score: 0.9,
        severity,
        started_at: 1_795_291_200_000_000,
        ended_at: (kind == EventKind::Closed).then_some(1_795_291_260_000_000),
        windows: 1,
        peak_value: 2.4,
        peak_score: 0.9,
        reason: "p95 of /api/checkout 2.4 s, expected 0.3 to 0.6 s".into(),
    }
}

/// A request as a receiver sees it: the headers in lower case, and the body.
#[derive(Debug, Clone)]
struct Request {
    head: String,
    body: Value,
}

/// A server that answers each request with the next of `statuses`, the last for ever; 0 hangs up.
fn receiver(statuses: &'static [u16]) -> (String, mpsc::Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/very-secret", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    let answered = Arc::new(Mutex::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (sender, answered) = (sender.clone(), answered.clone());
            thread::spawn(move || serve(stream, statuses, &answered, &sender));
        }
    });
    (url, requests)
}

fn serve(
    stream: TcpStream,
    statuses: &[u16],
    answered: &Mutex<usize>,
    sender: &mpsc::Sender<Request>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line.to_lowercase());
        }
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let status = {
            let mut answered = answered.lock().unwrap();
            *answered += 1;
            statuses[(*answered - 1).min(statuses.len() - 1)]
        };
        if status == 0 {
            return;
        }
        // The test may have seen enough.
        let _ = sender.send(Request { head, body: serde_json::from_slice(&body).unwrap() });
        write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nno").unwrap();
    }
}

fn options(url: &str) -> WebhookOptions {
    WebhookOptions {
        name: "pager".into(),
        url: url.into(),
        headers: vec![("Authorization".into(), "Bearer hush".into())],
        format: WebhookFormat::Millpond,
        timeout: Duration::from_secs(5),
        queue: 100,
        ca: None,
    }
}

fn context(last_epoch: Option<u64>) -> TargetContext {
    TargetContext {
        pipeline: "web".into(),
        sink: "webhook-pager".into(),
        schema: anomaly_schema(),
        mode: OutputMode::Append,
        keys: Vec::new(),
        instance: "ledger".into(),
        last_epoch,
        adopt: false,
        state_dir: PathBuf::new(),
    }
}

async fn open(dir: &std::path::Path, options: &WebhookOptions, last: Option<u64>) -> StagedSink {
    StagedSink::open(dir, TargetSpec::Webhook(options.clone()), context(last)).await.unwrap()
}

async fn epoch(
    sink: &mut StagedSink,
    number: u64,
    events: &[AnomalyEvent],
) -> super::super::Staged {
    sink.write(&to_batch(events).unwrap()).await.unwrap();
    let staged = sink.prepare(number).await.unwrap();
    sink.commit(number).await.unwrap();
    staged
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_event_arrives_once_its_epoch_is_durable_and_after_failures() {
    let (url, requests) = receiver(&[0, 503, 200]);
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path(), &options(&url), None).await;
    sink.write(&to_batch(&[event(1, EventKind::Opened, Severity::Warning)]).unwrap())
        .await
        .unwrap();
    sink.prepare(7).await.unwrap();
    assert!(requests.recv_timeout(Duration::from_millis(200)).is_err(), "not durable yet");
    sink.commit(7).await.unwrap();
    let refused = requests.recv_timeout(LONG).unwrap();
    let taken = requests.recv_timeout(LONG).unwrap();
    assert_eq!(refused.body, taken.body, "the same again");
    assert_eq!(taken.body["id"], "web/slow:20261121T200000Z:0000000000000001/0");
    assert_eq!(taken.body["event"], "opened");
    let anomaly = &taken.body["anomaly"];
    assert_eq!(anomaly["startedAt"], "2026-11-21T20:00:00Z");
    assert_eq!((&anomaly["state"], &anomaly["endedAt"]), (&json!("open"), &Value::Null));
    assert_eq!(anomaly["reason"], "p95 of /api/checkout 2.4 s, expected 0.3 to 0.6 s");
    assert!(taken.head.contains("authorization: bearer hush"), "{}", taken.head);
    assert!(taken.head.contains("idempotency-key: web/slow:"), "{}", taken.head);
    assert!(taken.head.contains("content-type: application/json"), "{}", taken.head);
}

#[tokio::test]
async fn a_broken_receiver_holds_nothing_up_and_gets_all_of_it_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let mut sink = open(dir.path(), &options(&nobody), None).await;
    let started = Instant::now();
    let mut staged = None;
    for number in 1..=20 {
        let opened = event(number, EventKind::Opened, Severity::Info);
        staged = Some(epoch(&mut sink, number.into(), &[opened]).await);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(sink);
    let (url, requests) = receiver(&[200]);
    let mut sink = open(dir.path(), &options(&url), Some(20)).await;
    // The ledger does not know that the last epoch was committed: it is not sent twice.
    sink.recover(20, &staged.unwrap(), false).await.unwrap();
    let ids: Vec<String> = (0..20)
        .map(|_| requests.recv_timeout(LONG).unwrap().body["anomaly"]["id"].to_string())
        .collect();
    let expected: Vec<String> =
        (1..=20).map(|n| format!("\"slow:20261121T200000Z:{n:016x}\"")).collect();
    assert_eq!(ids, expected, "in order");
    drop(sink);
    assert!(requests.try_recv().is_err(), "each once");
    let left = std::fs::read_dir(testing_dir(dir.path())).unwrap().count();
    assert_eq!(left, 0, "nothing waits any more");
}

fn testing_dir(dir: &std::path::Path) -> PathBuf {
    crate::sink::staged::directory(dir, "webhook-pager").join("outbox")
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_a_refusal_is_final() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |n| event(n, EventKind::Opened, Severity::Info);
    let nobody = "http://127.0.0.1:9/";
    let full = WebhookOptions { queue: 3, ..options(nobody) };
    let mut sink = open(dir.path(), &full, None).await;
    epoch(&mut sink, 1, &[opened(1), opened(2)]).await;
    epoch(&mut sink, 2, &[opened(3), opened(4), opened(5)]).await;
    drop(sink);
    assert_eq!(
        std::fs::read_dir(testing_dir(dir.path())).unwrap().count(),
        1,
        "the first file is gone"
    );
    let (url, requests) = receiver(&[400, 302, 200]);
    let sink = open(dir.path(), &options(&url), Some(2)).await;
    let ids: Vec<Value> = (0..3)
        .map(|_| requests.recv_timeout(LONG).unwrap().body["anomaly"]["id"].clone())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0].as_str().unwrap().ends_with('3') && ids[2].as_str().unwrap().ends_with('5'));
    drop(sink);
    assert!(requests.try_recv().is_err(), "what is refused is not sent again");
}

#[tokio::test]
async fn damaged_files_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = testing_dir(dir.path());
    std::fs::create_dir_all(&outbox).unwrap();
    std::fs::write(outbox.join("00000000000000000001-x.json"), b"[{").unwrap();
    let (url, requests) = receiver(&[200]);
    let mut sink = open(dir.path(), &options(&url), None).await;
    epoch(&mut sink, 1, &[event(1, EventKind::Opened, Severity::Info)]).await;
    requests.recv_timeout(LONG).unwrap();
    drop(sink);
    let names: Vec<_> =
        std::fs::read_dir(&outbox).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["00000000000000000001-x.json.damaged"]);
}

#[test]
fn alertmanager_gets_alerts_that_fire_and_are_resolved() {
    let now = DateTime::from_timestamp_micros(1_795_291_300_000_000).unwrap();
    let of = |kind, severity| {
        let batch = to_batch(&[event(1, kind, severity)]).unwrap();
        let told = notifications("web", &batch).unwrap();
        body(&told[0], WebhookFormat::Alertmanager, now)
    };
    let opened = of(EventKind::Opened, Severity::Warning);
    assert_eq!(opened.as_array().unwrap().len(), 1);
    let alert = &opened[0];
    assert_eq!(alert["labels"]["alertname"], "MillpondAnomaly");
    assert_eq!(alert["labels"]["severity"], "warning");
    assert_eq!(alert["startsAt"], "2026-11-21T20:00:00Z");
    assert_eq!(alert["endsAt"], "2026-11-22T20:01:40.000Z");
    let worse = of(EventKind::Updated, Severity::Critical);
    let ends: Vec<_> = worse
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (a["labels"]["severity"].as_str().unwrap(), a["endsAt"].as_str().unwrap()))
        .collect();
    let (over, firing) = ("2026-11-21T20:01:40.000Z", "2026-11-22T20:01:40.000Z");
    assert_eq!(ends, [("info", over), ("warning", over), ("critical", firing)]);
    let closed = of(EventKind::Closed, Severity::Warning);
    assert_eq!((closed.as_array().unwrap().len(), &closed[1]["endsAt"]), (2, &json!(over)));
    assert_eq!(closed[1]["labels"], opened[0]["labels"], "the same alert");
}

#[test]
fn secrets_are_not_shown() {
    let options = options("https://hooks.example.com:8443/T000/B000/secret?token=hush");
    assert_eq!(options.address(), "https://hooks.example.com:8443/");
    let shown = format!("{options:?}");
    assert!(!shown.contains("hush") && !shown.contains("secret"), "{shown}");
    assert!(shown.contains("Authorization"), "{shown}");
}

#[tokio::test]
async fn an_https_receiver_without_its_authority_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        WebhookOptions { ca: Some("no certificate".into()), ..options("https://x.test/") };
    let opened = StagedSink::open(dir.path(), TargetSpec::Webhook(options), context(None)).await;
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("hold no certificate in PEM form"), "{error}");
}
