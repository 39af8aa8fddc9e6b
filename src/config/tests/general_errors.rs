//! Errors of syntax and of the tables that a pipeline has once.

use super::rejects;

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
   = expected: a loopback address, a `token`, or `allow_remote = true`
   = help: set `token = "${MILLPOND_TOKEN}"`; without a token everyone who reaches this address can read the tables

1 error in the configuration
"##,
    );
}

#[test]
fn a_token_that_is_too_short_and_a_host_with_a_port() {
    rejects(
        r##"
[server]
listen = "0.0.0.0:9898"
token = "hunter2"
hosts = ["pond.example.com:9898"]
[server.tls]
cert = "/no/such/file"
[server.sql]
max_rows = 0
"##,
        r##"
error: this token cannot be used
  --> case.toml:3:9
   |
 3 | token = ***
   |         ^^^
   = key: server.token
   = expected: 16 to 1024 letters, digits and signs without blanks, such as "${MILLPOND_TOKEN}"
   = help: `openssl rand -hex 32` makes a good one

error: invalid value "pond.example.com:9898"
  --> case.toml:4:10
   |
 4 | hosts = ["pond.example.com:9898"]
   |          ^^^^^^^^^^^^^^^^^^^^^^^
   = key: server.hosts
   = expected: host names without port, such as "millpond.example.com"

error: missing key `key` in [server.tls]
  --> case.toml:5:9
   |
 5 | [server.tls]
   |         ^^^
   = key: server.tls.key
   = expected: key = "/etc/millpond/tls.key"

error: invalid value 0
  --> case.toml:8:12
   |
 8 | max_rows = 0
   |            ^
   = key: server.sql.max_rows
   = expected: a whole number from 1 to 100000

4 errors in the configuration
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
