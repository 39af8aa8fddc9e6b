//! Errors in `[sources.NAME]` of files, and in the formats of files.

use super::rejects;

#[test]
fn a_source_of_files() {
    rejects(
        r##"
[sources.events]
type = "files"
path = "s3://bucket/events"
recursive = "yes"
compression = "gz"
max_files_per_trigger = 0
order = "latest"
settle = 5
poll_interval = "1ms"
max_file_age = "nevr"
after = "archive"
host = "localhost"
schema = "a INT"
"##,
        r##"
error: invalid value "s3://bucket/events"
  --> case.toml:3:8
   |
 3 | path = "s3://bucket/events"
   |        ^^^^^^^^^^^^^^^^^^^^
   = key: sources.events.path
   = expected: a directory, a file, or a glob pattern such as "logs/*.json"
   = help: only local and mounted directories can be read

error: invalid value "yes"
  --> case.toml:4:13
   |
 4 | recursive = "yes"
   |             ^^^^^
   = key: sources.events.recursive
   = expected: true or false

error: invalid value "gz"
  --> case.toml:5:15
   |
 5 | compression = "gz"
   |               ^^^^
   = key: sources.events.compression
   = expected: `auto`, `none`, `gzip` or `zstd`
   = help: write "gzip"

error: invalid value 0
  --> case.toml:6:25
   |
 6 | max_files_per_trigger = 0
   |                         ^
   = key: sources.events.max_files_per_trigger
   = expected: a whole number from 1 to 4294967295

error: invalid value "latest"
  --> case.toml:7:9
   |
 7 | order = "latest"
   |         ^^^^^^^^
   = key: sources.events.order
   = expected: `oldest` or `newest`
   = help: write "newest"

error: invalid value 5
  --> case.toml:8:10
   |
 8 | settle = 5
   |          ^
   = key: sources.events.settle
   = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
   = help: add a unit: "5s" or "5ms"

error: invalid value "1ms"
  --> case.toml:9:17
   |
 9 | poll_interval = "1ms"
   |                 ^^^^^
   = key: sources.events.poll_interval
   = expected: a duration from 10ms to 1d

error: invalid value "nevr"
   --> case.toml:10:16
    |
 10 | max_file_age = "nevr"
    |                ^^^^^^
    = key: sources.events.max_file_age
    = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m", or "never"
    = help: did you mean `never`?

error: invalid value "archive"
   --> case.toml:11:9
    |
 11 | after = "archive"
    |         ^^^^^^^^^
    = key: sources.events.after
    = expected: `keep`, `delete` or { archive = "./archive" }
    = help: say where to: { archive = "./archive" }

error: unknown key `host`
   --> case.toml:12:1
    |
 12 | host = "localhost"
    | ^^^^
    = key: sources.events.host
    = expected: `type`, `path`, `recursive`, `compression`, `max_files_per_trigger`, `order`, `settle`, `poll_interval`, `max_file_age`, `after`, `format`, `schema`, `metadata`, `watermark`, `batch` or `max_record`
    = help: `host` is a key of type `socket`

10 errors in the configuration
"##,
    );
}

#[test]
fn patterns_and_archives() {
    rejects(
        r##"
[sources.a]
type = "files"
path = "in/[a"
schema = "a INT"
[sources.b]
type = "files"
path = "in/*.json"
after = { archive = "./in/done" }
schema = "a INT"
[sources.c]
type = "files"
path = "c"
recursive = true
after = { archive = "c/done/../read" }
schema = "a INT"
[sources.d]
type = "files"
path = "./d/"
after = { archived = "d" }
schema = "a INT"
[sources.e]
type = "files"
path = "e"
schema = "a INT"
[sources.f]
type = "files"
path = "./e/"
after = "delete"
schema = "a INT"
"##,
        r##"
error: invalid value "in/[a"
  --> case.toml:3:8
   |
 3 | path = "in/[a"
   |        ^^^^^^^
   = key: sources.a.path
   = expected: a directory, a file, or a glob pattern such as "logs/*.json"
   = help: the pattern is not valid: unclosed character class; missing ']'

error: files that are moved here would be read again
  --> case.toml:8:21
   |
 8 | after = { archive = "./in/done" }
   |                     ^^^^^^^^^^^
   = key: sources.b.after.archive
   = expected: a directory outside of the source's

error: files that are moved here would be read again
   --> case.toml:14:21
    |
 14 | after = { archive = "c/done/../read" }
    |                     ^^^^^^^^^^^^^^^^
    = key: sources.c.after.archive
    = expected: a directory outside of the source's

error: missing key `archive` in [sources.d.after]
   --> case.toml:19:1
    |
 19 | after = { archived = "d" }
    | ^^^^^
    = key: sources.d.after.archive
    = expected: archive = "./archive"
    = help: is `archived` meant for it?

error: unknown key `archived`
   --> case.toml:19:11
    |
 19 | after = { archived = "d" }
    |           ^^^^^^^^
    = key: sources.d.after.archived
    = expected: `archive`
    = help: did you mean `archive`?

error: source `e` reads these files too
   --> case.toml:27:8
    |
 27 | path = "./e/"
    |        ^^^^^^
    = key: sources.f.path
    = expected: files that one source reads
    = help: one would take them away from the other: let one source read them for all queries, or write `after = "keep"`

6 errors in the configuration
"##,
    );
}

#[test]
fn formats_of_files() {
    rejects(
        r##"
[sources.a]
type = "files"
path = "a"
schema = "a INT"
format = { type = "avro", registry = { url = "http://r" } }
[sources.b]
type = "socket"
host = "localhost"
port = 9999
schema = "a INT"
format = { type = "parquet" }
[sources.c]
type = "files"
path = "c"
format = { type = "raw" }
[sources.d]
type = "files"
path = "d"
format = { type = "text", header = true }
[sources.e]
type = "files"
path = "e"
schema = "a INT"
format = { type = "json_schema", registry = { url = "http://r" } }
[sources.f]
type = "files"
path = "f"
schema = "a INT"
format = { type = "debezium", payload = "avro" }
"##,
        r##"
error: invalid value "avro"
  --> case.toml:5:19
   |
 5 | format = { type = "avro", registry = { url = "http://r" } }
   |                   ^^^^^^
   = key: sources.a.format.type
   = expected: `json`, `csv`, `text`, `json_schema`, `debezium` or `parquet`
   = help: its records are not lines of text: of `kafka` sources only

error: invalid value "parquet"
   --> case.toml:11:19
    |
 11 | format = { type = "parquet" }
    |                   ^^^^^^^^^
    = key: sources.b.format.type
    = expected: `json`, `csv`, `text`, `json_schema` or `debezium`
    = help: it is a format of whole files: of `files` sources only

error: invalid value "raw"
   --> case.toml:15:19
    |
 15 | format = { type = "raw" }
    |                   ^^^^^
    = key: sources.c.format.type
    = expected: `json`, `csv`, `text`, `json_schema`, `debezium` or `parquet`
    = help: it has the columns of Kafka: of `kafka` sources only

error: unknown key `header`
   --> case.toml:19:27
    |
 19 | format = { type = "text", header = true }
    |                           ^^^^^^
    = key: sources.d.format.header
    = expected: `type`
    = help: `header` is a key of type `csv`

error: lines of text do not begin with the id of their schema
   --> case.toml:24:45
    |
 24 | format = { type = "json_schema", registry = { url = "http://r" } }
    |                                             ^^^^^^^^^^^^^^^^^^^^
    = key: sources.e.format.registry
    = expected: `schema_file`, without framing

error: invalid value "avro"
   --> case.toml:29:41
    |
 29 | format = { type = "debezium", payload = "avro" }
    |                                         ^^^^^^
    = key: sources.f.format.payload
    = expected: `json`
    = help: its records are not lines of text

6 errors in the configuration
"##,
    );
}
