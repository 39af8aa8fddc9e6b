//! Deterministic events: the n-th of a partition is the same in every run.
//!
//! An event's `seq` is its Kafka offset, so that what is in a table says what was read. Response
//! times are quarters of a millisecond: their sums are exact in any order, and averages can be
//! compared with `=`.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};

use super::random::hash;

/// 2026-01-01T22:40:00Z in microseconds: a run crosses two hours, and a long one the date.
pub const START: i64 = 1_767_307_200_000_000;

/// The declared columns.
pub const SCHEMA: &str = "timestamp TIMESTAMP NOT NULL, ip STRING NOT NULL, \
     endpoint STRING NOT NULL, status_code INT NOT NULL, response_time DOUBLE, bytes BIGINT, \
     user_agent STRING, request_id STRING NOT NULL, part INT NOT NULL, seq BIGINT NOT NULL";

/// The same as DuckDB reads them.
pub const COLUMNS: &[(&str, &str)] = &[
    ("timestamp", "TIMESTAMPTZ"),
    ("ip", "VARCHAR"),
    ("endpoint", "VARCHAR"),
    ("status_code", "INTEGER"),
    ("response_time", "DOUBLE"),
    ("bytes", "BIGINT"),
    ("user_agent", "VARCHAR"),
    ("request_id", "VARCHAR"),
    ("part", "INTEGER"),
    ("seq", "BIGINT"),
];

const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "curl/8.8.0",
];

/// How event time runs.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Microseconds from one event of a partition to the next.
    pub step: i64,
    /// Events come up to this much later than they happened, in microseconds. Less than the
    /// watermark's delay: nothing is late.
    pub disorder: i64,
    /// One record in so many is none of these events; 0: all are.
    pub malformed_every: u64,
}

impl Default for Shape {
    /// A hundred events a second in each partition, up to 10 s out of order.
    fn default() -> Self {
        Self { step: 10_000, disorder: 10_000_000, malformed_every: 0 }
    }
}

/// What a record's value is.
pub enum Value {
    /// An event, as JSON.
    Event(Vec<u8>),
    /// What must end up among the dead letters.
    Broken(Vec<u8>),
}

impl Shape {
    /// The record at offset `seq` of a partition.
    pub fn record(&self, partition: i32, seq: i64) -> Value {
        let event = self.event(partition, seq);
        // Not the first one, so that every partition begins with an event.
        if self.malformed_every > 0
            && seq > 0
            && mix(partition, seq + 1).is_multiple_of(self.malformed_every)
        {
            return Value::Broken(broken(event, mix(partition, seq) % 8));
        }
        Value::Event(event)
    }

    /// The event at offset `seq` of a partition.
    pub fn event(&self, partition: i32, seq: i64) -> Vec<u8> {
        let h = mix(partition, seq);
        let lag = if self.disorder > 0 { (h >> 3) as i64 & i64::MAX } else { 0 };
        let time = START + seq * self.step - lag % self.disorder.max(1);
        event_at(time, &format!("/api/v1/r{}", h % 40), partition, seq)
    }
}

/// An event of the given time and endpoint; all else follows from its place.
pub fn event_at(time: i64, endpoint: &str, partition: i32, seq: i64) -> Vec<u8> {
    let h = mix(partition, seq);
    let status = match h >> 7 & 63 {
        0..=2 => 500,
        3..=7 => 404,
        8..=9 => 301,
        _ => 200,
    };
    // A few clients send most of it.
    let client = (h >> 13 & 0xff).min(h >> 21 & 0xff);
    let mut text = Vec::with_capacity(320);
    write!(
        text,
        "{{\"timestamp\":\"{}\",\"ip\":\"10.1.{}.{}\",\"endpoint\":\"{endpoint}\",\
         \"status_code\":{status},\"response_time\":{},\"bytes\":{},\"user_agent\":\"{}\",\
         \"request_id\":\"{partition}-{seq}\",\"part\":{partition},\"seq\":{seq}}}",
        DateTime::<Utc>::from_timestamp_micros(time)
            .expect("a time of this century")
            .to_rfc3339_opts(SecondsFormat::Micros, true),
        client % 8,
        client,
        ((h >> 29) % 40_000) as f64 * 0.25,
        (h >> 45) % 50_000,
        AGENTS[(h % 3) as usize],
    )
    .expect("writing to memory");
    text
}

fn broken(mut event: Vec<u8>, kind: u64) -> Vec<u8> {
    match kind {
        0 => event.truncate(event.len() / 2),
        1 => event.insert(event.len() - 1, b','),
        2 => event = b"\xff\xfe\x00 not text at all".to_vec(),
        3 => event = b"{\"timestamp\":\"2026-01-01T22:41:00Z\"}".to_vec(),
        4 => event = swap(&event, "\"status_code\":", "\"status_code\":\"x\",\"was\":"),
        5 => event = swap(&event, "\"timestamp\":\"2026", "\"timestamp\":\"not a time, 2026"),
        6 => event = Vec::new(),
        // Two objects in one record are not one event.
        _ => event.extend(event.clone()),
    }
    event
}

fn swap(event: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8_lossy(event).replacen(from, to, 1).into_bytes()
}

fn mix(partition: i32, seq: i64) -> u64 {
    hash(hash(partition as u64) ^ seq as u64)
}
