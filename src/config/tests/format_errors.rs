//! Errors in `[sources.NAME.format]`.

use super::rejects;

#[test]
fn kinds_of_formats() {
    rejects(
        r##"
[sources.logs.format]
type = "protobuff"
anything = 1
"##,
        r##"
error: invalid value "protobuff"
  --> case.toml:2:8
   |
 2 | type = "protobuff"
   |        ^^^^^^^^^^^
   = key: sources.logs.format.type
   = expected: `json`, `csv`, `text`, `raw`, `avro`, `protobuf`, `json_schema` or `debezium`
   = help: did you mean `protobuf`?

1 error in the configuration
"##,
    );
}

#[test]
fn csv() {
    rejects(
        r##"
[sources.logs.format]
type = "csv"
delimiter = ";;"
quote = "é"
escape = ","
header = true
null_value = 0
comment = "\""
mode = "failfast"
multiline = true
sep = ";"
unknown_fields = "reject"
"##,
        r##"
error: invalid value ";;"
  --> case.toml:3:13
   |
 3 | delimiter = ";;"
   |             ^^^^
   = key: sources.logs.format.delimiter
   = expected: one ASCII character, such as "," or "\t"

error: invalid value "é"
  --> case.toml:4:9
   |
 4 | quote = "é"
   |         ^^^
   = key: sources.logs.format.quote
   = expected: one ASCII character, or "" for none

error: `escape` and `delimiter` are the same character
  --> case.toml:5:10
   |
 5 | escape = ","
   |          ^^^
   = key: sources.logs.format.escape
   = expected: characters that can be told apart

error: each record is a row: there is no first line
  --> case.toml:6:10
   |
 6 | header = true
   |          ^^^^
   = key: sources.logs.format.header
   = expected: `header` in a source of files, or none

error: invalid value 0
  --> case.toml:7:14
   |
 7 | null_value = 0
   |              ^
   = key: sources.logs.format.null_value
   = expected: the text that stands for NULL

error: `comment` and `quote` are the same character
  --> case.toml:8:11
   |
 8 | comment = "\""
   |           ^^^^
   = key: sources.logs.format.comment
   = expected: characters that can be told apart

error: invalid value "failfast"
  --> case.toml:9:8
   |
 9 | mode = "failfast"
   |        ^^^^^^^^^^
   = key: sources.logs.format.mode
   = expected: `strict` or `permissive`
   = help: write "strict": what does not fit is a dead letter

error: records are not cut at the ends of lines here
   --> case.toml:10:13
    |
 10 | multiline = true
    |             ^^^^
    = key: sources.logs.format.multiline
    = expected: `multiline` in a source of files, or none

error: unknown key `sep`
   --> case.toml:11:1
    |
 11 | sep = ";"
    | ^^^
    = key: sources.logs.format.sep
    = expected: `type`, `delimiter`, `quote`, `escape`, `header`, `null_value`, `comment`, `multiline`, `trim`, `mode`, `timestamps`, `timezone` or `columns`
    = help: write `delimiter = "…"`

error: unknown key `unknown_fields`
   --> case.toml:12:1
    |
 12 | unknown_fields = "reject"
    | ^^^^^^^^^^^^^^
    = key: sources.logs.format.unknown_fields
    = expected: `type`, `delimiter`, `quote`, `escape`, `header`, `null_value`, `comment`, `multiline`, `trim`, `mode`, `timestamps`, `timezone` or `columns`
    = help: `unknown_fields` is a key of type `json`, `json_schema` or `debezium`

10 errors in the configuration
"##,
    );
}

#[test]
fn csv_characters_that_are_the_same() {
    rejects(
        r##"
[sources.logs.format]
type = "csv"
delimiter = "#"
comment = "#"
quote = "\n"
header = "names"
"##,
        r##"
error: `comment` and `delimiter` are the same character
  --> case.toml:4:11
   |
 4 | comment = "#"
   |           ^^^
   = key: sources.logs.format.comment
   = expected: characters that can be told apart

error: invalid value "\n"
  --> case.toml:5:9
   |
 5 | quote = "\n"
   |         ^^^^
   = key: sources.logs.format.quote
   = expected: one ASCII character, or "" for none

error: invalid value "names"
  --> case.toml:6:10
   |
 6 | header = "names"
   |          ^^^^^^^
   = key: sources.logs.format.header
   = expected: true (it names the columns), false (it is a row) or "skip"

3 errors in the configuration
"##,
    );
}

#[test]
fn avro() {
    rejects(
        r##"
[sources.logs.format]
type = "avro"
[sources.a]
type = "kafka"
brokers = "b"
topics = "a"
schema = "a INT"
format = { type = "avro", registry = "http://localhost:8081", schema_file = "x" }
[sources.b]
type = "kafka"
brokers = "b"
topics = "b"
schema = "a INT"
format = { type = "avro", registry = { url = "localhost:8081", usrname = "u" }, framing = "none" }
[sources.c]
type = "kafka"
brokers = "b"
topics = "c"
format = { type = "avro", schema_file = "" }
"##,
        r##"
error: missing key `registry` or `schema_file` in [sources.logs.format]
  --> case.toml:1:15
   |
 1 | [sources.logs.format]
   |               ^^^^^^
   = key: sources.logs.format.registry
   = expected: registry = { url = "http://localhost:8081" }
               or schema_file = "order.avsc"

error: both `registry` and `schema_file` are given
  --> case.toml:8:63
   |
 8 | format = { type = "avro", registry = "http://localhost:8081", schema_file = "x" }
   |                                                               ^^^^^^^^^^^
   = key: sources.a.format.schema_file
   = expected: one of them

error: invalid value "localhost:8081"
   --> case.toml:14:46
    |
 14 | format = { type = "avro", registry = { url = "localhost:8081", usrname = "u" }, framing = "none" }
    |                                              ^^^^^^^^^^^^^^^^
    = key: sources.b.format.registry.url
    = expected: an address, such as "http://localhost:8081"
    = help: begin with `http://` or `https://`

error: unknown key `usrname`
   --> case.toml:14:64
    |
 14 | format = { type = "avro", registry = { url = "localhost:8081", usrname = "u" }, framing = "none" }
    |                                                                ^^^^^^^
    = key: sources.b.format.registry.usrname
    = expected: `url`, `username`, `password`, `token`, `ca_file` or `timeout`
    = help: did you mean `username`?

error: records without framing do not say which schema they have
   --> case.toml:14:91
    |
 14 | format = { type = "avro", registry = { url = "localhost:8081", usrname = "u" }, framing = "none" }
    |                                                                                           ^^^^^^
    = key: sources.b.format.framing
    = expected: "confluent", or a file in place of `registry`

error: this string is empty
   --> case.toml:19:41
    |
 19 | format = { type = "avro", schema_file = "" }
    |                                         ^^
    = key: sources.c.format.schema_file
    = expected: the path of a schema

6 errors in the configuration
"##,
    );
}

#[test]
fn protobuf() {
    rejects(
        r##"
[sources.logs.format]
type = "protobuf"
proto_file = "a.proto"
descriptor_file = "a.desc"
message = "shop..Order"
[sources.a]
type = "kafka"
brokers = "b"
topics = "a"
schema = "a INT"
format = { type = "protobuf", proto_file = "a.proto", framing = "confluence" }
"##,
        r##"
error: both `descriptor_file` and `proto_file` are given
  --> case.toml:3:1
   |
 3 | proto_file = "a.proto"
   | ^^^^^^^^^^
   = key: sources.logs.format.proto_file
   = expected: one of them

error: invalid value "shop..Order"
  --> case.toml:5:11
   |
 5 | message = "shop..Order"
   |           ^^^^^^^^^^^^^
   = key: sources.logs.format.message
   = expected: the full name of a message, such as "shop.v1.Order"

error: missing key `message` in [sources.a.format]
   --> case.toml:11:1
    |
 11 | format = { type = "protobuf", proto_file = "a.proto", framing = "confluence" }
    | ^^^^^^
    = key: sources.a.format.message
    = expected: message = "shop.v1.Order"

error: invalid value "confluence"
   --> case.toml:11:65
    |
 11 | format = { type = "protobuf", proto_file = "a.proto", framing = "confluence" }
    |                                                                 ^^^^^^^^^^^^
    = key: sources.a.format.framing
    = expected: `confluent` or `none`
    = help: did you mean `confluent`?

4 errors in the configuration
"##,
    );
}

#[test]
fn debezium() {
    rejects(
        r##"
[sources.logs.format]
type = "debezium"
payload = "avro"
decimals = "precise"
op_column = "_op"
ts_column = "_op"
unknown_fields = "reject"
[sources.a]
type = "kafka"
brokers = "b"
topics = "a"
schema = "a INT"
format = { type = "debezium", payload = "json", decimals = "precise", validate = true }
"##,
        r##"
error: missing key `registry` or `schema_file` in [sources.logs.format]
  --> case.toml:1:15
   |
 1 | [sources.logs.format]
   |               ^^^^^^
   = key: sources.logs.format.registry
   = expected: registry = { url = "http://localhost:8081" }
               or schema_file = "order.avsc"

error: `decimals` has no effect: Avro's decimals say what they are
  --> case.toml:4:1
   |
 4 | decimals = "precise"
   | ^^^^^^^^
   = key: sources.logs.format.decimals
   = expected: `payload = "json"`, or no `decimals`

error: `op_column` has this name
  --> case.toml:6:13
   |
 6 | ts_column = "_op"
   |             ^^^^^
   = key: sources.logs.format.ts_column
   = expected: names that differ

error: unknown key `unknown_fields`
  --> case.toml:7:1
   |
 7 | unknown_fields = "reject"
   | ^^^^^^^^^^^^^^
   = key: sources.logs.format.unknown_fields
   = expected: `type`, `payload`, `decimals`, `registry`, `schema_file`, `framing`, `op_column` or `ts_column`
   = help: `unknown_fields` is a key of type `json`, `json_schema` or `debezium`

error: invalid value "precise"
   --> case.toml:13:60
    |
 13 | format = { type = "debezium", payload = "json", decimals = "precise", validate = true }
    |                                                            ^^^^^^^^^
    = key: sources.a.format.decimals
    = expected: `text` or `base64`
    = help: write "base64"

error: unknown key `validate`
   --> case.toml:13:71
    |
 13 | format = { type = "debezium", payload = "json", decimals = "precise", validate = true }
    |                                                                       ^^^^^^^^
    = key: sources.a.format.validate
    = expected: `type`, `payload`, `decimals`, `timestamps`, `timezone`, `columns`, `unknown_fields`, `op_column` or `ts_column`
    = help: `validate` is a key of type `json_schema`

6 errors in the configuration
"##,
    );
}
