//! Errors in what `[sources.NAME]` says about Kafka.

use super::rejects;

#[test]
fn topics_that_cannot_be() {
    rejects(
        r##"
[sources.logs]
topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
"##,
        r##"
error: invalid value "a b"
  --> case.toml:2:11
   |
 2 | topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
   |           ^^^^^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`

error: invalid value "^web-.*"
  --> case.toml:2:18
   |
 2 | topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
   |                  ^^^^^^^^^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`
   = help: write a pattern as `topic_pattern`

error: invalid value "a,b"
  --> case.toml:2:29
   |
 2 | topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
   |                             ^^^^^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`
   = help: write an array: ["a", "b"]

error: topic "x" is listed twice
  --> case.toml:2:41
   |
 2 | topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
   |                                         ^^^
   = key: sources.logs.topics
   = expected: each topic once

error: invalid value 3
  --> case.toml:2:46
   |
 2 | topics = ["a b", "^web-.*", "a,b", "x", "x", 3]
   |                                              ^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`

5 errors in the configuration
"##,
    );
}

#[test]
fn no_topics() {
    rejects(
        r##"
[sources.logs]
topics = []
"##,
        r##"
error: this array is empty
  --> case.toml:2:10
   |
 2 | topics = []
   |          ^^
   = key: sources.logs.topics
   = expected: names of topics: letters, digits, `.`, `_` and `-`

1 error in the configuration
"##,
    );
}

#[test]
fn brokers_that_cannot_be() {
    rejects(
        r##"
[sources.logs]
brokers = "localhost:port"
"##,
        r##"
error: invalid value "localhost:port"
  --> case.toml:2:11
   |
 2 | brokers = "localhost:port"
   |           ^^^^^^^^^^^^^^^^
   = key: sources.logs.brokers
   = expected: addresses of brokers, such as "kafka-1:9092,kafka-2:9092"

1 error in the configuration
"##,
    );
}

#[test]
fn start() {
    rejects(
        r##"
[sources.logs]
start = "earlist"
"##,
        r##"
error: invalid value "earlist"
  --> case.toml:2:9
   |
 2 | start = "earlist"
   |         ^^^^^^^^^
   = key: sources.logs.start
   = expected: `earliest`, `latest`, { timestamp = "2026-11-21T10:00:00Z" } or { offsets = { "web-logs-0" = 12 } }
   = help: did you mean `earliest`?

1 error in the configuration
"##,
    );
}

#[test]
fn options_that_millpond_owns() {
    rejects(
        r##"
[sources.logs.options]
"enable.auto.commit" = true
"group.id" = "x"
bootstrap.servers = "b:9092"
"auto.offset.reset" = "latest"
"##,
        r##"
error: `enable.auto.commit` is not an option: positions move with the epoch that holds their rows, or rows would be lost or repeated
  --> case.toml:2:1
   |
 2 | "enable.auto.commit" = true
   | ^^^^^^^^^^^^^^^^^^^^
   = key: sources.logs.options."enable.auto.commit"
   = expected: options that Millpond does not set itself
   = help: leave it out

error: `group.id` is not an option: it is the source's own key
  --> case.toml:3:1
   |
 3 | "group.id" = "x"
   | ^^^^^^^^^^
   = key: sources.logs.options."group.id"
   = expected: options that Millpond does not set itself
   = help: write `group_id`

error: `bootstrap.servers` is not an option: it is the source's own key
  --> case.toml:4:11
   |
 4 | bootstrap.servers = "b:9092"
   |           ^^^^^^^
   = key: sources.logs.options."bootstrap.servers"
   = expected: options that Millpond does not set itself
   = help: write `brokers`

error: `auto.offset.reset` is not an option: it is the source's own key
  --> case.toml:5:1
   |
 5 | "auto.offset.reset" = "latest"
   | ^^^^^^^^^^^^^^^^^^^
   = key: sources.logs.options."auto.offset.reset"
   = expected: options that Millpond does not set itself
   = help: write `start`

4 errors in the configuration
"##,
    );
}

#[test]
fn options_with_sparks_prefix() {
    rejects(
        r##"
[sources.logs.options]
"kafka.security.protocol" = "SSL"
"kafka.group.id" = "g"
"##,
        r##"
error: unknown option `kafka.security.protocol`
  --> case.toml:2:1
   |
 2 | "kafka.security.protocol" = ***
   | ^^^^^^^^^^^^^^^^^^^^^^^^^
   = key: sources.logs.options."kafka.security.protocol"
   = expected: a name that librdkafka knows
   = help: without Spark's prefix: `security.protocol`

error: `kafka.group.id` is not an option: it is the source's own key
  --> case.toml:3:1
   |
 3 | "kafka.group.id" = ***
   | ^^^^^^^^^^^^^^^^
   = key: sources.logs.options."kafka.group.id"
   = expected: options that Millpond does not set itself
   = help: write `group_id`

2 errors in the configuration
"##,
    );
}

#[test]
fn unknown_options() {
    rejects(
        r##"
[sources.logs.options]
"sasl.pasword" = "x"
"sasl.jaas.config" = "y"
"security.protocol" = "tls"
"fetch.min.bytes" = [1]
"##,
        r##"
error: unknown option `sasl.pasword`
  --> case.toml:2:1
   |
 2 | "sasl.pasword" = ***
   | ^^^^^^^^^^^^^^
   = key: sources.logs.options."sasl.pasword"
   = expected: a name that librdkafka knows
   = help: did you mean `sasl.password`?

error: librdkafka refuses the value of `sasl.jaas.config`
  --> case.toml:3:22
   |
 3 | "sasl.jaas.config" = ***
   |                      ^^^
   = key: sources.logs.options."sasl.jaas.config"
   = expected: a value as librdkafka's CONFIGURATION.md has it
   = help: librdkafka has `sasl.username` and `sasl.password` instead

error: librdkafka refuses `security.protocol`: Invalid value "tls" for configuration property "security.protocol"
  --> case.toml:4:23
   |
 4 | "security.protocol" = "tls"
   |                       ^^^^^
   = key: sources.logs.options."security.protocol"
   = expected: a value as librdkafka's CONFIGURATION.md has it

error: an array is not the value of an option
  --> case.toml:5:21
   |
 5 | "fetch.min.bytes" = [1]
   |                     ^^^
   = key: sources.logs.options."fetch.min.bytes"
   = expected: a string, a number, true or false
   = help: librdkafka's lists are strings with commas: "a,b"

4 errors in the configuration
"##,
    );
}

#[test]
fn options_out_of_range() {
    rejects(
        r##"
[sources.logs.options]
"fetch.min.bytes" = 0
"##,
        r##"
error: librdkafka refuses `fetch.min.bytes`: Configuration property "fetch.min.bytes" value 0 is outside allowed range 1..100000000
  --> case.toml:2:21
   |
 2 | "fetch.min.bytes" = 0
   |                     ^
   = key: sources.logs.options."fetch.min.bytes"
   = expected: a value as librdkafka's CONFIGURATION.md has it

1 error in the configuration
"##,
    );
}

#[test]
fn one_topic_twice_in_a_group() {
    rejects(
        r##"
[sources.again]
type = "kafka"
brokers = "localhost:9092"
topics = ["web-logs"]
schema = "a INT"
"##,
        r##"
error: source `logs` reads topic `web-logs` in the same consumer group
  --> case.toml:4:10
   |
 4 | topics = ["web-logs"]
   |          ^^^^^^^^^^^^
   = key: sources.again.topics
   = expected: each topic once in a consumer group
   = help: each would get some of the partitions only: let one source read the topic for all queries, or set another `group_id`

1 error in the configuration
"##,
    );
}

#[test]
fn patterns_of_topics() {
    rejects(
        r##"
[sources.logs]
topic_pattern = "web-.*"
[sources.a]
type = "kafka"
brokers = "b"
topic_pattern = "web-(\\d+"
schema = "a INT"
[sources.b]
type = "kafka"
brokers = "c"
topic_pattern = "^web-\\d+$"
schema = "a INT"
[sources.c]
type = "kafka"
brokers = "d"
topic_pattern = "*"
schema = "a INT"
[sources.d]
type = "kafka"
brokers = "localhost:9092"
topic_pattern = ".*"
schema = "a INT"
"##,
        r##"
error: `topic_pattern` is given beside `topics`
  --> case.toml:2:1
   |
 2 | topic_pattern = "web-.*"
   | ^^^^^^^^^^^^^
   = key: sources.logs.topic_pattern
   = expected: one of them

error: invalid value "web-(\\d+"
  --> case.toml:6:17
   |
 6 | topic_pattern = "web-(\\d+"
   |                 ^^^^^^^^^^^
   = key: sources.a.topic_pattern
   = expected: a regular expression, such as "web-[a-z]+"

error: invalid value "^web-\\d+$"
   --> case.toml:11:17
    |
 11 | topic_pattern = "^web-\\d+$"
    |                 ^^^^^^^^^^^^
    = key: sources.b.topic_pattern
    = expected: a regular expression, such as "web-[a-z]+"
    = help: write `[0-9]`: patterns are POSIX's extended regular expressions

error: invalid value "*"
   --> case.toml:16:17
    |
 16 | topic_pattern = "*"
    |                 ^^^
    = key: sources.c.topic_pattern
    = expected: a regular expression, such as "web-[a-z]+"
    = help: write ".*" for all topics

error: source `logs` reads other topics in the same consumer group
   --> case.toml:21:17
    |
 21 | topic_pattern = ".*"
    |                 ^^^^
    = key: sources.d.topic_pattern
    = expected: each topic once in a consumer group
    = help: each would get some of the partitions only: let one source read the topic for all queries, or set another `group_id`

5 errors in the configuration
"##,
    );
}

#[test]
fn where_to_start() {
    rejects(
        r##"
[sources.logs.start]
timestamp = "2026-13-01"
[sources.a]
type = "kafka"
brokers = "b"
topics = ["orders", "x-1"]
schema = "a INT"
[sources.a.start.offsets]
"orders-0" = 5
"orders-1" = "lattest"
"order-0" = 1
"orders" = 1
"x-1-0" = -3
"x-1--1" = 0
[sources.b]
type = "kafka"
brokers = "c"
topics = "b"
schema = "a INT"
start = { offset = { "b-0" = 1 } }
[sources.c]
type = "kafka"
brokers = "d"
topics = "c"
schema = "a INT"
start = { offsets = {} }
"##,
        r##"
error: invalid value "2026-13-01"
  --> case.toml:2:13
   |
 2 | timestamp = "2026-13-01"
   |             ^^^^^^^^^^^^
   = key: sources.logs.start.timestamp
   = expected: a time, such as "2026-11-21T10:00:00Z" or "2026-11-21 10:00:00" (UTC)

error: invalid value "lattest"
   --> case.toml:10:14
    |
 10 | "orders-1" = "lattest"
    |              ^^^^^^^^^
    = key: sources.a.start.offsets.orders-1
    = expected: an offset of 0 or more, `earliest` or `latest`
    = help: did you mean `latest`?

error: topic `order` is not among the `topics`
   --> case.toml:11:1
    |
 11 | "order-0" = 1
    | ^^^^^^^^^
    = key: sources.a.start.offsets.order-0
    = expected: `orders` or `x-1`
    = help: did you mean `orders`?

error: `orders` is not a partition
   --> case.toml:12:1
    |
 12 | "orders" = 1
    | ^^^^^^^^
    = key: sources.a.start.offsets.orders
    = expected: a topic and a partition, such as "web-logs-0"

error: invalid value -3
   --> case.toml:13:11
    |
 13 | "x-1-0" = -3
    |           ^^
    = key: sources.a.start.offsets.x-1-0
    = expected: an offset of 0 or more, `earliest` or `latest`

error: topic `x-1-` is not among the `topics`
   --> case.toml:14:1
    |
 14 | "x-1--1" = 0
    | ^^^^^^^^
    = key: sources.a.start.offsets.x-1--1
    = expected: `orders` or `x-1`
    = help: did you mean `x-1`?

error: missing key `timestamp` or `offsets` in [sources.b.start]
   --> case.toml:20:1
    |
 20 | start = { offset = { "b-0" = 1 } }
    | ^^^^^
    = key: sources.b.start.timestamp
    = expected: timestamp = "2026-11-21T10:00:00Z"
                or offsets = { "web-logs-0" = 12 }

error: unknown key `offset`
   --> case.toml:20:11
    |
 20 | start = { offset = { "b-0" = 1 } }
    |           ^^^^^^
    = key: sources.b.start.offset
    = expected: `timestamp` or `offsets`
    = help: did you mean `offsets`?

error: no offset is given
   --> case.toml:26:11
    |
 26 | start = { offsets = {} }
    |           ^^^^^^^
    = key: sources.c.start.offsets
    = expected: every partition of every topic, as in { "web-logs-0" = 12 }

9 errors in the configuration
"##,
    );
}
