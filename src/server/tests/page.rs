//! The page's files, and what it asks for.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use super::*;
use crate::telemetry::progress::{LetterNote, WindowColumns};

fn with(server: &ServerHandle, path: &str, header: &str) -> Answer {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nConnection: close\r\n\r\n");
    raw(server, head.as_bytes())
}

#[test]
fn a_browser_gets_the_page_and_a_program_the_list() {
    let server = serve(Vec::new());
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = with(&server, "/", browser);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    assert!(page.head.contains("vary: accept"), "{}", page.head);
    assert!(page.body.starts_with("<!doctype html>"));
    for other in ["Accept: */*", "Accept: application/json", "Accept: text/html;q=0, */*", "X: y"] {
        assert!(
            with(&server, "/", other).head.contains("content-type: application/json"),
            "{other}"
        );
    }
}

#[test]
fn all_files_that_the_page_names_are_there_and_it_names_nothing_else() {
    let server = serve(Vec::new());
    let mut seen = vec!["index.html".to_owned()];
    let mut next = 0;
    while next < seen.len() {
        let name = seen[next].clone();
        next += 1;
        let file = get(&server, &format!("/page/{name}"));
        assert_eq!(file.status, 200, "{name}");
        // Neither other hosts, nor what the policy forbids.
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=\"",
            "onclick=\"",
            "document.cookie",
        ] {
            assert!(!file.body.contains(never), "{name} has {never}");
        }
        for (at, _) in file.body.match_indices("http") {
            let rest = &file.body[at..];
            let harmless = !rest.starts_with("http://") && !rest.starts_with("https://");
            assert!(
                harmless || rest.starts_with("http://www.w3.org/2000/svg"),
                "{name}: {}",
                &rest[..40.min(rest.len())]
            );
        }
        let named = file.body.split(['"', '\'']).filter_map(|text| {
            text.strip_prefix("page/")
                .or_else(|| text.strip_prefix("./").filter(|_| name.ends_with(".js")))
        });
        for found in named {
            if !seen.iter().any(|known| known == found) {
                seen.push(found.to_owned());
            }
        }
        let tag = file.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
        let again = with(&server, &format!("/page/{name}"), &format!("If-None-Match: {tag}"));
        assert_eq!((again.status, &*again.body), (304, ""), "{name}");
    }
    assert!(seen.len() >= 14, "{seen:?}");
    assert_eq!(get(&server, "/page/nope.js").status, 404);
    assert_eq!(get(&server, "/page/..%2Fmod.rs").status, 404);
}

#[test]
fn windows_epochs_faults_and_letters_can_be_had() {
    let weblogs = PipelineProgress::new("weblogs");
    let query = weblogs.query("per_minute");
    let rows = RecordBatch::try_from_iter([
        (
            "window_start",
            Arc::new(TimestampMicrosecondArray::from(vec![0, 0]).with_timezone("UTC")) as ArrayRef,
        ),
        ("endpoint", Arc::new(StringArray::from(vec!["/a", "<script>"]))),
        ("requests", Arc::new(Int64Array::from(vec![5, 7]))),
    ])
    .expect("three columns");
    let groups = ["window_start".to_owned(), "endpoint".to_owned()];
    query.describe_windows(WindowColumns::of(&rows.schema(), Some(&groups)).expect("windows"));
    query.observe(&rows);
    weblogs.query("plain");
    weblogs.source("logs").rejected("syntax");
    weblogs.source("logs").letter(&LetterNote {
        split: "logs-0",
        offset: 7,
        reason: "syntax",
        error: "no JSON",
        payload: Some(b"<script>alert(1)</script>"),
        ..LetterNote::default()
    });
    weblogs.epoch_durable(3, 100, 2, Duration::ZERO, Duration::from_millis(4));
    weblogs.epoch_committed(3, Duration::from_millis(9));
    weblogs.epoch_failed("disk full");
    weblogs.fault("delta_committer[gold]", "disk full");
    weblogs.fault("reader", "a consequence");
    let server = serve(vec![weblogs]);
    let of = |what: &str| get(&server, &format!("/api/v1/pipelines/weblogs/{what}"));

    let windows = of("windows/per_minute").json();
    assert_eq!(windows["series"][0]["key"], "<script>");
    assert_eq!(windows["series"][1]["values"], serde_json::json!([5.0]));
    assert_eq!(windows["starts"][0], "1970-01-01T00:00:00.000Z");
    let wrong = of("windows/per_minute?column=bytes");
    assert_eq!(wrong.status, 404);
    assert!(wrong.body.contains("there are: requests"), "{}", wrong.body);
    assert!(of("windows/plain").body.contains("has no windows"));
    assert!(of("windows/nope").body.contains("per_minute"));
    assert_eq!(of("windows/per_minute?colum=x").status, 400);

    let epochs = of("checkpoints").json()["epochs"].clone();
    assert_eq!(epochs[0]["error"], "disk full");
    assert_eq!((&epochs[1]["number"], &epochs[1]["committed"]), (&3.into(), &true.into()));
    assert_eq!(epochs[1]["durationMs"]["commit"], 9);
    let restarts = of("restarts").json();
    assert_eq!(restarts["faults"].as_array().map(Vec::len), Some(1), "the first fault only");
    assert!(restarts["faults"][0]["runningAt"].is_null());
    let letters = of("dead-letters").json();
    assert_eq!(
        (&letters["total"], &letters["sources"][0]["reasons"]["syntax"]),
        (&1.into(), &1.into())
    );
    assert_eq!(letters["recent"][0]["payload"]["shown"], "<script>alert(1)</script>");
    for nowhere in ["graph", "checkpoints", "restarts", "dead-letters", "windows/x"] {
        let answer = get(&server, &format!("/api/v1/pipelines/nope/{nowhere}"));
        assert_eq!(answer.status, 404, "{nowhere}");
        assert!(answer.body.contains("there are: weblogs"), "{}", answer.body);
    }
}
