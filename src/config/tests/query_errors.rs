//! Errors in `[queries.NAME]` and `[detectors.NAME]`, and between tables.

use super::rejects;

#[test]
fn names_of_queries() {
    rejects(
        r##"
[queries."2nd query"]
sql = "SELECT 1"
sink = { type = "delta", path = "x" }
"##,
        r##"
error: `2nd query` cannot be the name of a query
  --> case.toml:1:10
   |
 1 | [queries."2nd query"]
   |          ^^^^^^^^^^^
   = key: queries."2nd query"
   = expected: letters, digits and `_`, not beginning with a digit, at most 128
   = help: `_2nd_query` would do

1 error in the configuration
"##,
    );
}

#[test]
fn a_query_without_anything() {
    rejects(
        r##"
[queries.other]
"##,
        r##"
error: missing key `sql` in [queries.other]
  --> case.toml:1:10
   |
 1 | [queries.other]
   |          ^^^^^
   = key: queries.other.sql
   = expected: sql = '''SELECT … FROM …'''

1 error in the configuration
"##,
    );
}

#[test]
fn output_modes() {
    rejects(
        r##"
[queries.bronze]
mode = "updat"
"##,
        r##"
error: invalid value "updat"
  --> case.toml:2:8
   |
 2 | mode = "updat"
   |        ^^^^^^^
   = key: queries.bronze.mode
   = expected: `append`, `update` or `complete`
   = help: did you mean `update`?

1 error in the configuration
"##,
    );
}

#[test]
fn several_sinks() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
[[queries.a.sinks]]
type = "delta"
path = "a"
[[queries.a.sinks]]
type = "delta"
path = "b"
[queries.b]
sql = "SELECT 1"
sinks = 5
[queries.c]
sql = "SELECT 1"
[[queries.c.sinks]]
type = "console"
[[queries.c.sinks]]
name = "a b"
type = "memory"
[[queries.c.sinks]]
name = "memory"
type = "memory"
[[queries.c.sinks]]
type = "memory"
[queries.bronze]
sinks = []
"##,
        r##"
error: invalid value 5
   --> case.toml:11:9
    |
 11 | sinks = 5
    |         ^
    = key: queries.b.sinks
    = expected: an array of tables: [[queries.NAME.sinks]]

error: invalid value "a b"
   --> case.toml:17:8
    |
 17 | name = "a b"
    |        ^^^^^
    = key: queries.c.sinks.name
    = expected: letters, digits, `_` and `-`, at most 64

error: another sink of this query is called `memory`
   --> case.toml:22:1
    |
 22 | [[queries.c.sinks]]
    | ^^^^^^^^^^^^^^^^^^^
    = key: queries.c.sinks.name
    = expected: a `name` of its own: it is in the transactions of what it writes
    = help: without a `name` it is called by its type

error: both `sink` and `sinks` are given
   --> case.toml:25:1
    |
 25 | sinks = []
    | ^^^^^
    = key: queries.bronze.sinks
    = expected: one of them

4 errors in the configuration
"##,
    );
}

#[test]
fn kinds_of_sinks() {
    rejects(
        r##"
[queries.bronze.sink]
type = "memry"
[queries.other]
sql = "SELECT 1"
sink = { type = "detla", path = "x" }
"##,
        r##"
error: invalid value "memry"
  --> case.toml:2:8
   |
 2 | type = "memry"
   |        ^^^^^^^
   = key: queries.bronze.sink.type
   = expected: `delta`, `kafka`, `postgres`, `files`, `console` or `memory`
   = help: did you mean `memory`?

error: invalid value "detla"
  --> case.toml:5:17
   |
 5 | sink = { type = "detla", path = "x" }
   |                 ^^^^^^^
   = key: queries.other.sink.type
   = expected: `delta`, `kafka`, `postgres`, `files`, `console` or `memory`
   = help: did you mean `delta`?

2 errors in the configuration
"##,
    );
}

#[test]
fn the_delta_sink() {
    rejects(
        r##"
[queries.bronze.sink]
path = "s3://bucket"
partition_by = ["date", "date"]
compression = "zstd(40)"
target_file_size = "1B"
evolve = true
checkpoint_interval = 0
"##,
        r##"
error: invalid value "s3://bucket"
  --> case.toml:2:8
   |
 2 | path = "s3://bucket"
   |        ^^^^^^^^^^^^^
   = key: queries.bronze.sink.path
   = expected: a directory, relative to the working directory or absolute, or the address of a table in an object store, such as s3://bucket/tables/bronze
   = help: it names a bucket and no path in it, where the table would be

error: "date" is listed twice
  --> case.toml:3:25
   |
 3 | partition_by = ["date", "date"]
   |                         ^^^^^^
   = key: queries.bronze.sink.partition_by
   = expected: each column once

error: invalid value "zstd(40)"
  --> case.toml:4:15
   |
 4 | compression = "zstd(40)"
   |               ^^^^^^^^^^
   = key: queries.bronze.sink.compression
   = expected: `none`, `snappy`, `lz4`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22

error: invalid value "1B"
  --> case.toml:5:20
   |
 5 | target_file_size = "1B"
   |                    ^^^^
   = key: queries.bronze.sink.target_file_size
   = expected: a size from 64KiB to 4GiB

error: invalid value true
  --> case.toml:6:10
   |
 6 | evolve = true
   |          ^^^^
   = key: queries.bronze.sink.evolve
   = expected: `add` or `none`
   = help: write "add": columns that are new are added to the table

error: invalid value 0
  --> case.toml:7:23
   |
 7 | checkpoint_interval = 0
   |                       ^
   = key: queries.bronze.sink.checkpoint_interval
   = expected: a whole number from 1 to 100000

6 errors in the configuration
"##,
    );
}

#[test]
fn compressions() {
    rejects(
        r##"
[queries.bronze.sink]
compression = "snapy"
"##,
        r##"
error: invalid value "snapy"
  --> case.toml:2:15
   |
 2 | compression = "snapy"
   |               ^^^^^^^
   = key: queries.bronze.sink.compression
   = expected: `none`, `snappy`, `lz4`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22
   = help: did you mean `snappy`?

1 error in the configuration
"##,
    );
}

#[test]
fn names_that_sql_would_confuse() {
    rejects(
        r##"
[queries.Logs]
sql = "SELECT 1"
sink = { type = "delta", path = "x" }
"##,
        r##"
error: `Logs` is the same name as [sources.logs]
  --> case.toml:1:10
   |
 1 | [queries.Logs]
   |          ^^^^
   = key: queries.Logs
   = expected: names that differ in more than case

1 error in the configuration
"##,
    );
}

#[test]
fn two_queries_that_write_one_table() {
    rejects(
        r##"
[queries.copy]
sql = "SELECT 1"
sink = { type = "delta", path = "data/../data/bronze/" }
"##,
        r##"
error: query `bronze` writes here too
  --> case.toml:3:33
   |
 3 | sink = { type = "delta", path = "data/../data/bronze/" }
   |                                 ^^^^^^^^^^^^^^^^^^^^^^
   = key: queries.copy.sink.path
   = expected: a directory of its own: exactly once holds for one writer a table

1 error in the configuration
"##,
    );
}

#[test]
fn tables_inside_of_each_other() {
    rejects(
        r##"
[queries.copy]
sql = "SELECT 1"
sink = { type = "delta", path = "./data/bronze/copy" }
"##,
        r##"
error: query `copy` would be inside the directory of query `bronze`
  --> case.toml:3:33
   |
 3 | sink = { type = "delta", path = "./data/bronze/copy" }
   |                                 ^^^^^^^^^^^^^^^^^^^^
   = key: queries.copy.sink.path
   = expected: directories that are not inside of each other
   = help: a vacuum of the outer table would delete the files of the inner one

1 error in the configuration
"##,
    );
}

#[test]
fn tables_inside_of_the_checkpoint() {
    rejects(
        r##"
[queries.bronze.sink]
path = "./data/checkpoints/weblogs/bronze"
"##,
        r##"
error: query `bronze` would be inside the directory of the checkpoint
  --> case.toml:2:8
   |
 2 | path = "./data/checkpoints/weblogs/bronze"
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = key: queries.bronze.sink.path
   = expected: directories that are not inside of each other
   = help: checkpoints that are no longer needed are removed with all that is in them

1 error in the configuration
"##,
    );
}

#[test]
fn dead_letters_in_a_table() {
    rejects(
        r##"
[dead_letters]
path = "data/bronze"
[queries.copy]
sql = "SELECT 1"
sink = { type = "delta", path = "./data/dead" }
[checkpoint]
directory = "data/dead"
"##,
        r##"
error: query `bronze` writes here too
  --> case.toml:2:8
   |
 2 | path = "data/bronze"
   |        ^^^^^^^^^^^^^
   = key: dead_letters.path
   = expected: a directory of its own: exactly once holds for one writer a table

error: the checkpoint writes here too
  --> case.toml:5:33
   |
 5 | sink = { type = "delta", path = "./data/dead" }
   |                                 ^^^^^^^^^^^^^
   = key: queries.copy.sink.path
   = expected: a directory of its own: exactly once holds for one writer a table

2 errors in the configuration
"##,
    );
}

#[test]
fn a_detector_without_anything() {
    rejects(
        r##"
[detectors.spike]
"##,
        r##"
error: missing key `kind` in [detectors.spike]
  --> case.toml:1:12
   |
 1 | [detectors.spike]
   |            ^^^^^
   = key: detectors.spike.kind
   = expected: kind = "traffic_spike"

error: missing key `query` in [detectors.spike]
  --> case.toml:1:12
   |
 1 | [detectors.spike]
   |            ^^^^^
   = key: detectors.spike.query
   = expected: query = "endpoint_minutes"

error: missing key `value` in [detectors.spike]
  --> case.toml:1:12
   |
 1 | [detectors.spike]
   |            ^^^^^
   = key: detectors.spike.value
   = expected: value = "requests"

3 errors in the configuration
"##,
    );
}

#[test]
fn a_detector_of_a_missing_query() {
    rejects(
        r##"
[detectors.spike]
kind = "traffic_spike"
query = "bronz"
value = "requests"
"##,
        r##"
error: there is no query `bronz`
  --> case.toml:3:9
   |
 3 | query = "bronz"
   |         ^^^^^^^
   = key: detectors.spike.query
   = expected: `bronze`
   = help: did you mean `bronze`?

1 error in the configuration
"##,
    );
}

#[test]
fn a_detector_with_a_misspelt_key() {
    rejects(
        r##"
[detectors.spike]
kind = "traffic_spike"
qurey = "bronze"
value = "requests"
"##,
        r##"
error: missing key `query` in [detectors.spike]
  --> case.toml:1:12
   |
 1 | [detectors.spike]
   |            ^^^^^
   = key: detectors.spike.query
   = expected: query = "endpoint_minutes"
   = help: is `qurey` meant for it?

1 error in the configuration
"##,
    );
}

#[test]
fn detectors_that_share_a_table_must_agree() {
    rejects(
        r##"
[detectors.a]
kind = "x"
query = "bronze"
value = "n"
sink = { compression = "lz4" }
[detectors.b]
kind = "x"
query = "bronze"
value = "n"
"##,
        r##"
error: detector `a` writes the same table otherwise
  --> case.toml:6:12
   |
 6 | [detectors.b]
   |            ^
   = key: detectors.b.sink.path
   = expected: the same keys in `sink` for each detector of one table

1 error in the configuration
"##,
    );
}
