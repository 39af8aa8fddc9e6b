use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: GenerateArgs,
}

const NOW: i64 = 1_800_000_000_000_000;

fn parse(line: &str) -> Result<GenerateArgs, clap::Error> {
    let words = std::iter::once("generate").chain(line.split_whitespace());
    Command::try_parse_from(words).map(|command| command.args)
}

fn planned(line: &str) -> Plan {
    let args = parse(line).expect("the line is well-formed");
    plan(&args, NOW).expect("the line makes sense")
}

#[test]
fn the_python_generator_s_commands_work() {
    let bounded = planned("--rate 10 --duration 300");
    assert_eq!(bounded.destination, Destination::Stdout);
    assert_eq!(bounded.options.rate_per_event_second(), 10.0);
    assert_eq!(bounded.options.diurnal, 0.0);
    assert_eq!(bounded.run.until, DEFAULT_START + 300_000_000);
    assert_eq!(bounded.run.wall_limit, Some(Duration::from_secs(301)));
    assert!(bounded.run.pacer.is_some());

    let endless = planned("--rate 5 --to kafka");
    assert_eq!(endless.run.until, i64::MAX);
    assert_eq!(endless.options.start, NOW, "kafka without a seed is live");
}

#[test]
fn a_seed_fixes_the_log_wherever_it_goes() {
    let options = planned("--seed 7 --count 10 --event-rate 50").options;
    for to in ["--to null", "--to file:/tmp/x", "--brokers b:1", "--topic t", "--to dir:/tmp/d"] {
        assert_eq!(planned(&format!("--seed 7 --count 10 --event-rate 50 {to}")).options, options);
    }
    assert_eq!(options.start, DEFAULT_START);
    // The pace does not change the bytes either: the same rate in event time.
    let paced = planned("--seed 7 --rate 500 --time-scale 10").options;
    assert_eq!(paced.rate_per_event_second(), options.rate_per_event_second());
}

#[test]
fn brokers_or_a_topic_mean_kafka() {
    assert_eq!(planned("--brokers b:1").destination, Destination::Kafka);
    assert_eq!(planned("--topic t").destination, Destination::Kafka);
    assert_eq!(planned("").destination, Destination::Stdout);
    let live = planned("--brokers b:1");
    assert_eq!(live.options.rate, Rate::PerWallSecond(10.0));
    assert_ne!(live.options.seed, 0);
    let load = planned("--brokers b:1 --count 5M");
    assert!(load.run.pacer.is_none());
    assert_eq!(
        (load.run.count, load.options.seed, load.options.start),
        (5_000_000, 0, DEFAULT_START)
    );
}

#[test]
fn time_scale_compresses_event_time() {
    let plan = planned("--rate 10k --time-scale 10 --duration 3m --to null");
    assert_eq!(plan.options.rate_per_event_second(), 1000.0);
    assert_eq!(plan.run.until, DEFAULT_START + 1_800_000_000);
    assert_eq!(plan.run.wall_limit, Some(Duration::from_secs(181)));
    let unpaced = planned("--duration 1h --to null");
    assert!(unpaced.run.pacer.is_none() && unpaced.run.wall_limit.is_none());
    assert_eq!(unpaced.run.until, DEFAULT_START + 3_600_000_000);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "--rate 0",
        "--rate x",
        "--count 1.5",
        "--duration 5x",
        "--to nowhere",
        "--to file:",
        "--key url",
        "--start yesterday",
        "--late-by 5s",
        "--partitions 0",
        "-X nothing",
        "--rate 1 --event-rate 1",
        "--realtime --start 2026-01-01T00:00:00Z",
        "--realtime --time-scale 2",
        "--clean --late 0.5",
    ] {
        assert_eq!(parse(line).err().map(|e| e.exit_code()), Some(2), "{line}");
    }
    for (line, reason) in [
        ("--to stdout --brokers b:1", "--to kafka only"),
        ("--to null --key ip", "--to kafka only"),
        ("--to file:x", "without an end"),
        ("--brokers b:1 --seed 1", "without an end"),
        ("--anomalies no-such-file.toml", "no-such-file.toml"),
    ] {
        let args = parse(line).expect("the line is well-formed");
        let error = plan(&args, NOW).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn properties_come_from_lines() {
    let text = "# a comment\n\nsecurity.protocol = SSL\nssl.key.password=a=b\n";
    let properties = properties_of(text).expect("the lines are properties");
    assert_eq!(properties[0], ("security.protocol".to_owned(), "SSL".to_owned()));
    assert_eq!(properties[1], ("ssl.key.password".to_owned(), "a=b".to_owned()));
    let error = properties_of("a=1\nhunter2").expect_err("not a property");
    assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_and_its_truth_are_written_and_repeat() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let write = |name: &str| {
        let line = format!(
            "--to file:{} --truth {} --seed 3 --duration 30m --event-rate 50 --anomalies demo -q",
            path(name),
            path("truth.json"),
        );
        generate(&parse(&line).expect("the line is well-formed")).expect("the log is written");
        std::fs::read(path(name)).expect("the file is there")
    };
    let log = write("a");
    assert!(log == write("b"), "the same seed gives the same bytes");
    let truth = std::fs::read_to_string(path("truth.json")).expect("the truth is there");
    let truth: serde_json::Value = serde_json::from_str(&truth).expect("the truth is JSON");
    assert_eq!(truth["records"], log.iter().filter(|byte| **byte == b'\n').count());
    assert_eq!(truth["anomalies"].as_array().map(Vec::len), Some(4));
    assert_eq!(truth["anomalies"][0]["kind"], "traffic_spike");
    assert_eq!(truth["anomalies"][0]["start"], "2026-01-01T00:12:00.000Z");
    assert_eq!(truth["anomalies"][0]["end"], "2026-01-01T00:14:00.000Z");
}
