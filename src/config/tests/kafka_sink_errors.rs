//! Errors in `[queries.NAME.sink]` of Kafka and PostgreSQL.

use super::rejects;

#[test]
fn kafka() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
[queries.a.sink]
type = "kafka"
brokers = "localhost:"
topic = "a b"
topic_column = "t"
key = []
key_column = "k"
headers = ["a", "a"]
value = "raw"
[queries.b]
sql = "SELECT 1"
[queries.b.sink]
type = "kafka"
brokers = "localhost"
topic_column = "t"
key = ["a", "b"]
value = "avro"
transactional_id = "x"
[queries.b.sink.options]
acks = 1
"transactional.id" = "x"
"linger.sm" = 5
"max.request.size" = 5
[queries.c]
sql = "SELECT 1"
[queries.c.sink]
type = "kafka"
brokers = "localhost"
value = { columns = "v" }
subject = "s"
"##,
        r##"
error: invalid value "localhost:"
  --> case.toml:5:11
   |
 5 | brokers = "localhost:"
   |           ^^^^^^^^^^^^
   = key: queries.a.sink.brokers
   = expected: addresses of brokers, such as "kafka-1:9092,kafka-2:9092"

error: invalid value "a b"
  --> case.toml:6:9
   |
 6 | topic = "a b"
   |         ^^^^^
   = key: queries.a.sink.topic
   = expected: the name of a topic: letters, digits, `.`, `_` and `-`

error: this array is empty
  --> case.toml:8:7
   |
 8 | key = []
   |       ^^
   = key: queries.a.sink.key
   = expected: one column

error: `key_column` is given beside `key`
  --> case.toml:9:1
   |
 9 | key_column = "k"
   | ^^^^^^^^^^
   = key: queries.a.sink.key_column
   = expected: one of them

error: "a" is listed twice
   --> case.toml:10:17
    |
 10 | headers = ["a", "a"]
    |                 ^^^
    = key: queries.a.sink.headers
    = expected: each column once

error: invalid value "raw"
   --> case.toml:11:9
    |
 11 | value = "raw"
    |         ^^^^^
    = key: queries.a.sink.value
    = expected: `json`, `avro` or { column = "value" }
    = help: name the column that holds it: { column = "value" }

error: missing key `topic` in [queries.b.sink]
   --> case.toml:14:12
    |
 14 | [queries.b.sink]
    |            ^^^^
    = key: queries.b.sink.topic
    = expected: topic = "alerts"

error: missing key `registry` in [queries.b.sink]
   --> case.toml:14:12
    |
 14 | [queries.b.sink]
    |            ^^^^
    = key: queries.b.sink.registry
    = expected: registry = { url = "http://localhost:8081" }

error: 2 columns are given
   --> case.toml:18:7
    |
 18 | key = ["a", "b"]
    |       ^^^^^^^^^^
    = key: queries.b.sink.key
    = expected: one column
    = help: make one of them in the query: to_json(struct(a, b)) AS key

error: unknown key `transactional_id`
   --> case.toml:20:1
    |
 20 | transactional_id = "x"
    | ^^^^^^^^^^^^^^^^
    = key: queries.b.sink.transactional_id
    = expected: `type`, `name`, `brokers`, `topic`, `topic_column`, `key`, `key_column`, `headers`, `headers_column`, `value`, `subject`, `registry`, `partition_column`, `timestamp_column`, `tombstone_column`, `transaction_timeout` or `options`

error: `acks` is not an option: records are written exactly once, in transactions
   --> case.toml:22:1
    |
 22 | acks = 1
    | ^^^^
    = key: queries.b.sink.options.acks
    = expected: options that Millpond does not set itself
    = help: leave it out

error: `transactional.id` is not an option: it is made of the names of the pipeline and the sink
   --> case.toml:23:1
    |
 23 | "transactional.id" = "x"
    | ^^^^^^^^^^^^^^^^^^
    = key: queries.b.sink.options."transactional.id"
    = expected: options that Millpond does not set itself
    = help: leave it out

error: unknown option `linger.sm`
   --> case.toml:24:1
    |
 24 | "linger.sm" = ***
    | ^^^^^^^^^^^
    = key: queries.b.sink.options."linger.sm"
    = expected: a name that librdkafka knows
    = help: did you mean `linger.ms`?

error: unknown option `max.request.size`
   --> case.toml:25:1
    |
 25 | "max.request.size" = ***
    | ^^^^^^^^^^^^^^^^^^
    = key: queries.b.sink.options."max.request.size"
    = expected: a name that librdkafka knows
    = help: librdkafka has `message.max.bytes`

error: missing key `topic` in [queries.c.sink]
   --> case.toml:28:12
    |
 28 | [queries.c.sink]
    |            ^^^^
    = key: queries.c.sink.topic
    = expected: topic = "alerts"

error: missing key `column` in [queries.c.sink.value]
   --> case.toml:31:1
    |
 31 | value = { columns = "v" }
    | ^^^^^
    = key: queries.c.sink.value.column
    = expected: column = "value"
    = help: is `columns` meant for it?

error: unknown key `columns`
   --> case.toml:31:11
    |
 31 | value = { columns = "v" }
    |           ^^^^^^^
    = key: queries.c.sink.value.columns
    = expected: `column`
    = help: did you mean `column`?

error: `subject` has no effect: values are not Avro
   --> case.toml:32:1
    |
 32 | subject = "s"
    | ^^^^^^^
    = key: queries.c.sink.subject
    = expected: `value = "avro"`, or no `subject`

18 errors in the configuration
"##,
    );
}

#[test]
fn postgres() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
sink = { type = "postgres" }
[queries.b]
sql = "SELECT 1"
[queries.b.sink]
type = "postgres"
url = "jdbc:postgresql://dbserver/shop"
host = "dbserver"
table = "a.b.c"
mode = "update"
key = "sensor"
tls = true
ca_file = "ca.pem"
lock_timeout = 5
[queries.c]
sql = "SELECT 1"
mode = "complete"
[queries.c.sink]
type = "postgres"
host = "dbserver"
password = 5
dbtable = "x"
table = ""
mode = "overwrite"
transaction_timeout = "1s"
"##,
        r##"
error: missing key `url` in [queries.a.sink]
  --> case.toml:3:1
   |
 3 | sink = { type = "postgres" }
   | ^^^^
   = key: queries.a.sink.url
   = expected: url = "${DATABASE_URL}"

error: missing key `table` in [queries.a.sink]
  --> case.toml:3:1
   |
 3 | sink = { type = "postgres" }
   | ^^^^
   = key: queries.a.sink.table
   = expected: table = "sensor_stats"

error: this is not the address of a database
  --> case.toml:8:7
   |
 8 | url = "jdbc:postgresql://dbserver/shop"
   |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = key: queries.b.sink.url
   = expected: an address, such as "postgres://user@localhost:5432/shop"
   = help: without `jdbc:`

error: `host` is given beside `url`
  --> case.toml:9:1
   |
 9 | host = "dbserver"
   | ^^^^
   = key: queries.b.sink.host
   = expected: one of them

error: invalid value "a.b.c"
   --> case.toml:10:9
    |
 10 | table = "a.b.c"
    |         ^^^^^^^
    = key: queries.b.sink.table
    = expected: the name of a table, such as "sensor_stats" or "iot.sensor_stats"

error: invalid value "update"
   --> case.toml:11:8
    |
 11 | mode = "update"
    |        ^^^^^^^^
    = key: queries.b.sink.mode
    = expected: `append` or `upsert`
    = help: write "upsert": rows replace those of the same key

error: invalid value true
   --> case.toml:13:7
    |
 13 | tls = true
    |       ^^^^
    = key: queries.b.sink.tls
    = expected: `disable`, `prefer`, `require` or `verify`
    = help: write "verify", or "require" for a certificate that nobody signed

error: `ca_file` has no effect: certificates are not checked
   --> case.toml:14:1
    |
 14 | ca_file = "ca.pem"
    | ^^^^^^^
    = key: queries.b.sink.ca_file
    = expected: `tls = "verify"`, or no `ca_file`

error: invalid value 5
   --> case.toml:15:16
    |
 15 | lock_timeout = 5
    |                ^
    = key: queries.b.sink.lock_timeout
    = expected: a duration, such as "10s", "500ms", "2 minutes" or "1h30m"
    = help: add a unit: "5s" or "5ms"

error: missing key `user` in [queries.c.sink]
   --> case.toml:19:12
    |
 19 | [queries.c.sink]
    |            ^^^^
    = key: queries.c.sink.user
    = expected: user = "millpond"

error: missing key `database` in [queries.c.sink]
   --> case.toml:19:12
    |
 19 | [queries.c.sink]
    |            ^^^^
    = key: queries.c.sink.database
    = expected: database = "shop"

error: an integer is not valid here
   --> case.toml:22:12
    |
 22 | password = ***
    |            ^^^
    = key: queries.c.sink.password
    = expected: a password

error: unknown key `dbtable`
   --> case.toml:23:1
    |
 23 | dbtable = "x"
    | ^^^^^^^
    = key: queries.c.sink.dbtable
    = expected: `type`, `name`, `url`, `host`, `port`, `user`, `password`, `database`, `table`, `mode`, `key`, `create_table`, `tls`, `ca_file`, `connect_timeout` or `lock_timeout`
    = help: write `table = "…"`

error: this string is empty
   --> case.toml:24:9
    |
 24 | table = ""
    |         ^^
    = key: queries.c.sink.table
    = expected: the name of a table, such as "sensor_stats" or "iot.sensor_stats"

error: invalid value "overwrite"
   --> case.toml:25:8
    |
 25 | mode = "overwrite"
    |        ^^^^^^^^^^^
    = key: queries.c.sink.mode
    = expected: `append` or `upsert`
    = help: that is what the query's mode `complete` does

error: unknown key `transaction_timeout`
   --> case.toml:26:1
    |
 26 | transaction_timeout = "1s"
    | ^^^^^^^^^^^^^^^^^^^
    = key: queries.c.sink.transaction_timeout
    = expected: `type`, `name`, `url`, `host`, `port`, `user`, `password`, `database`, `table`, `mode`, `key`, `create_table`, `tls`, `ca_file`, `connect_timeout` or `lock_timeout`
    = help: `transaction_timeout` is a key of type `kafka`

16 errors in the configuration
"##,
    );
}

#[test]
fn addresses_of_databases_are_not_shown() {
    rejects(
        r##"
[queries.a]
sql = "SELECT 1"
sink = { type = "postgres", url = "postgres://me:hunter2@db/shop?sslmode=require", table = "t", tls = "require" }
[queries.b]
sql = "SELECT 1"
sink = { type = "postgres", url = "postgres://me:hunter2@:x/shop", table = "t" }
[queries.c]
sql = "SELECT 1"
sink = { type = "postgres", url = "host=db password=hunter2", table = "t" }
[queries.d]
sql = "SELECT 1"
sink = { type = "postgres", url = "user=me dbname=x", table = "t" }
[queries.e]
sql = "SELECT 1"
sink = { type = "delta", path = "postgres://me:hunter2@db/shop" }
"##,
        r##"
error: this is not the address of a database
  --> case.toml:3:35
   |
 3 | sink = { type = "postgres", url = ***, table = "t", tls = "require" }
   |                                   ^^^
   = key: queries.a.sink.url
   = expected: an address, such as "postgres://user@localhost:5432/shop"
   = help: it has an `sslmode`, which is what `tls` beside it says

error: this is not the address of a database
  --> case.toml:6:35
   |
 6 | sink = { type = "postgres", url = ***, table = "t" }
   |                                   ^^^
   = key: queries.b.sink.url
   = expected: an address, such as "postgres://user@localhost:5432/shop"
   = help: it is not one that PostgreSQL's clients can read

error: this is not the address of a database
  --> case.toml:9:35
   |
 9 | sink = { type = "postgres", url = ***, table = "t" }
   |                                   ^^^
   = key: queries.c.sink.url
   = expected: an address, such as "postgres://user@localhost:5432/shop"
   = help: it names no database

error: this is not the address of a database
   --> case.toml:12:35
    |
 12 | sink = { type = "postgres", url = "user=me dbname=x", table = "t" }
    |                                   ^^^^^^^^^^^^^^^^^^
    = key: queries.d.sink.url
    = expected: an address, such as "postgres://user@localhost:5432/shop"
    = help: it names no host

error: invalid value ***
   --> case.toml:15:33
    |
 15 | sink = { type = "delta", path = *** }
    |                                 ^^^
    = key: queries.e.sink.path
    = expected: a directory, relative to the working directory or absolute, or the address of a table in an object store, such as s3://bucket/tables/bronze
    = help: tables are at local paths, file://, s3://, s3a://, az://, abfs://, abfss://, adl://, azure://, gs://

5 errors in the configuration
"##,
    );
}
