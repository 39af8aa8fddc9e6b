//! Errors in `[queries.NAME.sink]` of files, consoles and memory, and between sinks.

use super::rejects;

#[test]
fn files() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
mode = "update"
[queries.a.sink]
type = "files"
[queries.b]
sql = "SELECT 1"
[queries.b.sink]
type = "files"
path = "b"
format = "json"
[queries.c]
sql = "SELECT 1"
[queries.c.sink]
type = "files"
path = "c"
format = "csv"
compression = "snappy"
delimiter = ""
header = "yes"
max_file_rows = 0
partition_by = ["a", "a"]
[queries.d]
sql = "SELECT 1"
[queries.d.sink]
type = "files"
path = "c/d"
format = "ndjson"
compression = "zstd(30)"
header = true
"##,
        r##"
error: missing key `path` in [queries.a.sink]
  --> case.toml:4:12
   |
 4 | [queries.a.sink]
   |            ^^^^
   = key: queries.a.sink.path
   = expected: path = "${data_dir}/events"

error: missing key `format` in [queries.a.sink]
  --> case.toml:4:12
   |
 4 | [queries.a.sink]
   |            ^^^^
   = key: queries.a.sink.format
   = expected: format = "ndjson"

error: a sink of files does not take mode `update`
  --> case.toml:5:8
   |
 5 | type = "files"
   |        ^^^^^^^
   = key: queries.a.sink.type
   = expected: a query of mode `append` or `complete`: files that are written do not change
   = help: `delta` and `postgres` take rows that replace others

error: invalid value "json"
   --> case.toml:11:10
    |
 11 | format = "json"
    |          ^^^^^^
    = key: queries.b.sink.format
    = expected: `ndjson`, `csv` or `parquet`
    = help: write "ndjson": one object a line

error: invalid value "snappy"
   --> case.toml:18:15
    |
 18 | compression = "snappy"
    |               ^^^^^^^^
    = key: queries.c.sink.compression
    = expected: `none`, `gzip`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22
    = help: write "zstd": it is as quick

error: invalid value ""
   --> case.toml:19:13
    |
 19 | delimiter = ""
    |             ^^
    = key: queries.c.sink.delimiter
    = expected: one ASCII character, such as "," or "\t"

error: invalid value "yes"
   --> case.toml:20:10
    |
 20 | header = "yes"
    |          ^^^^^
    = key: queries.c.sink.header
    = expected: true or false

error: invalid value 0
   --> case.toml:21:17
    |
 21 | max_file_rows = 0
    |                 ^
    = key: queries.c.sink.max_file_rows
    = expected: a whole number from 1 to 4294967295

error: "a" is listed twice
   --> case.toml:22:22
    |
 22 | partition_by = ["a", "a"]
    |                      ^^^
    = key: queries.c.sink.partition_by
    = expected: each column once

error: query `d` would be inside the directory of query `c`
   --> case.toml:27:8
    |
 27 | path = "c/d"
    |        ^^^^^
    = key: queries.d.sink.path
    = expected: directories that are not inside of each other
    = help: whoever reads the outer directory would find the files of the inner one

error: invalid value "zstd(30)"
   --> case.toml:29:15
    |
 29 | compression = "zstd(30)"
    |               ^^^^^^^^^^
    = key: queries.d.sink.compression
    = expected: `none`, `gzip`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22

error: unknown key `header`
   --> case.toml:30:1
    |
 30 | header = true
    | ^^^^^^
    = key: queries.d.sink.header
    = expected: `type`, `name`, `path`, `format`, `compression`, `partition_by` or `max_file_rows`
    = help: `header` is a key of type `files`

12 errors in the configuration
"##,
    );
}

#[test]
fn console_and_memory() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
[queries.a.sink]
type = "console"
truncate = "no"
numRows = 5
rows = 0
vertical = 1
[queries.b]
sql = "SELECT 1"
[queries.b.sink]
type = "memory"
max_rows = "many"
"##,
        r##"
error: invalid value "no"
  --> case.toml:5:12
   |
 5 | truncate = "no"
   |            ^^^^
   = key: queries.a.sink.truncate
   = expected: true (to 20 characters), false, or a number of characters

error: unknown key `numRows`
  --> case.toml:6:1
   |
 6 | numRows = 5
   | ^^^^^^^
   = key: queries.a.sink.numRows
   = expected: `type`, `name`, `truncate`, `rows` or `vertical`
   = help: write `rows = …`

error: invalid value 0
  --> case.toml:7:8
   |
 7 | rows = 0
   |        ^
   = key: queries.a.sink.rows
   = expected: a whole number from 1 to 1000000

error: invalid value 1
  --> case.toml:8:12
   |
 8 | vertical = 1
   |            ^
   = key: queries.a.sink.vertical
   = expected: true or false

error: invalid value "many"
   --> case.toml:13:12
    |
 13 | max_rows = "many"
    |            ^^^^^^
    = key: queries.b.sink.max_rows
    = expected: a whole number from 1 to 10000000

5 errors in the configuration
"##,
    );
}

#[test]
fn keys_without_effect() {
    rejects(
        r##"
[queries.bronze.sink]
key = ["ip"]
[queries.b]
sql = "SELECT 1"
mode = "update"
sink = { type = "delta", path = "b", key = [] }
"##,
        r##"
error: `key` has no effect: rows are only added
  --> case.toml:2:1
   |
 2 | key = ["ip"]
   | ^^^
   = key: queries.bronze.sink.key
   = expected: `mode = "update"`, or no `key`

error: this array is empty
  --> case.toml:6:44
   |
 6 | sink = { type = "delta", path = "b", key = [] }
   |                                            ^^
   = key: queries.b.sink.key
   = expected: names of columns of the query

2 errors in the configuration
"##,
    );
}

#[test]
fn sinks_of_one_query_that_write_one_directory() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
[[queries.a.sinks]]
type = "delta"
path = "a"
[[queries.a.sinks]]
type = "files"
path = "./a"
format = "ndjson"
"##,
        r##"
error: query `a` writes here too
  --> case.toml:8:8
   |
 8 | path = "./a"
   |        ^^^^^
   = key: queries.a.sinks.1.path
   = expected: a directory of its own: exactly once holds for one writer a table

1 error in the configuration
"##,
    );
}
