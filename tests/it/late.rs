//! Late events: inside of the watermark they still count, outside they are counted as late.

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::{START, Shape, event_at};
use crate::support::producer::Producer;
use crate::support::tables::{ask, assert_rows};
use crate::support::{Dir, secs};

const SECOND: i64 = 1_000_000;

#[test]
fn an_event_is_late_when_all_its_windows_are_closed() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 1);
    let input = dir.path().join("input");
    let mut producer = Producer::new(broker.address(), "events", 1, &input, Shape::default());
    let send = |producer: &mut Producer, seconds: &[i64]| {
        for second in seconds {
            let seq = producer.ends()[0];
            // Half a second in, so that no event lies on a window's edge.
            let time = START + second * SECOND + SECOND / 2;
            producer.event(0, &event_at(time, "/a", 0, seq));
        }
        producer.flush();
    };
    // The watermark's delay is 20 s. The pipeline reads one step after the other, so that each
    // meets a watermark that is known: newest event minus delay.
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let mut daemon = Daemon::run(&pipeline.write());
    let mut after = |producer: &Producer, watermark: &str| {
        daemon.wait(&format!("the watermark {watermark}"), secs(40), |daemon| {
            let shown = daemon.reported("/eventTime/watermark").map(|time| time.to_string());
            daemon.read() >= producer.produced() && shown.is_some_and(|t| t.contains(watermark))
        });
    };
    send(&mut producer, &[0, 5, 12, 31, 59, 75]);
    after(&producer, "T22:40:55.5");
    // Inside: the window of a minute, until 22:41:00, is open. Of the windows of ten seconds the
    // one of 57 is open, that of 31 is closed.
    send(&mut producer, &[57, 31]);
    send(&mut producer, &[121]);
    after(&producer, "T22:41:41.5");
    // Outside of every window: late in all queries.
    send(&mut producer, &[45, 99]);
    // Of the minute from 22:41, still open at 22:41:41.
    send(&mut producer, &[101]);
    send(&mut producer, &[300]);
    after(&producer, "T22:44:40.5");
    daemon.wait_epochs(2, secs(30));

    let late = |query: &str| daemon.metric("millpond_query_late_rows_total", &[("query", query)]);
    // 45; 31 and 45 and (closed at 22:41:40) 99; 45 unless its status is filtered out.
    assert_eq!(late("endpoint_minutes"), Some(1.0));
    assert_eq!(late("traffic_seconds"), Some(3.0));
    assert_eq!(late("client_minutes"), Some(1.0));
    let report = daemon.report().expect("the API answers");
    let by_query = |name: &str| {
        let queries = report["queries"].as_array().expect("queries");
        let query = queries.iter().find(|q| q["name"] == name).expect("the query is shown");
        query["numLateRows"].as_u64()
    };
    assert_eq!(by_query("endpoint_minutes"), Some(1));
    assert_eq!(by_query("traffic_seconds"), Some(3));
    assert_eq!(by_query("bronze"), Some(0));
    let code = daemon.terminate().0;
    assert_eq!(code, 0);
    producer.finish();
    Daemon::available_now(&pipeline.write()).finish(secs(60));

    let answers = ask(
        &pipeline.data,
        &["endpoint_minutes", "traffic_seconds"],
        &[
            (
                "minutes",
                &format!(
                    "SELECT (epoch_us(window_start) - {START}) // 1000000, sum(requests)::BIGINT FROM endpoint_minutes WHERE endpoint = '/a' GROUP BY ALL ORDER BY ALL"
                ),
            ),
            (
                "seconds",
                &format!(
                    "SELECT (epoch_us(window_start) - {START}) // 1000000, sum(requests)::BIGINT FROM traffic_seconds WHERE epoch_us(window_start) >= {START} GROUP BY ALL ORDER BY ALL"
                ),
            ),
        ],
    );
    println!("{answers:?}");
    // 0, 5, 12, 31, 59, 57, 31 in the first minute; 75, 99, 101 in the second.
    assert_eq!(answers["minutes"].to_string(), "[[0,7],[60,3],[120,1],[300,1]]");
    let seconds = answers["seconds"].to_string();
    assert_eq!(
        seconds, "[[0,2],[10,1],[30,1],[50,2],[70,1],[100,1],[120,1],[300,1]]",
        "windows of ten seconds"
    );
    // Late for a window is not late for the table of all events.
    assert_rows(&pipeline, &producer);
}
