//! Errors in `[sources.NAME]` of sockets, rates and Delta tables, and in metadata.

use super::rejects;

#[test]
fn a_socket() {
    rejects(
        r##"
[sources.a]
type = "socket"
host = "localhost:9999"
[sources.b]
type = "socket"
host = "tcp://localhost"
port = 70000
initial_backoff = "1m"
max_backoff = "1s"
max_line = "1k"
format = { type = "csv", header = true }
"##,
        r##"
error: missing key `port` in [sources.a]
  --> case.toml:1:10
   |
 1 | [sources.a]
   |          ^
   = key: sources.a.port
   = expected: port = 9999

error: invalid value "localhost:9999"
  --> case.toml:3:8
   |
 3 | host = "localhost:9999"
   |        ^^^^^^^^^^^^^^^^
   = key: sources.a.host
   = expected: a name or an address, such as "localhost"
   = help: the port is a key of its own: `port`

error: missing key `schema` in [sources.b]
  --> case.toml:4:10
   |
 4 | [sources.b]
   |          ^
   = key: sources.b.schema
   = expected: schema = "timestamp TIMESTAMP NOT NULL, ip STRING"

error: invalid value "tcp://localhost"
  --> case.toml:6:8
   |
 6 | host = "tcp://localhost"
   |        ^^^^^^^^^^^^^^^^^
   = key: sources.b.host
   = expected: a name or an address, such as "localhost"

error: invalid value 70000
  --> case.toml:7:8
   |
 7 | port = 70000
   |        ^^^^^
   = key: sources.b.port
   = expected: a whole number from 1 to 65535

error: `max_backoff` is shorter than `initial_backoff`
  --> case.toml:9:15
   |
 9 | max_backoff = "1s"
   |               ^^^^
   = key: sources.b.max_backoff
   = expected: an `initial_backoff` of at most `max_backoff`

error: unknown key `max_line`
   --> case.toml:10:1
    |
 10 | max_line = "1k"
    | ^^^^^^^^
    = key: sources.b.max_line
    = expected: `type`, `host`, `port`, `initial_backoff`, `max_backoff`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
    = help: write `max_record = "…"`

error: each record is a row: there is no first line
   --> case.toml:11:35
    |
 11 | format = { type = "csv", header = true }
    |                                   ^^^^
    = key: sources.b.format.header
    = expected: `header` in a source of files, or none

8 errors in the configuration
"##,
    );
}

#[test]
fn a_rate() {
    rejects(
        r##"
[sources.a]
type = "rate"
schema = "timestamp TIMESTAMP"
rowsPerSecond = 10
rampUpTime = "1m"
rows_per_second = 0
ramp_up = "1500ms"
format = { type = "json" }
metadata = { topic = "t" }
"##,
        r##"
error: `schema` cannot be given: the columns are `timestamp TIMESTAMP, value BIGINT`
  --> case.toml:3:1
   |
 3 | schema = "timestamp TIMESTAMP"
   | ^^^^^^
   = key: sources.a.schema
   = expected: no `schema` in a source of type `rate`

error: unknown key `rowsPerSecond`
  --> case.toml:4:1
   |
 4 | rowsPerSecond = 10
   | ^^^^^^^^^^^^^
   = key: sources.a.rowsPerSecond
   = expected: `type`, `rows_per_second`, `ramp_up`, `schema`, `metadata`, `watermark` or `batch`
   = help: did you mean `rows_per_second`?

error: unknown key `rampUpTime`
  --> case.toml:5:1
   |
 5 | rampUpTime = "1m"
   | ^^^^^^^^^^
   = key: sources.a.rampUpTime
   = expected: `type`, `rows_per_second`, `ramp_up`, `schema`, `metadata`, `watermark` or `batch`
   = help: write `ramp_up = "…"`

error: invalid value 0
  --> case.toml:6:19
   |
 6 | rows_per_second = 0
   |                   ^
   = key: sources.a.rows_per_second
   = expected: a whole number from 1 to 1000000000

error: the rate goes up once a second
  --> case.toml:7:11
   |
 7 | ramp_up = "1500ms"
   |           ^^^^^^^^
   = key: sources.a.ramp_up
   = expected: a duration of whole seconds

error: unknown key `format`
  --> case.toml:8:1
   |
 8 | format = { type = "json" }
   | ^^^^^^
   = key: sources.a.format
   = expected: `type`, `rows_per_second`, `ramp_up`, `schema`, `metadata`, `watermark` or `batch`
   = help: `format` is a key of type `kafka`, `files` or `socket`

error: records of this source have no `topic`
  --> case.toml:9:14
   |
 9 | metadata = { topic = "t" }
   |              ^^^^^
   = key: sources.a.metadata.topic
   = expected: no metadata: the source has columns only

7 errors in the configuration
"##,
    );
}

#[test]
fn a_delta_table_as_a_source() {
    rejects(
        r##"
[sources.a]
type = "delta"
[sources.b]
type = "delta"
path = "abfss://x"
start = "earliest"
change_feed = true
ignore_changes = true
[sources.c]
type = "delta"
path = "c"
start = { version = -1 }
ignore_changes = true
skip_change_commits = true
[sources.d]
type = "delta"
path = "d"
start = { version = 1, timestamp = "2026-01-01" }
[sources.e]
type = "delta"
path = "e"
start = { timestamp = "yesterday" }
[sources.f]
type = "delta"
path = "f"
start = { timestamp = 1700000000 }
startingVersion = 3
"##,
        r##"
error: missing key `path` in [sources.a]
  --> case.toml:1:10
   |
 1 | [sources.a]
   |          ^
   = key: sources.a.path
   = expected: path = "./data/bronze"

error: invalid value "abfss://x"
  --> case.toml:5:8
   |
 5 | path = "abfss://x"
   |        ^^^^^^^^^^^
   = key: sources.b.path
   = expected: a directory, relative to the working directory or absolute, or the address of a table in an object store, such as s3://bucket/tables/bronze
   = help: it names a container and no path in it, where the table would be

error: invalid value "earliest"
  --> case.toml:6:9
   |
 6 | start = "earliest"
   |         ^^^^^^^^^^
   = key: sources.b.start
   = expected: `snapshot`, `latest`, { version = 12 } or { timestamp = "2026-11-21T10:00:00Z" }
   = help: write { version = 0 }, or "snapshot"

error: `ignore_changes` has no effect: the change feed has a row for each change
  --> case.toml:8:1
   |
 8 | ignore_changes = true
   | ^^^^^^^^^^^^^^
   = key: sources.b.ignore_changes
   = expected: no such key beside `change_feed = true`

error: invalid value -1
   --> case.toml:12:21
    |
 12 | start = { version = -1 }
    |                     ^^
    = key: sources.c.start.version
    = expected: a whole number from 0 to 9223372036854775807

error: `skip_change_commits` contradicts `ignore_changes`, which reads those commits
   --> case.toml:14:1
    |
 14 | skip_change_commits = true
    | ^^^^^^^^^^^^^^^^^^^
    = key: sources.c.skip_change_commits
    = expected: one of them

error: both `version` and `timestamp` are given
   --> case.toml:18:24
    |
 18 | start = { version = 1, timestamp = "2026-01-01" }
    |                        ^^^^^^^^^
    = key: sources.d.start.timestamp
    = expected: one of them

error: invalid value "yesterday"
   --> case.toml:22:23
    |
 22 | start = { timestamp = "yesterday" }
    |                       ^^^^^^^^^^^
    = key: sources.e.start.timestamp
    = expected: a time, such as "2026-11-21T10:00:00Z" or "2026-11-21 10:00:00" (UTC)

error: invalid value 1700000000
   --> case.toml:26:23
    |
 26 | start = { timestamp = 1700000000 }
    |                       ^^^^^^^^^^
    = key: sources.f.start.timestamp
    = expected: a time, such as "2026-11-21T10:00:00Z" or "2026-11-21 10:00:00" (UTC)
    = help: write it out: a number may be seconds or milliseconds

error: unknown key `startingVersion`
   --> case.toml:27:1
    |
 27 | startingVersion = 3
    | ^^^^^^^^^^^^^^^
    = key: sources.f.startingVersion
    = expected: `type`, `path`, `storage`, `start`, `change_feed`, `ignore_deletes`, `ignore_changes`, `skip_change_commits`, `max_files_per_trigger`, `poll_interval`, `schema`, `metadata`, `watermark` or `batch`
    = help: write `start = { version = … }`

10 errors in the configuration
"##,
    );
}

#[test]
fn metadata() {
    rejects(
        r##"
[sources.logs.metadata]
topic = "topic"
Partition = "p"
ofset = "o"
file = "f"
key = "TOPIC"
headers = ""
timestamp = 3
[sources.a]
type = "files"
path = "a"
schema = "a INT"
format = { type = "parquet" }
metadata = { file = "file", line = "line" }
"##,
        r##"
error: unknown key `Partition`
  --> case.toml:3:1
   |
 3 | Partition = "p"
   | ^^^^^^^^^
   = key: sources.logs.metadata.Partition
   = expected: `topic`, `partition`, `offset`, `timestamp`, `timestamp_type`, `key` or `headers`
   = help: did you mean `partition`?

error: unknown key `ofset`
  --> case.toml:4:1
   |
 4 | ofset = "o"
   | ^^^^^
   = key: sources.logs.metadata.ofset
   = expected: `topic`, `partition`, `offset`, `timestamp`, `timestamp_type`, `key` or `headers`
   = help: did you mean `offset`?

error: records of this source have no `file`
  --> case.toml:5:1
   |
 5 | file = "f"
   | ^^^^
   = key: sources.logs.metadata.file
   = expected: `topic`, `partition`, `offset`, `timestamp`, `timestamp_type`, `key` or `headers`

error: "TOPIC" is named twice
  --> case.toml:6:7
   |
 6 | key = "TOPIC"
   |       ^^^^^^^
   = key: sources.logs.metadata.key
   = expected: a column for each

error: invalid value ""
  --> case.toml:7:11
   |
 7 | headers = ""
   |           ^^
   = key: sources.logs.metadata.headers
   = expected: the name of a column to be

error: invalid value 3
  --> case.toml:8:13
   |
 8 | timestamp = 3
   |             ^
   = key: sources.logs.metadata.timestamp
   = expected: the name of a column to be

error: records of this source have no `line`
   --> case.toml:14:29
    |
 14 | metadata = { file = "file", line = "line" }
    |                             ^^^^
    = key: sources.a.metadata.line
    = expected: `file` or `modified`

7 errors in the configuration
"##,
    );
}
