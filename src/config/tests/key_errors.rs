//! Keys that do not exist, and values of the wrong type.

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
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `trigger`, `restart`, `stop_timeout`, `server`, `logging`, `storage`, `sources`, `tables`, `dead_letters`, `upkeep`, `queries`, `detectors`, `alerts`, `batch`, `batch_runs` or `tests`
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
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `trigger`, `restart`, `stop_timeout`, `server`, `logging`, `storage`, `sources`, `tables`, `dead_letters`, `upkeep`, `queries`, `detectors`, `alerts`, `batch`, `batch_runs` or `tests`
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
   = expected: `type`, `brokers`, `topics`, `topic_pattern`, `group_id`, `start`, `options`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
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
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `trigger`, `restart`, `stop_timeout`, `server`, `logging`, `storage`, `sources`, `tables`, `dead_letters`, `upkeep`, `queries`, `detectors`, `alerts`, `batch`, `batch_runs` or `tests`

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
   = expected: `type`, `brokers`, `topics`, `topic_pattern`, `group_id`, `start`, `options`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
   = help: write `topics = ["…"]`

error: unknown key `startingOffsets`
  --> case.toml:3:1
   |
 3 | startingOffsets = "earliest"
   | ^^^^^^^^^^^^^^^
   = key: sources.logs.startingOffsets
   = expected: `type`, `brokers`, `topics`, `topic_pattern`, `group_id`, `start`, `options`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
   = help: write `start`: "earliest", "latest" or { offsets = { … } }

error: unknown key `checkpointLocation`
  --> case.toml:6:1
   |
 6 | checkpointLocation = "/tmp/x"
   | ^^^^^^^^^^^^^^^^^^
   = key: queries.bronze.checkpointLocation
   = expected: `sql`, `mode`, `trigger`, `drop_duplicates`, `state_ttl`, `expect`, `sink` or `sinks`
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
   = expected: `name`, `data_dir`, `shards`, `memory`, `checkpoint`, `trigger`, `restart`, `stop_timeout`, `server`, `logging`, `storage`, `sources`, `tables`, `dead_letters`, `upkeep`, `queries`, `detectors`, `alerts`, `batch`, `batch_runs` or `tests`
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
   = expected: `type`, `name`, `key`, `on_type_change`, `path`, `partition_by`, `storage`, `table`, `compression`, `target_file_size`, `evolve`, `checkpoint_interval`, `properties` or `upkeep`
   = help: did you mean `compression`?

error: invalid value "apend"
   --> case.toml:11:8
    |
 11 | mode = "apend"
    |        ^^^^^^^
    = key: queries.bronze.mode
    = expected: `append`, `update` or `complete`
    = help: did you mean `append`?

5 errors in the configuration
"##,
    );
}
