//! Errors in `[[tests]]`.

use super::rejects;

#[test]
fn a_test_without_anything() {
    rejects(
        r##"
[[tests]]
"##,
        r##"
error: missing key `name` in [[tests]]
  --> case.toml:1:1
   |
 1 | [[tests]]
   | ^^^^^^^^^
   = key: tests.name
   = expected: name = "a late event is dropped"

error: missing key `query` in [[tests]]
  --> case.toml:1:1
   |
 1 | [[tests]]
   | ^^^^^^^^^
   = key: tests.query
   = expected: query = "bronze"

error: missing key `batches` in [[tests]]
  --> case.toml:1:1
   |
 1 | [[tests]]
   | ^^^^^^^^^
   = key: tests.batches
   = expected: batches = [{ input = [{ source = "logs", rows = [{ … }] }] }]

error: missing key `expect` in [[tests]]
  --> case.toml:1:1
   |
 1 | [[tests]]
   | ^^^^^^^^^
   = key: tests.expect
   = expected: expect = [{ after = 1, rows = [{ … }] }]

4 errors in the configuration
"##,
    );
}

#[test]
fn tests_that_are_no_array() {
    rejects(
        r##"
[tests]
name = "x"
"##,
        r##"
error: a table is not valid here
  --> case.toml:1:1
   |
 1 | [tests]
   | ^^^^^^^
   = key: tests
   = expected: an array of tables: [[tests]]

1 error in the configuration
"##,
    );
}

#[test]
fn names_that_are_not_there() {
    rejects(
        r##"
[[tests]]
name = "a"
query = "bronz"
[[tests.tables]]
table = "logs"
rows = []
[[tests.batches]]
[[tests.batches.input]]
source = "log"
rows = []
[[tests.expect]]
rows = []
[[tests]]
name = "a"
query = "logs"
batches = [{}]
expect = [{ late = 0 }]
"##,
        r##"
error: there is no query `bronz`
  --> case.toml:3:9
   |
 3 | query = "bronz"
   |         ^^^^^^^
   = key: tests.0.query
   = expected: `bronze`
   = help: did you mean `bronze`?

error: there is no table `logs`
  --> case.toml:5:9
   |
 5 | table = "logs"
   |         ^^^^^^
   = key: tests.0.tables.0.table
   = expected: a table, which [tables.NAME] would define
   = help: [sources.logs] is none

error: there is no source `log`
  --> case.toml:9:10
   |
 9 | source = "log"
   |          ^^^^^
   = key: tests.0.batches.0.input.0.source
   = expected: `logs`
   = help: did you mean `logs`?

error: another test is called "a"
   --> case.toml:14:8
    |
 14 | name = "a"
    |        ^^^
    = key: tests.name
    = expected: a name for each test

error: there is no query `logs`
   --> case.toml:15:9
    |
 15 | query = "logs"
    |         ^^^^^^
    = key: tests.1.query
    = expected: `bronze`
    = help: [sources.logs] is none

5 errors in the configuration
"##,
    );
}

#[test]
fn batches() {
    rejects(
        r##"
[[tests]]
name = "a"
query = "bronze"
[[tests.batches]]
at = "2026-01-01T00:00:10Z"
[[tests.batches.input]]
source = "logs"
[[tests.batches.input]]
source = "logs"
rows = [{}]
lines = ["x"]
[[tests.batches]]
at = 2026-01-01T00:00:00Z
[[tests.batches.input]]
source = "logs"
rows = { a = 1 }
[[tests.batches.input]]
source = "logs"
rows = [1, { a = 1 }]
[[tests.batches.input]]
source = "logs"
lines = ["x", 1]
[[tests.batches.input]]
source = "logs"
lines = 1
[[tests.batches]]
at = "noon"
imput = []
[[tests.expect]]
rows = []
"##,
        r##"
error: missing key `rows` or `lines` in [[tests.batches.input]]
  --> case.toml:6:1
   |
 6 | [[tests.batches.input]]
   | ^^^^^^^^^^^^^^^^^^^^^^^
   = key: tests.batches.input.rows
   = expected: rows = [{ … }]
               or lines = ["…"]

error: both `rows` and `lines` are given
   --> case.toml:11:1
    |
 11 | lines = ["x"]
    | ^^^^^
    = key: tests.batches.input.lines
    = expected: one of them

error: this is before the batch before
   --> case.toml:13:6
    |
 13 | at = 2026-01-01T00:00:00Z
    |      ^^^^^^^^^^^^^^^^^^^^
    = key: tests.batches.at
    = expected: times that do not go back

error: a table is not valid here
   --> case.toml:16:8
    |
 16 | rows = { a = 1 }
    |        ^^^^^^^^^
    = key: tests.batches.input.rows
    = expected: an array of rows: [{ ip = "10.0.0.1", requests = 3 }]

error: invalid value 1
   --> case.toml:19:9
    |
 19 | rows = [1, { a = 1 }]
    |         ^
    = key: tests.batches.input.rows
    = expected: a row, such as { ip = "10.0.0.1", requests = 3 }

error: invalid value 1
   --> case.toml:22:15
    |
 22 | lines = ["x", 1]
    |               ^
    = key: tests.batches.input.lines
    = expected: text, as one record holds it

error: invalid value 1
   --> case.toml:25:9
    |
 25 | lines = 1
    |         ^
    = key: tests.batches.input.lines
    = expected: an array of strings, or one of many lines

error: invalid value "noon"
   --> case.toml:27:6
    |
 27 | at = "noon"
    |      ^^^^^^
    = key: tests.batches.at
    = expected: a time, such as "2026-11-21T10:00:00Z" or "2026-11-21 10:00:00" (UTC)

error: unknown key `imput`
   --> case.toml:28:1
    |
 28 | imput = []
    | ^^^^^
    = key: tests.batches.imput
    = expected: `at` or `input`
    = help: did you mean `input`?

9 errors in the configuration
"##,
    );
}

#[test]
fn expectations() {
    rejects(
        r##"
[[tests]]
name = "a"
query = "bronze"
batches = [{}, {}]
[[tests.expect]]
after = 3
rows = []
[[tests.expect]]
after = "ende"
late = 0
[[tests.expect]]
after = 0
late = -1
[[tests.expect]]
[[tests.expect]]
after = 1
ordered = true
late = 1
[[tests.expect]]
after = 1
columns = ["a"]
rows = [{ a = 1, b = 2 }]
"##,
        r##"
error: invalid value 3
  --> case.toml:6:9
   |
 6 | after = 3
   |         ^
   = key: tests.expect.after
   = expected: the number of a batch, 1 to 2, or "end"

error: invalid value "ende"
  --> case.toml:9:9
   |
 9 | after = "ende"
   |         ^^^^^^
   = key: tests.expect.after
   = expected: the number of a batch, 1 to 2, or "end"
   = help: did you mean `end`?

error: invalid value 0
   --> case.toml:12:9
    |
 12 | after = 0
    |         ^
    = key: tests.expect.after
    = expected: the number of a batch, 1 to 2, or "end"

error: invalid value -1
   --> case.toml:13:8
    |
 13 | late = -1
    |        ^^
    = key: tests.expect.late
    = expected: a whole number, 0 or more

error: missing key `rows` in [[tests.expect]]
   --> case.toml:14:1
    |
 14 | [[tests.expect]]
    | ^^^^^^^^^^^^^^^^
    = key: tests.expect.rows
    = expected: rows = [{ … }]

error: `ordered` has no effect without `rows`
   --> case.toml:17:1
    |
 17 | ordered = true
    | ^^^^^^^
    = key: tests.expect.ordered
    = expected: `rows` beside it

error: `b` is expected in `rows`, but not compared
   --> case.toml:21:11
    |
 21 | columns = ["a"]
    |           ^^^^^
    = key: tests.expect.columns
    = expected: every column of `rows` among `columns`

7 errors in the configuration
"##,
    );
    rejects(
        r##"
[[tests]]
name = "a"
query = "bronze"
batches = []
expect = []
[[tests]]
name = "b"
query = "bronze"
batches = [{}]
expect = [{ after = 1, late = 0 }, { late = 0 }]
"##,
        r##"
error: this array is empty
  --> case.toml:4:11
   |
 4 | batches = []
   |           ^^
   = key: tests.batches
   = expected: one table or more

error: this array is empty
  --> case.toml:5:10
   |
 5 | expect = []
   |          ^^
   = key: tests.expect
   = expected: one table or more

error: what is expected after batch 1 is given twice
   --> case.toml:10:36
    |
 10 | expect = [{ after = 1, late = 0 }, { late = 0 }]
    |                                    ^^^^^^^^^^^^
    = key: tests.expect.after
    = expected: one [[tests.expect]] for each batch at most

3 errors in the configuration
"##,
    );
}
