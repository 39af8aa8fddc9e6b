//! Errors in schema registries, and in files that formats name.

use super::super::Environment;
use super::{assert_report, over_base, rejects};

#[test]
fn registries() {
    rejects(
        r##"
[sources.logs.format]
type = "avro"
[sources.logs.format.registry]
url = "http://me:hunter2@localhost:8081"
username = "me"
timeout = "1ms"
[sources.a]
type = "kafka"
brokers = "b"
topics = "a"
schema = "a INT"
[sources.a.format]
type = "avro"
[sources.a.format.registry]
url = "ftp://localhost"
token = "hunter2"
password = "hunter2"
[sources.b]
type = "kafka"
brokers = "b"
topics = "b"
schema = "a INT"
[sources.b.format]
type = "json_schema"
[sources.b.format.registry]
url = "https://localhost?x=1"
password = 5
"##,
        r##"
error: this address has a user in it
  --> case.toml:4:7
   |
 4 | url = ***
   |       ^^^
   = key: sources.logs.format.registry.url
   = expected: an address, such as "http://localhost:8081"
   = help: write `username` and `password` beside it: those are not shown

error: `username` is given without `password`
  --> case.toml:5:12
   |
 5 | username = "me"
   |            ^^^^
   = key: sources.logs.format.registry.username
   = expected: both of them, or none

error: invalid value "1ms"
  --> case.toml:6:11
   |
 6 | timeout = "1ms"
   |           ^^^^^
   = key: sources.logs.format.registry.timeout
   = expected: a duration from 100ms to 10m

error: invalid value "ftp://localhost"
   --> case.toml:15:7
    |
 15 | url = "ftp://localhost"
    |       ^^^^^^^^^^^^^^^^^
    = key: sources.a.format.registry.url
    = expected: an address, such as "http://localhost:8081"
    = help: begin with `http://` or `https://`

error: `password` is given beside `token`
   --> case.toml:17:1
    |
 17 | password = ***
    | ^^^^^^^^
    = key: sources.a.format.registry.password
    = expected: one of them

error: invalid value "https://localhost?x=1"
   --> case.toml:26:7
    |
 26 | url = "https://localhost?x=1"
    |       ^^^^^^^^^^^^^^^^^^^^^^^
    = key: sources.b.format.registry.url
    = expected: an address, such as "http://localhost:8081"

error: an integer is not valid here
   --> case.toml:27:12
    |
 27 | password = ***
    |            ^^^
    = key: sources.b.format.registry.password
    = expected: a password

error: `password` is given without `username`
   --> case.toml:27:12
    |
 27 | password = ***
    |            ^^^
    = key: sources.b.format.registry.password
    = expected: both of them, or none

8 errors in the configuration
"##,
    );
}

#[test]
fn files_that_are_not_there() {
    let case = r##"[sources.logs.format]
type = "avro"
registry = { url = "https://localhost", ca_file = "/no/such/ca.pem" }
[sources.a]
type = "kafka"
brokers = "b"
topics = "a"
schema = "a INT"
format = { type = "avro", schema_file = "/no/such/file.avsc" }
"##;
    assert_report(
        over_base(case, &Environment::Real),
        r##"
error: the file that `ca_file` names: No such file or directory (os error 2)
  --> case.toml:3:51
   |
 3 | registry = { url = "https://localhost", ca_file = "/no/such/ca.pem" }
   |                                                   ^^^^^^^^^^^^^^^^^
   = key: sources.logs.format.registry.ca_file
   = expected: the path of a file that this process can read

error: the file that `schema_file` names: No such file or directory (os error 2)
  --> case.toml:9:41
   |
 9 | format = { type = "avro", schema_file = "/no/such/file.avsc" }
   |                                         ^^^^^^^^^^^^^^^^^^^^
   = key: sources.a.format.schema_file
   = expected: the path of a file that this process can read

2 errors in the configuration
"##,
    );
}
