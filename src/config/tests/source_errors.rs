//! Errors in what `[sources.NAME]` says about any source.

use super::rejects;

#[test]
fn names_of_sources() {
    rejects(
        r##"
[sources.web-logs]
type = "kafka"
brokers = "localhost:9092"
topics = ["other"]
schema = "a INT"
"##,
        r##"
error: `web-logs` cannot be the name of a source
  --> case.toml:1:10
   |
 1 | [sources.web-logs]
   |          ^^^^^^^^
   = key: sources.web-logs
   = expected: letters, digits and `_`, not beginning with a digit, at most 128
   = help: `web_logs` would do

1 error in the configuration
"##,
    );
}

#[test]
fn a_source_without_anything() {
    rejects(
        r##"
[sources.other]
"##,
        r##"
error: missing key `type` in [sources.other]
  --> case.toml:1:10
   |
 1 | [sources.other]
   |          ^^^^^
   = key: sources.other.type
   = expected: type = "kafka", "files", "socket", "rate" or "delta"

1 error in the configuration
"##,
    );
}

#[test]
fn kinds_of_sources() {
    rejects(
        r##"
[sources.logs]
type = "kafak"

[sources.other]
type = "files"
brokers = "b:1"
topics = "t"
schema = "a INT"
"##,
        r##"
error: invalid value "kafak"
  --> case.toml:2:8
   |
 2 | type = "kafak"
   |        ^^^^^^^
   = key: sources.logs.type
   = expected: `kafka`, `files`, `socket`, `rate` or `delta`
   = help: did you mean `kafka`?

error: missing key `path` in [sources.other]
  --> case.toml:4:10
   |
 4 | [sources.other]
   |          ^^^^^
   = key: sources.other.path
   = expected: path = "./events"

error: unknown key `brokers`
  --> case.toml:6:1
   |
 6 | brokers = "b:1"
   | ^^^^^^^
   = key: sources.other.brokers
   = expected: `type`, `path`, `recursive`, `compression`, `max_files_per_trigger`, `order`, `settle`, `poll_interval`, `max_file_age`, `after`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
   = help: `brokers` is a key of type `kafka`

error: unknown key `topics`
  --> case.toml:7:1
   |
 7 | topics = "t"
   | ^^^^^^
   = key: sources.other.topics
   = expected: `type`, `path`, `recursive`, `compression`, `max_files_per_trigger`, `order`, `settle`, `poll_interval`, `max_file_age`, `after`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
   = help: `topics` is a key of type `kafka`

4 errors in the configuration
"##,
    );
}

#[test]
fn the_format() {
    rejects(
        r##"
[sources.logs.format]
timestamps = "epoch_milis"
timezone = "Europe/Roma"
unknown_fields = "drop"

[sources.logs.format.columns]
timestamp = "millis"
"##,
        r##"
error: invalid value "epoch_milis"
  --> case.toml:2:14
   |
 2 | timestamps = "epoch_milis"
   |              ^^^^^^^^^^^^^
   = key: sources.logs.format.timestamps
   = expected: `auto`, `epoch_seconds`, `epoch_millis` or `epoch_micros`
   = help: did you mean `epoch_millis`?

error: invalid value "Europe/Roma"
  --> case.toml:3:12
   |
 3 | timezone = "Europe/Roma"
   |            ^^^^^^^^^^^^^
   = key: sources.logs.format.timezone
   = expected: a time zone of the IANA database, such as "UTC" or "Europe/Rome"
   = help: did you mean `Europe/Rome`?

error: invalid value "drop"
  --> case.toml:4:18
   |
 4 | unknown_fields = "drop"
   |                  ^^^^^^
   = key: sources.logs.format.unknown_fields
   = expected: `ignore` or `reject`

error: invalid value "millis"
  --> case.toml:7:13
   |
 7 | timestamp = "millis"
   |             ^^^^^^^^
   = key: sources.logs.format.columns.timestamp
   = expected: `auto`, `epoch_seconds`, `epoch_millis` or `epoch_micros`

4 errors in the configuration
"##,
    );
}

#[test]
fn the_watermark() {
    rejects(
        r##"
[sources.logs.watermark]
delay = "2 minuets"
idle_timeout = "nevr"
wallclock = true
"##,
        r##"
error: invalid value "2 minuets"
  --> case.toml:2:9
   |
 2 | delay = "2 minuets"
   |         ^^^^^^^^^^^
   = key: sources.logs.watermark.delay
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
   = help: did you mean `minutes`?

error: invalid value "nevr"
  --> case.toml:3:16
   |
 3 | idle_timeout = "nevr"
   |                ^^^^^^
   = key: sources.logs.watermark.idle_timeout
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m", or "never"
   = help: did you mean `never`?

error: unknown key `wallclock`
  --> case.toml:4:1
   |
 4 | wallclock = true
   | ^^^^^^^^^
   = key: sources.logs.watermark.wallclock
   = expected: `column`, `delay`, `idle_timeout` or `wall_clock`
   = help: did you mean `wall_clock`?

3 errors in the configuration
"##,
    );
}

#[test]
fn a_watermark_without_its_column() {
    rejects(
        r##"
[sources.other]
type = "kafka"
brokers = "b:1"
topics = "t"
schema = "a INT"
[sources.other.watermark]
colum = "a"
"##,
        r##"
error: missing key `column` in [sources.other.watermark]
  --> case.toml:6:16
   |
 6 | [sources.other.watermark]
   |                ^^^^^^^^^
   = key: sources.other.watermark.column
   = expected: column = "timestamp"
   = help: is `colum` meant for it?

error: missing key `delay` in [sources.other.watermark]
  --> case.toml:6:16
   |
 6 | [sources.other.watermark]
   |                ^^^^^^^^^
   = key: sources.other.watermark.delay
   = expected: delay = "2 minutes"

error: unknown key `colum`
  --> case.toml:7:1
   |
 7 | colum = "a"
   | ^^^^^
   = key: sources.other.watermark.colum
   = expected: `column`, `delay`, `idle_timeout` or `wall_clock`
   = help: did you mean `column`?

3 errors in the configuration
"##,
    );
}

#[test]
fn a_wall_clock_without_idleness() {
    rejects(
        r##"
[sources.logs.watermark]
idle_timeout = "never"
wall_clock = true
"##,
        r##"
error: `wall_clock` has no effect: no partition is ever idle
  --> case.toml:3:14
   |
 3 | wall_clock = true
   |              ^^^^
   = key: sources.logs.watermark.wall_clock
   = expected: an `idle_timeout` that is a duration, or no `wall_clock`

1 error in the configuration
"##,
    );
}

#[test]
fn batches() {
    rejects(
        r##"
[memory]
in_flight = "1MiB"

[sources.logs.batch]
max_rows = 0
max_bytes = "2MiB"
linger = "1m"
"##,
        r##"
error: invalid value 0
  --> case.toml:5:12
   |
 5 | max_rows = 0
   |            ^
   = key: sources.logs.batch.max_rows
   = expected: a whole number from 1 to 1048576

error: a batch of this size would never be let through
  --> case.toml:6:13
   |
 6 | max_bytes = "2MiB"
   |             ^^^^^^
   = key: sources.logs.batch.max_bytes
   = expected: at most `in_flight` of [memory]
   = help: lower it, or raise `in_flight` in [memory]

error: invalid value "1m"
  --> case.toml:7:10
   |
 7 | linger = "1m"
   |          ^^^^
   = key: sources.logs.batch.linger
   = expected: a duration from 0s to 10s

3 errors in the configuration
"##,
    );
}
