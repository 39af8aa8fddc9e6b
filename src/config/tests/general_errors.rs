//! Errors of syntax, of keys and of the tables that a pipeline has once.

use super::rejects;

#[test]
fn unknown_key_at_the_top() {
    rejects(
        r##"
shard = 4
"##,
        r##"
error: unknown key `shard`
  --> case.toml:1:1
   |
 1 | shard = 4
   | ^^^^^
   = key: shard
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `restart`, `stop_timeout`, `server`, `logging`, `sources`, `dead_letters`, `queries` or `detectors`
   = help: did you mean `shards`?

1 error in the configuration
"##,
    );
}

#[test]
fn unknown_table() {
    rejects(
        r##"
[chekpoint]
interval = "5s"
"##,
        r##"
error: unknown key `chekpoint`
  --> case.toml:1:2
   |
 1 | [chekpoint]
   |  ^^^^^^^^^
   = key: chekpoint
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `restart`, `stop_timeout`, `server`, `logging`, `sources`, `dead_letters`, `queries` or `detectors`
   = help: did you mean `checkpoint`?

1 error in the configuration
"##,
    );
}

#[test]
fn unknown_key_that_belongs_elsewhere() {
    rejects(
        r##"
[sources.logs]
max_rows = 10
"##,
        r##"
error: unknown key `max_rows`
  --> case.toml:2:1
   |
 2 | max_rows = 10
   | ^^^^^^^^
   = key: sources.logs.max_rows
   = expected: `type`, `brokers`, `topics`, `group_id`, `start`, `options`, `schema`, `format`, `watermark`, `batch` or `max_record`
   = help: `max_rows` belongs in [sources.logs.batch]

1 error in the configuration
"##,
    );
}

#[test]
fn top_level_key_inside_a_table() {
    rejects(
        r##"
[memory]
shards = 3
"##,
        r##"
error: unknown key `shards`
  --> case.toml:2:1
   |
 2 | shards = 3
   | ^^^^^^
   = key: memory.shards
   = expected: `in_flight`
   = help: `shards` belongs at the top of the file, before any [table]

1 error in the configuration
"##,
    );
}

#[test]
fn unknown_key_that_is_like_nothing() {
    rejects(
        r##"
frobnicate = true
"##,
        r##"
error: unknown key `frobnicate`
  --> case.toml:1:1
   |
 1 | frobnicate = true
   | ^^^^^^^^^^
   = key: frobnicate
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `restart`, `stop_timeout`, `server`, `logging`, `sources`, `dead_letters`, `queries` or `detectors`

1 error in the configuration
"##,
    );
}

#[test]
fn names_that_spark_users_write() {
    rejects(
        r##"
[sources.logs]
subscribe = "web-logs"
startingOffsets = "earliest"

[queries.bronze]
checkpointLocation = "/tmp/x"
"##,
        r##"
error: unknown key `subscribe`
  --> case.toml:2:1
   |
 2 | subscribe = "web-logs"
   | ^^^^^^^^^
   = key: sources.logs.subscribe
   = expected: `type`, `brokers`, `topics`, `group_id`, `start`, `options`, `schema`, `format`, `watermark`, `batch` or `max_record`
   = help: write `topics = ["…"]`

error: unknown key `startingOffsets`
  --> case.toml:3:1
   |
 3 | startingOffsets = "earliest"
   | ^^^^^^^^^^^^^^^
   = key: sources.logs.startingOffsets
   = expected: `type`, `brokers`, `topics`, `group_id`, `start`, `options`, `schema`, `format`, `watermark`, `batch` or `max_record`
   = help: write `start = "earliest"` or `start = "latest"`

error: unknown key `checkpointLocation`
  --> case.toml:6:1
   |
 6 | checkpointLocation = "/tmp/x"
   | ^^^^^^^^^^^^^^^^^^
   = key: queries.bronze.checkpointLocation
   = expected: `sql`, `mode`, `sink` or `sinks`
   = help: write `directory` in [checkpoint]: one for the whole pipeline

3 errors in the configuration
"##,
    );
}

#[test]
fn wrong_type() {
    rejects(
        r##"
shards = "four"
data_dir = 7
"##,
        r##"
error: invalid value "four"
  --> case.toml:1:10
   |
 1 | shards = "four"
   |          ^^^^^^
   = key: shards
   = expected: a whole number from 1 to 64

error: invalid value 7
  --> case.toml:2:12
   |
 2 | data_dir = 7
   |            ^
   = key: data_dir
   = expected: a directory

2 errors in the configuration
"##,
    );
}

#[test]
fn out_of_range() {
    rejects(
        r##"
shards = 65
"##,
        r##"
error: invalid value 65
  --> case.toml:1:10
   |
 1 | shards = 65
   |          ^^
   = key: shards
   = expected: a whole number from 1 to 64

1 error in the configuration
"##,
    );
}

#[test]
fn a_value_where_a_table_belongs() {
    rejects(
        r##"
memory = "64MiB"
"##,
        r##"
error: invalid value "64MiB"
  --> case.toml:1:10
   |
 1 | memory = "64MiB"
   |          ^^^^^^^
   = key: memory
   = expected: a table: [memory]

1 error in the configuration
"##,
    );
}

#[test]
fn a_table_where_a_value_belongs() {
    rejects(
        r##"
[stop_timeout]
seconds = 8
"##,
        r##"
error: a table is not valid here
  --> case.toml:1:1
   |
 1 | [stop_timeout]
   | ^^^^^^^^^^^^^^
   = key: stop_timeout
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"

1 error in the configuration
"##,
    );
}

#[test]
fn durations() {
    rejects(
        r##"
[checkpoint]
interval = 10
timeout = "10 minuts"
drain_timeout = "1.5m"
"##,
        r##"
error: invalid value 10
  --> case.toml:2:12
   |
 2 | interval = 10
   |            ^^
   = key: checkpoint.interval
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
   = help: add a unit: "10s" or "10ms"

error: invalid value "10 minuts"
  --> case.toml:3:11
   |
 3 | timeout = "10 minuts"
   |           ^^^^^^^^^^^
   = key: checkpoint.timeout
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
   = help: did you mean `minute`?

error: invalid value "1.5m"
  --> case.toml:4:17
   |
 4 | drain_timeout = "1.5m"
   |                 ^^^^^^
   = key: checkpoint.drain_timeout
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
   = help: write whole numbers in a smaller unit

3 errors in the configuration
"##,
    );
}

#[test]
fn durations_out_of_range() {
    rejects(
        r##"
[checkpoint]
interval = "1ms"
"##,
        r##"
error: invalid value "1ms"
  --> case.toml:2:12
   |
 2 | interval = "1ms"
   |            ^^^^^
   = key: checkpoint.interval
   = expected: a duration from 100ms to 1d

1 error in the configuration
"##,
    );
}

#[test]
fn sizes() {
    rejects(
        r##"
[memory]
in_flight = "64 megs"
"##,
        r##"
error: invalid value "64 megs"
  --> case.toml:2:13
   |
 2 | in_flight = "64 megs"
   |             ^^^^^^^^^
   = key: memory.in_flight
   = expected: a size, such as "64MiB", "1GB" or a number of bytes
   = help: `megs` is not a unit

1 error in the configuration
"##,
    );
}

#[test]
fn sizes_out_of_range() {
    rejects(
        r##"
[memory]
in_flight = 10
"##,
        r##"
error: invalid value 10
  --> case.toml:2:13
   |
 2 | in_flight = 10
   |             ^^
   = key: memory.in_flight
   = expected: a size from 64KiB to 1TiB

1 error in the configuration
"##,
    );
}

#[test]
fn choices() {
    rejects(
        r##"
[logging]
format = "jsn"
level = "inof"
"##,
        r##"
error: invalid value "jsn"
  --> case.toml:2:10
   |
 2 | format = "jsn"
   |          ^^^^^
   = key: logging.format
   = expected: `text` or `json`
   = help: did you mean `json`?

error: invalid value "inof"
  --> case.toml:3:9
   |
 3 | level = "inof"
   |         ^^^^^^
   = key: logging.level
   = expected: `off`, `error`, `warn`, `info`, `debug`, `trace`, or directives such as "info,millpond=debug"
   = help: did you mean `info`?

2 errors in the configuration
"##,
    );
}

#[test]
fn names_of_pipelines() {
    rejects(
        r##"
name = "Web Logs"
"##,
        r##"
error: invalid value "Web Logs"
  --> case.toml:1:8
   |
 1 | name = "Web Logs"
   |        ^^^^^^^^^^
   = key: name
   = expected: lower-case letters, digits, `_` and `-`, at most 64
   = help: `web-logs` would do

1 error in the configuration
"##,
    );
}

#[test]
fn empty_strings() {
    rejects(
        r##"
data_dir = ""
"##,
        r##"
error: this string is empty
  --> case.toml:1:12
   |
 1 | data_dir = ""
   |            ^^
   = key: data_dir
   = expected: a directory

1 error in the configuration
"##,
    );
}

#[test]
fn listen_is_not_an_address() {
    rejects(
        r##"
[server]
listen = "9898"
"##,
        r##"
error: invalid value "9898"
  --> case.toml:2:10
   |
 2 | listen = "9898"
   |          ^^^^^^
   = key: server.listen
   = expected: an address and a port, such as "127.0.0.1:9898"

1 error in the configuration
"##,
    );
}

#[test]
fn listen_is_open_to_others() {
    rejects(
        r##"
[server]
listen = "0.0.0.0:9898"
"##,
        r##"
error: the server would be open to other machines
  --> case.toml:2:10
   |
 2 | listen = "0.0.0.0:9898"
   |          ^^^^^^^^^^^^^^
   = key: server.listen
   = expected: a loopback address, or `allow_remote = true`
   = help: it has no authentication: let only trusted networks reach it

1 error in the configuration
"##,
    );
}

#[test]
fn timeouts_that_contradict_each_other() {
    rejects(
        r##"
[checkpoint]
interval = "1h"

[restart]
initial_backoff = "1m"
"##,
        r##"
error: `timeout` is shorter than `interval`
  --> case.toml:2:12
   |
 2 | interval = "1h"
   |            ^^^^
   = key: checkpoint.interval
   = expected: a `timeout` that leaves an epoch at least one interval

error: `max_backoff` is shorter than `initial_backoff`
  --> case.toml:5:19
   |
 5 | initial_backoff = "1m"
   |                   ^^^^
   = key: restart.initial_backoff
   = expected: an `initial_backoff` of at most `max_backoff`

2 errors in the configuration
"##,
    );
}

#[test]
fn all_errors_of_a_file_are_reported() {
    rejects(
        r##"
shards = 0
memry = {}

[checkpoint]
interval = "soon"

[queries.bronze.sink]
compresion = "zstd"

[queries.bronze]
mode = "apend"
"##,
        r##"
error: invalid value 0
  --> case.toml:1:10
   |
 1 | shards = 0
   |          ^
   = key: shards
   = expected: a whole number from 1 to 64

error: unknown key `memry`
  --> case.toml:2:1
   |
 2 | memry = {}
   | ^^^^^
   = key: memry
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `restart`, `stop_timeout`, `server`, `logging`, `sources`, `dead_letters`, `queries` or `detectors`
   = help: did you mean `memory`?

error: invalid value "soon"
  --> case.toml:5:12
   |
 5 | interval = "soon"
   |            ^^^^^^
   = key: checkpoint.interval
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"

error: unknown key `compresion`
  --> case.toml:8:1
   |
 8 | compresion = "zstd"
   | ^^^^^^^^^^
   = key: queries.bronze.sink.compresion
   = expected: `type`, `path`, `partition_by`, `compression`, `target_file_size`, `evolve`, `checkpoint_interval` or `properties`
   = help: did you mean `compression`?

error: invalid value "apend"
   --> case.toml:11:8
    |
 11 | mode = "apend"
    |        ^^^^^^^
    = key: queries.bronze.mode
    = expected: `append`
    = help: did you mean `append`?

5 errors in the configuration
"##,
    );
}

#[test]
fn syntax_errors_are_all_reported() {
    rejects(
        r##"
shards = = 4
name = "weblogs"
[memory
in_flight = "64MiB
[server]
enabled = tru
"##,
        r##"
error: this is not TOML: extra `=`, expected nothing
  --> case.toml:1:10
   |
 1 | shards = = 4
   |          ^

error: this is not TOML: unclosed table, expected `]`
  --> case.toml:3:8
   |
 3 | [memory
   |        ^

error: this is not TOML: invalid boolean, expected `true`
  --> case.toml:6:11
   |
 6 | enabled = tru
   |           ^^^

3 errors in the configuration
"##,
    );
}

#[test]
fn duplicate_keys() {
    rejects(
        r##"
shards = 2
shards = 3
"##,
        r##"
error: this is not TOML: duplicate key
  --> case.toml:2:1
   |
 2 | shards = 3
   | ^^^^^^
   = help: a file may give a key once; to override it, give it in a file that is read later

1 error in the configuration
"##,
    );
}

#[test]
fn integers_of_more_than_64_bits() {
    rejects(
        r##"
shards = 99999999999999999999
"##,
        r##"
error: this integer is out of range
  --> case.toml:1:10
   |
 1 | shards = 99999999999999999999
   |          ^^^^^^^^^^^^^^^^^^^^
   = expected: an integer of 64 bits

1 error in the configuration
"##,
    );
}

#[test]
fn tabs_and_wide_lines() {
    rejects(
        r##"
	shards	=	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
"##,
        r##"
error: invalid value "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
  --> case.toml:1:11
   |
 1 |  shards = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = key: shards
   = expected: a whole number from 1 to 64

1 error in the configuration
"##,
    );
}
