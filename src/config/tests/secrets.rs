//! `${…}`, and that what is secret is never shown.

use super::super::{Environment, OptionValue};
use super::{BASE, assert_report, delta, kafka, merged, no_variables, over_base, variables};

#[test]
fn references_are_replaced() {
    let environment = variables(&[
        ("HOST", "kafka-1"),
        ("EMPTY", ""),
        ("TRICK", "\"\n[x]\n${HOST}"),
        ("N", "3"),
        ("file:/run/secrets/password", "hunter2\n"),
    ]);
    let settings = over_base(
        r#"
data_dir = "/srv/${HOST}"
shards = "${N}"
[sources.logs]
brokers = "${HOST}:${PORT:-9092},${EMPTY:-b}"
[sources.logs.options]
"client.id" = "a$b $${HOST} $$ ${TRICK}"
"sasl.password" = "${file:/run/secrets/password}"
[queries.bronze.sink]
path = "${data_dir}/bronze"
"#,
        &environment,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(settings.shards, 3);
    assert_eq!(kafka.brokers, "kafka-1:9092,b");
    assert_eq!(kafka.options["client.id"].expose(), "a$b ${HOST} $$ \"\n[x]\n${HOST}");
    assert_eq!(kafka.options["sasl.password"].expose(), "hunter2");
    assert_eq!(delta(&settings, 0).path, "/srv/kafka-1/bronze");
}

#[test]
fn references_that_lead_nowhere() {
    let environment = variables(&[("KAFKA_BROKERS", "b:9092"), ("A", "x")]);
    assert_report(
        over_base(
            r#"data_dir = "${data_dir}/x"
[sources.logs]
brokers = "${KAFKA_BROKER}"
topics = ["${a b}", "${A:-${B}}", "${}", "x-${A"]
[sources.logs.options]
"sasl.password" = "${file:/run/secrets/none}"
"sasl.username" = """
  ${file:}"""
"#,
            &environment,
        ),
        r##"
error: `data_dir` cannot refer to itself
  --> case.toml:1:13
   |
 1 | data_dir = "${data_dir}/x"
   |             ^^^^^^^^^^^
   = key: data_dir
   = expected: a path, or an environment variable that holds one

error: the environment variable `KAFKA_BROKER` is not set
  --> case.toml:3:12
   |
 3 | brokers = "${KAFKA_BROKER}"
   |            ^^^^^^^^^^^^^^^
   = key: sources.logs.brokers
   = expected: `KAFKA_BROKER` to be set, or a default: `${KAFKA_BROKER:-…}`
   = help: did you mean `KAFKA_BROKERS`?

error: `${a b}` is not a reference
  --> case.toml:4:12
   |
 4 | topics = ["${a b}", "${A:-${B}}", "${}", "x-${A"]
   |            ^^^^^^
   = key: sources.logs.topics
   = expected: `${NAME}`, `${NAME:-default}` or `${file:PATH}`
   = help: write `$${` for the characters themselves

error: a default cannot hold another `${`
  --> case.toml:4:22
   |
 4 | topics = ["${a b}", "${A:-${B}}", "${}", "x-${A"]
   |                      ^^^^^^^^^
   = key: sources.logs.topics
   = expected: `${NAME:-default}` with a plain text as the default

error: `${}` is not a reference
  --> case.toml:4:36
   |
 4 | topics = ["${a b}", "${A:-${B}}", "${}", "x-${A"]
   |                                    ^^^
   = key: sources.logs.topics
   = expected: `${NAME}`, `${NAME:-default}` or `${file:PATH}`
   = help: write `$${` for the characters themselves

error: `${` is never closed
  --> case.toml:4:45
   |
 4 | topics = ["${a b}", "${A:-${B}}", "${}", "x-${A"]
   |                                             ^^^
   = key: sources.logs.topics
   = expected: `${NAME}`, `${NAME:-default}` or `${file:PATH}`
   = help: write `$${` for the characters themselves

error: cannot read /run/secrets/none: no such file
  --> case.toml:6:20
   |
 6 | "sasl.password" = "${file:/run/secrets/none}"
   |                    ^^^^^^^^^^^^^^^^^^^^^^^^^
   = key: sources.logs.options."sasl.password"
   = expected: `${file:/run/secrets/none}` to name a readable text file

error: `${file:}` names no file
  --> case.toml:8:3
   |
 8 |   ${file:}"""
   |   ^^^^^^^^
   = key: sources.logs.options."sasl.username"
   = expected: a path, such as `${file:/run/secrets/kafka_password}`

8 errors in the configuration
"##,
    );
}

#[test]
fn values_from_the_environment_are_not_in_errors() {
    let environment = variables(&[("V", "hunter2"), ("file:/s", "hunter2")]);
    let errors = over_base(
        r#"name = "${V} X"
shards = "${V}"
stop_timeout = "${V}"
data_dir = "${file:/s}"
[memory]
in_flight = "${V}"
[server]
enabled = "${V}"
listen = "${V}"
[logging]
level = "${V}"
format = "${V}"
[sources.logs]
brokers = "${V}:x"
topics = ["${V} ", "${V}", "${V}", ["${V}"]]
start = "${V}"
[sources.logs.format]
timezone = "${V}"
[sources.logs.options]
"fetch.min.bytes" = "${V}"
"ssl.key.location" = "${V}"
[queries.bronze.sink]
path = "${V}://x"
compression = "${V}"
partition_by = ["${V}", "${V}"]
[detectors.spike]
kind = "x"
query = "${V}"
value = "x"
"#,
        &environment,
    )
    .expect_err("all of it is wrong");
    assert!(errors.len() >= 17, "{errors}");
    let shown = format!("{errors}\n{errors:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn secrets_that_stand_in_the_file_are_not_in_errors() {
    let case = r#"[sources.logs]
options = { "sasl.password" = "hunter2", "sasl.pasword" = "hunter2", "fetch.min.bytes" = 0 }
password = "hunter2"
[sources.logs.options]
"#;
    // The table is given twice here, so this is a syntax error: nothing of the tree is known.
    let errors = over_base(case, &no_variables()).expect_err("a table given twice");
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    let case = case.replace("[sources.logs.options]", "");
    assert_report(
        over_base(&case, &no_variables()),
        r##"
error: unknown option `sasl.pasword`
  --> case.toml:2:42
   |
 2 | options = { "sasl.password" = ***, "sasl.pasword" = ***, "fetch.min.bytes" = 0 }
   |                                    ^^^^^^^^^^^^^^
   = key: sources.logs.options."sasl.pasword"
   = expected: a name that librdkafka knows
   = help: did you mean `sasl.password`?

error: librdkafka refuses `fetch.min.bytes`: Configuration property "fetch.min.bytes" value 0 is outside allowed range 1..100000000
  --> case.toml:2:90
   |
 2 | options = { "sasl.password" = ***, "sasl.pasword" = ***, "fetch.min.bytes" = 0 }
   |                                                                              ^
   = key: sources.logs.options."fetch.min.bytes"
   = expected: a value as librdkafka's CONFIGURATION.md has it

error: unknown key `password`
  --> case.toml:3:1
   |
 3 | password = ***
   | ^^^^^^^^
   = key: sources.logs.password
   = expected: `type`, `brokers`, `topics`, `topic_pattern`, `group_id`, `start`, `options`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`

3 errors in the configuration
"##,
    );
}

#[test]
fn syntax_errors_do_not_show_secrets() {
    for case in [
        "[sources.logs.options]\n\"sasl.password\" = \"hunter2\nx = 1",
        "[sources.logs.options]\n\"sasl.password\" = hunter2",
        "[sources.logs.options]\n\"ssl.key.pem\" = \"\"\"\nhunter2\nhunter2 \\q\n\"\"\"",
        "[sources.logs.options]\n\"ssl.key.pem\" = \"\"\"\nhunter2",
        "[sources.logs.options]\nsasl.password = \"hunter2\"\nsasl.password = \"hunter2\"",
        "sources.logs.options = { \"sasl.password\" = 'hunter2' \"x\" }",
    ] {
        let errors = over_base(case, &no_variables()).expect_err("not TOML");
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
}

#[test]
fn overrides_do_not_show_secrets() {
    for (key, value) in [
        ("sources.logs.options.\"sasl.pasword\"", "hunter2"),
        ("sources.logs.options.sasl.password", "[\"hunter2\"]"),
        ("sources.logs.options.sasl.password", "[\"hunter2"),
        ("sources.logs.options.\"sasl.password", "hunter2"),
        ("sources.logs.password", "hunter2"),
    ] {
        let errors = merged(&[("base.toml", BASE)], &[(key, value)], &no_variables())
            .expect_err("each is wrong");
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
}

#[test]
fn secrets_print_as_stars() {
    let environment = variables(&[("V", "hunter2"), ("file:/s", "hunter2")]);
    let settings = over_base(
        r#"
[sources.logs.options]
"client.id" = "${V}"
"sasl.username" = "${file:/s}"
"sasl.password" = "hunter2"
"ssl.key.password" = "hunter2"
"ssl.keystore.password" = "hunter2"
"#,
        &environment,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(kafka.options.len(), 5);
    for value in kafka.options.values() {
        assert_eq!(value.expose(), "hunter2");
        assert_eq!(value.to_string(), "***");
        assert_eq!(format!("{value:?}"), "***");
    }
    let json = serde_json::to_string(&settings).expect("plain data");
    assert!(!json.contains("hunter2"), "{json}");
    let debug = format!("{settings:?} {settings:#?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert_eq!(format!("{:?}", OptionValue::Plain("x".to_owned())), "\"x\"");
}

#[test]
fn other_rooms_messages_do_not_show_what_was_interpolated() {
    let environment = variables(&[("TABLE", "hunter2")]);
    let settings = over_base("[queries.bronze]\nsql = \"SELECT x FROM ${TABLE}\"", &environment)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let error =
        settings.error_at_sql(&settings.queries[0], 1, 15, "there is no source `hunter2`", None);
    assert_eq!(
        error.to_string(),
        r##"error: there is no source `${TABLE}`
  --> case.toml:2:22
   |
 2 | sql = "SELECT x FROM ${TABLE}"
   |                      ^
   = key: queries.bronze.sql
"##
    );
}

#[test]
fn real_files_and_variables() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    std::fs::write(&path, "hunter2\r\n").expect("the directory is writable");
    let case = format!(
        "[sources.logs.options]\n\"sasl.password\" = \"${{file:{}}}\"\n\
         \"client.id\" = \"${{MILLPOND_TEST_THAT_IS_NOT_SET:-me}}\"",
        path.display()
    );
    let settings = over_base(&case, &Environment::Real).unwrap_or_else(|errors| panic!("{errors}"));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(kafka.options["sasl.password"].expose(), "hunter2");
    assert_eq!(kafka.options["client.id"].expose(), "me");

    std::fs::write(&path, b"\xff\xfe").expect("the directory is writable");
    let errors = over_base(&case, &Environment::Real).expect_err("not UTF-8");
    assert!(errors.to_string().contains("password is not UTF-8"), "{errors}");
    let case = "[sources.logs.options]\n\"ssl.certificate.location\" = \"/no/such/file\"";
    let errors = over_base(case, &Environment::Real).expect_err("no such file");
    assert!(errors.to_string().contains("`ssl.certificate.location` names"), "{errors}");
    over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"));
}
