//! Errors in triggers, duplicates, static tables, and names across them.

use super::rejects;

#[test]
fn triggers() {
    rejects(
        r##"
trigger = "5s"
[checkpoint]
interval = "10s"
[queries.bronze]
trigger = "1s"
[queries.other]
sql = "SELECT 1"
trigger = "once"
sink = { type = "console" }
"##,
        r##"
error: `trigger` and `interval` in [checkpoint] differ
  --> case.toml:1:11
   |
 1 | trigger = "5s"
   |           ^^^^
   = key: trigger
   = expected: one of them: both are the time between two epochs

error: epochs come every 5s only
  --> case.toml:5:11
   |
 5 | trigger = "1s"
   |           ^^^^
   = key: queries.bronze.trigger
   = expected: a duration of 5s or more
   = help: rows go out at the end of an epoch: lower the pipeline's `trigger`

error: invalid value "once"
  --> case.toml:8:11
   |
 8 | trigger = "once"
   |           ^^^^^^
   = key: queries.other.trigger
   = expected: a duration, such as "1 minute"
   = help: write `trigger = "once"` at the top of the file

3 errors in the configuration
"##,
    );
    rejects(
        r##"
trigger = "availablenow"
"##,
        r##"
error: invalid value "availablenow"
  --> case.toml:1:11
   |
 1 | trigger = "availablenow"
   |           ^^^^^^^^^^^^^^
   = key: trigger
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m", or "available_now", or "once"
   = help: did you mean `available_now`?

1 error in the configuration
"##,
    );
}

#[test]
fn drop_duplicates() {
    rejects(
        r##"
[queries.bronze]
state_ttl = "soon"
[queries.bronze.drop_duplicates]
columns = []
within = "watermrk"
clock = "processing"
[queries.other]
sql = "SELECT 1"
sink = { type = "console" }
drop_duplicates = { column = "a", within = "watermark", clock = "wall" }
[queries.third]
sql = "SELECT 1"
sink = { type = "console" }
drop_duplicates = ["a"]
"##,
        r##"
error: invalid value "soon"
  --> case.toml:2:13
   |
 2 | state_ttl = "soon"
   |             ^^^^^^
   = key: queries.bronze.state_ttl
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"

error: this array is empty
  --> case.toml:4:11
   |
 4 | columns = []
   |           ^^
   = key: queries.bronze.drop_duplicates.columns
   = expected: names of columns of the query's output

error: invalid value "watermrk"
  --> case.toml:5:10
   |
 5 | within = "watermrk"
   |          ^^^^^^^^^^
   = key: queries.bronze.drop_duplicates.within
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m", or "watermark"
   = help: did you mean `watermark`?

error: invalid value "processing"
  --> case.toml:6:9
   |
 6 | clock = "processing"
   |         ^^^^^^^^^^^^
   = key: queries.bronze.drop_duplicates.clock
   = expected: `event` or `wall`
   = help: write "wall"

error: unknown key `column`
   --> case.toml:10:21
    |
 10 | drop_duplicates = { column = "a", within = "watermark", clock = "wall" }
    |                     ^^^^^^
    = key: queries.other.drop_duplicates.column
    = expected: `columns`, `within` or `clock`
    = help: did you mean `columns`?

error: the watermark is of event time
   --> case.toml:10:65
    |
 10 | drop_duplicates = { column = "a", within = "watermark", clock = "wall" }
    |                                                                 ^^^^^^
    = key: queries.other.drop_duplicates.clock
    = expected: a duration as `within`, or `clock = "event"`

error: an array is not valid here
   --> case.toml:14:19
    |
 14 | drop_duplicates = ["a"]
    |                   ^^^^^
    = key: queries.third.drop_duplicates
    = expected: a table: [queries.third.drop_duplicates]

7 errors in the configuration
"##,
    );
}

#[test]
fn a_query_that_nobody_reads() {
    rejects(
        r##"
[queries.lonely]
sql = "SELECT 1 FROM not_lonely"
[queries.read]
sql = "SELECT 1"
[queries.reader]
sql = "SELECT * FROM READ"
sink = { type = "console" }
"##,
        r##"
error: missing key `sink` in [queries.lonely]
  --> case.toml:1:10
   |
 1 | [queries.lonely]
   |          ^^^^^^
   = key: queries.lonely.sink
   = expected: sink = { type = "delta", path = "…" }
   = help: a query without a sink is one that another query reads, by its name

1 error in the configuration
"##,
    );
}

#[test]
fn static_tables() {
    rejects(
        r##"
[tables.a]
[tables.b]
type = "kafka"
path = "b"
[tables.c]
type = "csv"
path = "c.csv"
refresh = "1us"
format = { delimiter = "ab", type = "csv" }
[tables.d]
type = "parquet"
path = "d.parquet"
format = { delimiter = "," }
[tables.Logs]
type = "delta"
path = "gs://x"
[tables."x y"]
type = "delta"
"##,
        r##"
error: missing key `type` in [tables.a]
  --> case.toml:1:9
   |
 1 | [tables.a]
   |         ^
   = key: tables.a.type
   = expected: type = "delta", "parquet", "csv" or "json"

error: invalid value "kafka"
  --> case.toml:3:8
   |
 3 | type = "kafka"
   |        ^^^^^^^
   = key: tables.b.type
   = expected: `delta`, `parquet`, `csv` or `json`
   = help: a topic is a stream: write it as [sources.NAME]

error: missing key `schema` in [tables.c]
  --> case.toml:5:9
   |
 5 | [tables.c]
   |         ^
   = key: tables.c.schema
   = expected: schema = "timestamp TIMESTAMP NOT NULL, ip STRING"

error: invalid value "1us"
  --> case.toml:8:11
   |
 8 | refresh = "1us"
   |           ^^^^^
   = key: tables.c.refresh
   = expected: a duration from 100ms to 365d

error: invalid value "ab"
  --> case.toml:9:24
   |
 9 | format = { delimiter = "ab", type = "csv" }
   |                        ^^^^
   = key: tables.c.format.delimiter
   = expected: one ASCII character, such as "," or "\t"

error: unknown key `type`
  --> case.toml:9:30
   |
 9 | format = { delimiter = "ab", type = "csv" }
   |                              ^^^^
   = key: tables.c.format.type
   = expected: `delimiter`, `quote`, `escape`, `header`, `null_value`, `comment`, `multiline`, `trim`, `mode`, `timestamps`, `timezone` or `columns`
   = help: `type` belongs in [tables.c]

error: unknown key `format`
   --> case.toml:13:1
    |
 13 | format = { delimiter = "," }
    | ^^^^^^
    = key: tables.d.format
    = expected: `type`, `path`, `schema` or `refresh`
    = help: `format` is a key of type `csv` or `json`

error: `Logs` is the same name as [sources.logs]
   --> case.toml:14:9
    |
 14 | [tables.Logs]
    |         ^^^^
    = key: tables.Logs
    = expected: names that differ in more than case

error: invalid value "gs://x"
   --> case.toml:16:8
    |
 16 | path = "gs://x"
    |        ^^^^^^^^
    = key: tables.Logs.path
    = expected: a directory, relative to the working directory or absolute, or the address of a table in an object store, such as s3://bucket/tables/bronze
    = help: it names a bucket and no path in it, where the table would be

error: `x y` cannot be the name of a table
   --> case.toml:17:9
    |
 17 | [tables."x y"]
    |         ^^^^^
    = key: tables."x y"
    = expected: letters, digits and `_`, not beginning with a digit, at most 128
    = help: `x_y` would do

error: missing key `path` in [tables."x y"]
   --> case.toml:17:9
    |
 17 | [tables."x y"]
    |         ^^^^^
    = key: tables."x y".path
    = expected: path = "./data/products"

11 errors in the configuration
"##,
    );
}
