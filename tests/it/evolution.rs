//! Tables whose columns change: what a wider, a narrower and another stream does to a table that is
//! there, as other readers see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, millpond};
use crate::support::tables::ask;
use crate::support::{Dir, millis, secs, wait_until};

/// A pipeline of one query whose columns change from run to run.
struct Shop {
    dir: Dir,
    files: std::cell::Cell<u32>,
}

/// How a run is configured.
#[derive(Clone, Copy)]
struct Run<'a> {
    schema: &'a str,
    sql: &'a str,
    mode: &'a str,
    sink: &'a str,
}

const NARROW: Run<'_> = Run {
    schema: "id STRING, price INT",
    sql: "SELECT id, price FROM sales",
    mode: "append",
    sink: "",
};
const WIDE: Run<'_> = Run {
    schema: "id STRING, price INT, country STRING",
    sql: "SELECT id, price, country FROM sales",
    mode: "append",
    sink: "evolve = 'add'",
};
/// Rows replace others by key; the group's state is the same whatever is made of it.
const MERGED: Run<'_> = Run {
    schema: "id STRING, price INT",
    sql: "SELECT id, max(price) AS price FROM sales GROUP BY id",
    mode: "update",
    sink: "",
};
const MERGED_WIDE: Run<'_> = Run {
    sql: "SELECT id, max(price) AS price, upper(id) AS label FROM sales GROUP BY id",
    sink: "evolve = 'add'",
    ..MERGED
};

impl Shop {
    fn new() -> Self {
        let dir = Dir::new();
        fs::create_dir_all(dir.path().join("input")).expect("a directory");
        Self { dir, files: std::cell::Cell::new(0) }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn table(&self) -> PathBuf {
        self.data().join("silver")
    }

    fn put(&self, rows: &[Value]) {
        let number = self.files.replace(self.files.get() + 1);
        let path = self.dir.path().join(format!("input/{number:03}.json"));
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(path, lines.join("\n") + "\n").expect("a file");
    }

    fn start(&self, run: Run<'_>, failpoints: &str) -> Daemon {
        let Run { schema, sql, mode, sink } = run;
        let (dir, data) = (self.dir.path().display(), self.data().display().to_string());
        let config = self.dir.path().join("shop.toml");
        let text = format!(
            "name = 'shop'\ndata_dir = '{data}'\n\n\
             [sources.sales]\ntype = 'files'\npath = '{dir}/input/*.json'\nsettle = '0s'\n\
             format = {{ type = 'json' }}\nschema = '{schema}'\n\n\
             [queries.silver]\nmode = '{mode}'\nsql = '{sql}'\n\n\
             [queries.silver.sink]\ntype = 'delta'\npath = '{data}/silver'\n{sink}\n"
        );
        fs::write(&config, text).expect("a file");
        let mut command = millpond();
        command.arg("run").arg(&config).args(["--available-now", "--set", "server.enabled=false"]);
        if !failpoints.is_empty() {
            command.env("MILLPOND_FAILPOINTS", failpoints);
        }
        Daemon::spawn(command, self.dir.path())
    }

    fn run(&self, run: Run<'_>) {
        self.start(run, "").finish(secs(60));
    }

    /// The log of a run that must not start.
    fn refused(&self, run: Run<'_>) -> String {
        let mut daemon = self.start(run, "");
        let code = daemon.wait_exit(secs(60));
        assert_eq!(code, 1, "{}", daemon.log());
        daemon.log()
    }

    fn rows(&self, columns: &str) -> Value {
        let sql = format!("SELECT {columns} FROM silver ORDER BY ALL");
        ask(&self.data(), &["silver"], &[("rows", &sql)])["rows"].clone()
    }

    /// Holds a run at a fail point until `reached`, then kills it.
    fn killed(&self, run: Run<'_>, point: &str, reached: impl Fn() -> bool) {
        let mut daemon = self.start(run, &format!("{point}=sleep(60000)"));
        wait_until("the fail point to hold it up", secs(40), reached);
        // Whatever else would go on meanwhile has had the time to.
        thread::sleep(millis(300));
        daemon.kill();
    }
}

fn versions(table: &Path) -> usize {
    let log = fs::read_dir(table.join("_delta_log"));
    let names = log.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".json")).count()
}

fn parquet_files(table: &Path) -> usize {
    let entries = fs::read_dir(table).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|e| e.path().extension().is_some_and(|kind| kind == "parquet")).count()
}

#[test]
fn new_columns_reach_an_appended_table_where_that_is_allowed() {
    let shop = Shop::new();
    shop.put(&[json!({"id": "a", "price": 1})]);
    shop.run(NARROW);
    shop.put(&[json!({"id": "b", "price": 2, "country": "FR"})]);
    let log = shop.refused(Run { sink: "", ..WIDE });
    for words in ["country", "STRING", "not in the table", "silver", "evolve = "] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    shop.run(WIDE);
    assert_eq!(shop.rows("id, price, country"), json!([["a", 1, null], ["b", 2, "FR"]]));
    // A stream that has fewer columns again: the table keeps its own, and they are NULL.
    shop.put(&[json!({"id": "c", "price": 3, "country": "DE"})]);
    let log = shop.refused(NARROW);
    assert!(log.contains("missing from the rows"), "{log}");
    shop.run(Run { sink: "evolve = 'add'", ..NARROW });
    let all = json!([["a", 1, null], ["b", 2, "FR"], ["c", 3, null]]);
    assert_eq!(shop.rows("id, price, country"), all);
}

#[test]
fn new_columns_reach_a_merged_and_a_replaced_table() {
    for mode in ["update", "complete"] {
        let shop = Shop::new();
        shop.put(&[json!({"id": "a", "price": 1}), json!({"id": "b", "price": 1})]);
        shop.run(Run { mode, ..MERGED });
        shop.put(&[json!({"id": "b", "price": 5}), json!({"id": "c", "price": 2})]);
        let log = shop.refused(Run { mode, sink: "", ..MERGED_WIDE });
        assert!(log.contains("label") && log.contains("evolve = "), "{log}");
        shop.run(Run { mode, ..MERGED_WIDE });
        let of_a = if mode == "complete" { json!("A") } else { Value::Null };
        let all = json!([["a", 1, of_a], ["b", 5, "B"], ["c", 2, "C"]]);
        assert_eq!(shop.rows("id, price, label"), all, "{mode}");
        shop.put(&[json!({"id": "d", "price": 4}), json!({"id": "c", "price": 6})]);
        shop.run(Run { mode, sink: "evolve = 'add'", ..MERGED });
        // A merge sets the columns that it has.
        let (of_b, of_c) = match mode {
            "complete" => (Value::Null, Value::Null),
            _ => (json!("B"), json!("C")),
        };
        let all = json!([["a", 1, null], ["b", 5, of_b], ["c", 6, of_c], ["d", 4, null]]);
        assert_eq!(shop.rows("id, price, label"), all, "{mode}");
    }
}

#[test]
fn a_narrower_type_is_written_in_the_tables() {
    let large = 3_000_000_000_i64;
    let wide = "id STRING, price BIGINT";
    // What a group holds is the same; only what is shown of it is narrower.
    let cast = "SELECT id, CAST(max(price) AS INT) AS price FROM sales GROUP BY id";
    for (first, second) in [
        (Run { schema: wide, ..NARROW }, NARROW),
        (Run { schema: wide, ..MERGED }, Run { schema: wide, sql: cast, ..MERGED }),
    ] {
        let shop = Shop::new();
        shop.put(&[json!({"id": "a", "price": large})]);
        shop.run(first);
        shop.put(&[json!({"id": "b", "price": 2})]);
        shop.run(second);
        let all = json!([["a", large, "BIGINT"], ["b", 2, "BIGINT"]]);
        assert_eq!(shop.rows("id, price, typeof(price)"), all, "{}", second.mode);
    }
}

#[test]
fn another_type_is_refused_or_put_aside() {
    let shop = Shop::new();
    shop.put(&[json!({"id": "a", "price": 1})]);
    shop.run(NARROW);
    shop.put(&[
        json!({"id": "b", "price": "2"}),
        json!({"id": "c", "price": "two"}),
        json!({"id": "d", "price": null}),
    ]);
    let text = Run { schema: "id STRING, price STRING", ..NARROW };
    let log = shop.refused(text);
    for words in ["price", "the table has INT", "the rows have STRING", "on_type_change"] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    shop.run(Run { sink: "on_type_change = 'dead_letter'", ..text });
    assert_eq!(shop.rows("id, price"), json!([["a", 1], ["b", 2], ["d", null]]));
    let letters = ask(
        &shop.data(),
        &["dead_letters"],
        &[(
            "letters",
            "SELECT source, query, \"offset\" & 1023, reason, decode(payload) FROM dead_letters",
        )],
    );
    assert_eq!(
        letters["letters"],
        json!([["sales", "silver", 1, "type_change", "{\"id\":\"c\",\"price\":\"two\"}"]])
    );
}

/// Between the metadata's commit and the rows', and between an epoch's rows and the columns that
/// came with the next configuration.
#[test]
fn a_kill_between_new_columns_and_their_rows_loses_nothing() {
    let rows = "id, price, country";
    let shop = Shop::new();
    shop.put(&[json!({"id": "a", "price": 1})]);
    shop.run(NARROW);
    shop.put(&[json!({"id": "b", "price": 2, "country": "FR"})]);
    let before = versions(&shop.table());
    shop.killed(WIDE, "lake::evolved", || versions(&shop.table()) > before);
    assert_eq!(shop.rows(rows), json!([["a", 1, null]]), "the table is there, one column wider");
    shop.run(WIDE);
    assert_eq!(shop.rows(rows), json!([["a", 1, null], ["b", 2, "FR"]]));

    // Files that were made for the narrow table, promised in the checkpoint, and not committed.
    let shop = Shop::new();
    shop.put(&[json!({"id": "a", "price": 1})]);
    shop.killed(NARROW, "delta_committer_commit", || {
        parquet_files(&shop.table()) > 0 && versions(&shop.table()) > 0
    });
    shop.put(&[json!({"id": "b", "price": 2, "country": "FR"})]);
    shop.run(WIDE);
    assert_eq!(shop.rows(rows), json!([["a", 1, null], ["b", 2, "FR"]]));

    // The same of rows that are staged.
    let staged = |shop: &Shop| {
        let mut waiting = vec![shop.data()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
                match entry.path() {
                    path if path.is_dir() => waiting.push(path),
                    path if path.extension().is_some_and(|kind| kind == "rows") => return true,
                    _ => {}
                }
            }
        }
        false
    };
    let shop = Shop::new();
    shop.put(&[json!({"id": "a", "price": 1})]);
    shop.killed(MERGED, "staged::commit", || staged(&shop));
    shop.put(&[json!({"id": "b", "price": 2})]);
    shop.run(MERGED_WIDE);
    assert_eq!(shop.rows("id, price, label"), json!([["a", 1, null], ["b", 2, "B"]]));
}
