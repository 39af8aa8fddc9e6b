//! What a log promises, held against logs.

use std::collections::{HashMap, HashSet};

use chrono::DateTime;
use serde_json::Value;

use super::catalogue::{CLIENTS, ENDPOINTS};
use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// A log that is as orderly as it gets.
fn clean() -> GeneratorOptions {
    GeneratorOptions { disorder_us: 0, late: 0.0, malformed: 0.0, ..GeneratorOptions::default() }
}

fn scripted(text: &str) -> GeneratorOptions {
    let script = Script::parse(text).expect("the test's script is valid");
    GeneratorOptions { script, disorder_us: 5 * SECOND, ..clean() }
}

fn generator(options: GeneratorOptions) -> Generator {
    Generator::new(options).expect("the test's options are valid")
}

/// The first `n` records, asked for `chunk` at a time.
fn log(options: GeneratorOptions, n: usize, chunk: usize) -> Vec<u8> {
    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    while ends.len() < n {
        let wanted = chunk.min(n - ends.len());
        assert_eq!(generator.fill(&mut buffer, &mut ends, wanted), wanted);
    }
    buffer
}

struct Row {
    /// Microseconds after the start.
    at: i64,
    ip: String,
    endpoint: String,
    status: u64,
    response_time: f64,
}

/// All well-formed records that arrive within `span` microseconds, and the generator after them.
fn rows(options: GeneratorOptions, span: i64) -> (Vec<Row>, Generator) {
    let start = options.start;
    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    generator.fill_until(&mut buffer, &mut ends, start + span, usize::MAX);
    let rows = records(&buffer, &ends)
        .filter_map(|record| well_formed(record).ok())
        .map(|(at, value)| Row {
            at: at - start,
            ip: value["ip"].as_str().unwrap_or_default().to_owned(),
            endpoint: value["endpoint"].as_str().unwrap_or_default().to_owned(),
            status: value["status_code"].as_u64().unwrap_or_default(),
            response_time: value["response_time"].as_f64().unwrap_or_default(),
        })
        .collect();
    (rows, generator)
}

/// Holds a record against [`SCHEMA`]: its event time and its fields, or what is wrong.
fn well_formed(record: &[u8]) -> Result<(i64, Value), String> {
    let value: Value = serde_json::from_slice(record).map_err(|error| error.to_string())?;
    let fields = value.as_object().ok_or("not an object")?;
    let field = |name: &str| fields.get(name).ok_or(format!("no {name}"));
    let text = |name: &str| field(name)?.as_str().ok_or(format!("{name} is no text"));
    let at = DateTime::parse_from_rfc3339(text("timestamp")?).map_err(|error| error.to_string())?;
    for name in ["ip", "method", "endpoint", "user_agent", "request_id"] {
        text(name)?;
    }
    let status = field("status_code")?.as_u64().ok_or("status_code is no number")?;
    if !(100..600).contains(&status) {
        return Err(format!("status_code {status}"));
    }
    field("response_time")?.as_f64().ok_or("response_time is no number")?;
    field("bytes")?.as_u64().ok_or("bytes is no number")?;
    let referer = field("referer")?;
    if !referer.is_null() && !referer.is_string() {
        return Err("referer is no text".to_owned());
    }
    Ok((at.timestamp_micros(), value))
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let options = GeneratorOptions {
        seed: 42,
        script: Script::demo_over(25 * SECOND),
        diurnal: 1.0,
        late: 0.01,
        malformed: 0.01,
        ..GeneratorOptions::default()
    };
    let whole = log(options.clone(), 20_000, 20_000);
    for chunk in [1, 7, 4096] {
        assert!(log(options.clone(), 20_000, chunk) == whole, "in chunks of {chunk}");
    }
    // These two are a promise to whoever keeps a seed. They change with a new major version only.
    assert_eq!(whole.len(), 6_937_476);
    assert_eq!(crc32fast::hash(&whole), 1_658_160_030);

    assert!(log(GeneratorOptions { seed: 43, ..options }, 20_000, 20_000) != whole);
}

#[test]
fn time_taken_in_steps_gives_the_same_bytes() {
    let options = GeneratorOptions { script: Script::demo_over(MINUTE), ..Default::default() };
    let end = options.start + MINUTE;
    let mut at_once = (Vec::new(), Vec::new());
    generator(options.clone()).fill_until(&mut at_once.0, &mut at_once.1, end, usize::MAX);

    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    while generator.event_time_now() < end {
        let until = (generator.event_time_now() + 12_345).min(end);
        generator.fill_until(&mut buffer, &mut ends, until, usize::MAX);
        assert_eq!(generator.event_time_now(), until);
    }
    assert!(buffer == at_once.0 && ends == at_once.1);
    assert_eq!(generator.stats().records, ends.len() as u64);
}

#[test]
fn every_record_has_the_documented_fields_in_order() {
    let options = GeneratorOptions { malformed: 0.0, seed: 7, ..Default::default() };
    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    generator.fill(&mut buffer, &mut ends, 50_000);
    let names: Vec<&str> =
        SCHEMA.split(", ").filter_map(|column| column.split_whitespace().next()).collect();
    let mut ids = HashSet::new();
    let (mut ips, mut agents, mut endpoints) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut without_referer = 0;
    for record in records(&buffer, &ends) {
        let (_, value) = well_formed(record).expect("a clean log has no broken records");
        let fields = value.as_object().expect("well-formed records are objects");
        assert!(fields.keys().eq(&names), "{fields:?}");
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("timestamp").len(), 24);
        assert!(text("ip").parse::<std::net::Ipv4Addr>().is_ok());
        assert_eq!(client_of(record), Some(text("ip").as_bytes()));
        assert_eq!(text("request_id").len(), 16);
        assert!(ids.insert(text("request_id")), "a request's id occurs once");
        let written = std::str::from_utf8(record).expect("records are text");
        let number = written.split("\"response_time\":").nth(1).and_then(|s| s.split(',').next());
        assert_eq!(
            number.and_then(|s| s.split_once('.')).map(|(_, decimals)| decimals.len()),
            Some(1)
        );
        without_referer += usize::from(value["referer"].is_null());
        ips.insert(text("ip"));
        agents.insert(text("user_agent"));
        endpoints.insert(text("endpoint"));
    }
    assert_eq!(endpoints.len(), ENDPOINTS.len());
    assert_eq!(agents.len(), 20);
    assert!(ips.len() > CLIENTS / 4, "{}", ips.len());
    assert!((5_000..25_000).contains(&without_referer), "{without_referer}");
    let mean = buffer.len() / ends.len();
    assert!((250..450).contains(&mean), "{mean} bytes a record");
}

#[test]
fn endpoints_have_their_weights_latencies_and_statuses() {
    let (rows, _) = rows(clean(), 200 * SECOND);
    assert!((rows.len() as f64 / 200_000.0 - 1.0).abs() < 0.01, "{}", rows.len());
    let mut by_endpoint: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in &rows {
        by_endpoint.entry(&row.endpoint).or_default().push(row);
    }
    for endpoint in &ENDPOINTS {
        let these = &by_endpoint[endpoint.path];
        let share = these.len() as f64 / rows.len() as f64 * 1000.0 / f64::from(endpoint.weight);
        assert!((share - 1.0).abs() < 0.2, "{}: {share}", endpoint.path);
        let mut times: Vec<f64> = these
            .iter()
            .filter(|r| (200..300).contains(&r.status))
            .map(|r| r.response_time)
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2] / endpoint.latency.0;
        assert!((median - 1.0).abs() < 0.15, "{}: {median}", endpoint.path);
        let errors = these.iter().filter(|r| r.status >= 500).count() as f64 / these.len() as f64;
        assert!(errors < 0.03, "{}: {errors}", endpoint.path);
    }
}

#[test]
fn a_spike_multiplies_the_traffic_of_its_endpoint() {
    let (rows, generator) = rows(
        scripted(
            "[[anomaly]]\nkind='traffic_spike'\nat='60s'\nduration='30s'\nmagnitude=5\nendpoint='/products'",
        ),
        120 * SECOND,
    );
    let count = |endpoint: &str, from: i64, to: i64| {
        rows.iter()
            .filter(|r| r.endpoint == endpoint && (from * SECOND..to * SECOND).contains(&r.at))
            .count() as f64
            / (to - from) as f64
    };
    let usual = count("/products", 0, 55);
    assert!((count("/products", 60, 90) / usual - 5.0).abs() < 0.4);
    assert!((count("/products", 90, 115) / usual - 1.0).abs() < 0.15, "over at once");
    assert!((count("/", 60, 90) / count("/", 0, 55) - 1.0).abs() < 0.15, "others go on");
    let truth = generator.ground_truth();
    assert_eq!(truth.len(), 1);
    assert_eq!((truth[0].kind, truth[0].key.as_str()), (AnomalyKind::TrafficSpike, "/products"));
    assert_eq!(
        (truth[0].start, truth[0].end),
        (DEFAULT_START + MINUTE, DEFAULT_START + 90 * SECOND)
    );
}

#[test]
fn an_error_burst_and_a_slow_down_hit_their_endpoint_only() {
    let (rows, _) = rows(
        scripted(
            "[[anomaly]]\nkind='error_burst'\nat='60s'\nduration='60s'\nmagnitude=0.4\nendpoint='/api/v1/cart'\n\
             [[anomaly]]\nkind='slow_down'\nat='60s'\nduration='60s'\nmagnitude=6\nendpoint='/api/v1/search'",
        ),
        130 * SECOND,
    );
    let select = |endpoint: &str, during: bool| {
        let endpoint = endpoint.to_owned();
        rows.iter().filter(move |r| {
            r.endpoint == endpoint && (MINUTE..2 * MINUTE).contains(&r.at) == during
        })
    };
    let errors = |endpoint: &str, during| {
        select(endpoint, during).filter(|r| r.status >= 500).count() as f64
            / select(endpoint, during).count() as f64
    };
    assert!((errors("/api/v1/cart", true) - 0.4).abs() < 0.03);
    assert!(errors("/api/v1/cart", false) < 0.02);
    assert!(errors("/", true) < 0.02);
    let mean = |endpoint: &str, during| {
        select(endpoint, during).map(|r| r.response_time).sum::<f64>()
            / select(endpoint, during).count() as f64
    };
    let slower = mean("/api/v1/search", true) / mean("/api/v1/search", false);
    assert!((slower - 6.0).abs() < 0.6, "{slower}");
    assert!((mean("/api/v1/cart", true) / mean("/api/v1/cart", false) - 1.0).abs() < 0.25);
}

#[test]
fn an_abusive_client_makes_its_share() {
    let (rows, generator) = rows(
        scripted(
            "[[anomaly]]\nkind='abusive_ip'\nat='20s'\nduration='40s'\nmagnitude=0.2\nip='198.51.100.7'",
        ),
        80 * SECOND,
    );
    let during: Vec<&Row> = rows.iter().filter(|r| (20 * SECOND..MINUTE).contains(&r.at)).collect();
    let by = |row: &Row| row.ip == "198.51.100.7";
    let share = during.iter().filter(|r| by(r)).count() as f64 / during.len() as f64;
    assert!((share - 0.2).abs() < 0.015, "{share}");
    assert_eq!(rows.iter().filter(|r| by(r)).count(), during.iter().filter(|r| by(r)).count());
    assert_eq!(generator.ground_truth()[0].key, "198.51.100.7");
    let mut clients: HashMap<&str, usize> = HashMap::new();
    rows.iter().for_each(|r| *clients.entry(&r.ip).or_default() += 1);
    clients.remove("198.51.100.7");
    let busiest = clients.values().max().copied().unwrap_or_default() as f64 / rows.len() as f64;
    assert!(busiest < 0.02, "{busiest}");
}

#[test]
fn disorder_and_lateness_stay_within_their_bounds() {
    let options = GeneratorOptions { late: 0.01, malformed: 0.0, ..GeneratorOptions::default() };
    let disorder = options.disorder_us;
    let (rows, generator) = rows(options, 100 * SECOND);
    let (mut newest, mut backwards, mut late) = (i64::MIN, 0, 0);
    for row in &rows {
        newest = newest.max(row.at);
        let lag = newest - row.at;
        backwards += usize::from(lag > 0);
        if lag > disorder {
            late += 1;
            // Arrival itself is up to the disorder later than the newest timestamp.
            let bounds = (150 * SECOND - disorder)..=(600 * SECOND + 1000);
            assert!(bounds.contains(&lag), "{lag}");
        }
    }
    assert!(backwards > rows.len() / 2);
    assert_eq!(late, generator.stats().late);
    assert!((late as f64 / rows.len() as f64 - 0.01).abs() < 0.001, "{late}");
    let (ordered, _) = super::tests::rows(clean(), 10 * SECOND);
    assert!(ordered.is_sorted_by_key(|row| row.at));
}

#[test]
fn broken_records_are_broken_and_counted() {
    let options = GeneratorOptions { malformed: 0.05, ..GeneratorOptions::default() };
    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    generator.fill(&mut buffer, &mut ends, 100_000);
    let broken = records(&buffer, &ends).filter(|r| well_formed(r).is_err()).count() as u64;
    let stats = generator.stats();
    assert_eq!(broken, stats.malformed());
    assert!((4_700..5_300).contains(&broken), "{broken}");
    for (kind, count) in Malformation::ALL.iter().zip(stats.malformed_by_kind) {
        assert!((700..1_000).contains(&count), "{kind:?}: {count}");
    }
    assert_eq!(records(&buffer, &ends).count(), 100_000);
    assert_eq!(buffer.split(|b| *b == b'\n').count() - 1, 100_000, "a record is a line");
    assert!(!buffer.contains(&b'\r'));
}

#[test]
fn each_way_to_break_a_record_breaks_it() {
    use super::malformed::corrupt;
    let mut rng = super::rng::Rng::new(3, 3);
    let sound = log(clean(), 2_000, 2_000);
    for record in sound.split(|b| *b == b'\n').filter(|r| !r.is_empty()) {
        for how in Malformation::ALL {
            let mut buffer = b"before\n".to_vec();
            buffer.extend_from_slice(record);
            corrupt(&mut buffer, 7, how, &mut rng);
            assert!(buffer.starts_with(b"before\n"));
            let text = String::from_utf8_lossy(&buffer[7..]);
            assert!(well_formed(&buffer[7..]).is_err(), "{how:?}: {text}");
            let json = serde_json::from_slice::<Value>(&buffer[7..]);
            let object = json.as_ref().is_ok_and(Value::is_object);
            match how {
                Malformation::WrongType | Malformation::MissingField => assert!(object, "{text}"),
                Malformation::NotAnObject => assert!(json.is_ok() && !object, "{text}"),
                _ => assert!(json.is_err(), "{text}"),
            }
        }
    }
}

#[test]
fn faults_change_nothing_else() {
    let faulty = GeneratorOptions { late: 0.02, malformed: 0.02, ..GeneratorOptions::default() };
    let with = log(faulty.clone(), 5_000, 5_000);
    let without = log(GeneratorOptions { late: 0.0, malformed: 0.0, ..faulty }, 5_000, 5_000);
    let same = with.split(|b| *b == b'\n').zip(without.split(|b| *b == b'\n'));
    let different = same.filter(|(a, b)| a != b).count();
    assert!((100..300).contains(&different), "{different}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let base = GeneratorOptions::default;
    for (options, reason) in [
        (GeneratorOptions { rate: Rate::PerEventSecond(f64::NAN), ..base() }, "rate"),
        (GeneratorOptions { rate: Rate::PerWallSecond(0.0), ..base() }, "rate"),
        (GeneratorOptions { time_scale: 0.0, ..base() }, "time scale"),
        (GeneratorOptions { late: 1.5, ..base() }, "'late'"),
        (GeneratorOptions { malformed: f64::NAN, ..base() }, "'malformed'"),
        (GeneratorOptions { diurnal: -0.1, ..base() }, "'diurnal'"),
        (GeneratorOptions { disorder_us: -1, ..base() }, "disorder"),
        (GeneratorOptions { late_by_us: (2, 1), ..base() }, "late by"),
        (GeneratorOptions { start: i64::MAX, ..base() }, "start"),
    ] {
        let error = Generator::new(options).err().map(|error| error.to_string());
        assert!(error.as_deref().is_some_and(|e| e.contains(reason)), "{error:?} for {reason}");
    }
}

#[test]
fn a_log_ends_at_its_longest_span_and_not_before() {
    let options = GeneratorOptions { rate: Rate::PerEventSecond(1e-4), ..clean() };
    let mut generator = generator(options);
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    let written = generator.fill(&mut buffer, &mut ends, 1_000_000);
    assert!((85_000..88_000).contains(&written), "{written}");
    assert_eq!(generator.event_time_now(), DEFAULT_START + MAX_SPAN);
    assert_eq!(generator.fill(&mut buffer, &mut ends, 10), 0);
    // The other extreme: faster than the clock's microseconds.
    let options = GeneratorOptions { rate: Rate::PerEventSecond(1e9), ..clean() };
    let count = super::tests::rows(options, 100).0.len();
    assert!((98_000..102_000).contains(&count), "{count}");
}

#[test]
fn skipping_leaves_a_gap_and_goes_on() {
    let mut generator = generator(clean());
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    generator.fill_until(&mut buffer, &mut ends, DEFAULT_START + SECOND, usize::MAX);
    generator.skip_to(DEFAULT_START + MINUTE);
    generator.skip_to(DEFAULT_START);
    assert_eq!(generator.event_time_now(), DEFAULT_START + MINUTE);
    let before = ends.len();
    generator.fill_until(&mut buffer, &mut ends, DEFAULT_START + 61 * SECOND, usize::MAX);
    let after: Vec<&[u8]> = records(&buffer, &ends).skip(before).collect();
    assert!((800..1200).contains(&after.len()), "{}", after.len());
    for record in after {
        let (at, _) = well_formed(record).expect("a clean log has no broken records");
        assert!(at >= DEFAULT_START + MINUTE);
    }
}

proptest::proptest! {
    #[test]
    fn nothing_that_is_typed_or_read_panics(text in ".{0,60}", bytes: Vec<u8>, seed: u64) {
        let _ = (parse_duration(&text), parse_quantity(&text), Script::parse(&text));
        let _ = client_of(&bytes);
        let mut rng = super::rng::Rng::new(seed, 0);
        for how in Malformation::ALL {
            for record in [&bytes[..], b"{\"timestamp\":\"", b"{\"status_code\":1", b"{\"endpoint\":\"\""] {
                super::malformed::corrupt(&mut record.to_vec(), 0, how, &mut rng);
            }
        }
    }

    #[test]
    fn any_script_has_a_truth_within_the_log(
        at in 0i64..7_200, duration in 1i64..3_600, repeat in proptest::option::of(10_800i64..20_000),
        kind in 0usize..4, length in 1i64..50_000,
    ) {
        use AnomalyKind::{AbusiveIp, ErrorBurst, SlowDown, TrafficSpike};
        let (kind, magnitude) =
            [(TrafficSpike, 3.0), (ErrorBurst, 0.5), (SlowDown, 4.0), (AbusiveIp, 0.3)][kind];
        let anomaly = ScriptedAnomaly {
            kind,
            at_us: at * SECOND,
            duration_us: duration * SECOND,
            magnitude,
            endpoint: None,
            ip: None,
        };
        let script = Script::new(vec![anomaly], repeat.map(|r| r * SECOND));
        let script = script.expect("it is over before it repeats");
        let truth = script.ground_truth(DEFAULT_START, DEFAULT_START + length * SECOND);
        let begun = |k: i64| at + k * repeat.unwrap_or(i64::MAX / SECOND / 2) < length;
        let expected = (0..10_000).take_while(|k| begun(*k)).take(if repeat.is_some() { 10_000 } else { 1 });
        assert_eq!(truth.len(), expected.count());
        for anomaly in truth {
            assert!(anomaly.start >= DEFAULT_START && anomaly.end > anomaly.start);
            assert!(anomaly.end <= DEFAULT_START + length * SECOND);
            assert!(anomaly.end - anomaly.start <= duration * SECOND);
        }
        let options = GeneratorOptions { script, rate: Rate::PerEventSecond(0.2), ..clean() };
        let mut generator = generator(options);
        let (mut buffer, mut ends) = (Vec::new(), Vec::new());
        let until = DEFAULT_START + length * SECOND;
        generator.fill_until(&mut buffer, &mut ends, until, 1_000);
        assert!(generator.event_time_now() <= until);
    }
}
