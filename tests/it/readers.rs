//! Four readers, one answer: tables of every type and after every operation.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::support::daemon::{Daemon, millpond};
use crate::support::readers::Agreement;
use crate::support::{Dir, secs};

const FILES: u64 = 14;
const ROWS: u64 = 280;

/// Every type that a table can have, with NULL in each column, and values at the ends of their
/// ranges; texts and partitions with all that has to be escaped in a path or in JSON.
fn input(dir: &Path) -> PathBuf {
    let input = dir.join("input");
    std::fs::create_dir_all(&input).expect("a directory of input");
    let regions = ["north", "a b/c=d%25", "Zürich ☂", "quote\"and\\back", "x:y?z#w", "__HIVE__"];
    for file in 0..FILES {
        let mut lines = String::new();
        for id in (ROWS * file / FILES)..(ROWS * (file + 1) / FILES) {
            let given = |name: &str, every: u64, value: String| {
                if id % every == every - 1 {
                    format!(", \"{name}\": null")
                } else {
                    format!(", \"{name}\": {value}")
                }
            };
            let row = [
                given("region", 7, serde_json::json!(regions[(id % 6) as usize]).to_string()),
                given("day", 11, format!("\"20{:02}-0{}-1{}\"", 24 + id % 3, 1 + id % 9, id % 10)),
                given("tiny", 5, ((id % 256) as i64 - 128).to_string()),
                given("small", 6, (-(id as i64) * 111).to_string()),
                given("normal", 7, (id * 1_000_003 % 2_147_483_647).to_string()),
                given("large", 8, if id % 2 == 0 { i64::MIN } else { i64::MAX }.to_string()),
                given("single", 9, format!("{}.5", id)),
                given("exact", 4, format!("\"-{}.{:03}\"", 99_999_999 - id, id)),
                given("wide", 5, format!("\"{}{:020}.0001\"", id + 1, id)),
                given("ratio", 10, ["0.1", "-1e300", "3", "5e-324"][(id % 4) as usize].to_owned()),
                given("yes", 3, (id % 2 == 0).to_string()),
                given("at", 6, format!("\"1969-12-31T23:59:59.{:06}Z\"", 999_000 + id)),
                given("bytes", 7, "\"AAEC/w==\"".to_owned()),
                given(
                    "list",
                    4,
                    if id % 3 == 0 { "[]".to_owned() } else { format!("[{id}, null]") },
                ),
                given("nested", 5, format!("{{\"a\": {id}, \"b\": [\"x\", null], \"c\": null}}")),
                given("map", 6, format!("{{\"k{}\": {id}}}", id % 3)),
                given(
                    "text",
                    8,
                    serde_json::json!("é\n\t\"'\\ ".repeat((id % 9) as usize)).to_string(),
                ),
            ];
            writeln!(lines, "{{\"id\": {id}{}}}", row.concat()).expect("writing to memory");
        }
        std::fs::write(input.join(format!("{file:03}.json")), lines).expect("a file of input");
    }
    input
}

fn configuration(dir: &Path) -> PathBuf {
    let (input, data) = (input(dir), dir.join("data"));
    let text = format!(
        r#"
name = "kinds"
data_dir = "{}"

[server]
listen = "127.0.0.1:0"

[checkpoint]
interval = "100ms"

[sources.kinds]
type = "files"
path = "{}"
max_files_per_trigger = 1
settle = "0s"
schema = '''
id BIGINT NOT NULL, region STRING, day DATE, tiny TINYINT, small SMALLINT, normal INT, large BIGINT,
single FLOAT, exact DECIMAL(12, 3), wide DECIMAL(38, 4), ratio DOUBLE, yes BOOLEAN, at TIMESTAMP,
bytes BINARY, list ARRAY<INT>, nested STRUCT<a: BIGINT, b: ARRAY<STRING>, c: DATE>,
map MAP<STRING, BIGINT>, text STRING
'''

[sources.kinds.format]
type = "json"

[queries.flat]
sql = "SELECT * FROM kinds"
sink = {{ type = "delta", path = "${{data_dir}}/flat", checkpoint_interval = 4 }}

[queries.partitioned]
sql = "SELECT * FROM kinds"
[queries.partitioned.sink]
type = "delta"
path = "${{data_dir}}/partitioned"
partition_by = ["region", "day"]
compression = "zstd(3)"
checkpoint_interval = 3

[queries.typed]
# Python's deltalake cannot read a negative decimal as the value of a partition.
sql = "SELECT id, abs(exact) AS exact, yes, tiny, at, ratio, large FROM kinds"
[queries.typed.sink]
type = "delta"
path = "${{data_dir}}/typed"
partition_by = ["exact", "yes", "tiny", "at"]

[queries.cleaned]
sql = "SELECT id, region, nested FROM kinds"
[queries.cleaned.sink]
type = "delta"
path = "${{data_dir}}/cleaned"
checkpoint_interval = 2
properties = {{ "delta.logRetentionDuration" = "interval 0 seconds", "delta.enableExpiredLogCleanup" = "true" }}

[queries.merged]
sql = "SELECT region, count(*) AS many, sum(exact) AS total, max(at) AS newest FROM kinds GROUP BY region"
mode = "update"
sink = {{ type = "delta", path = "${{data_dir}}/merged", checkpoint_interval = 5 }}

[queries.replaced]
sql = "SELECT day, count(*) AS many, avg(ratio) AS ratio FROM kinds GROUP BY day"
mode = "complete"
sink = {{ type = "delta", path = "${{data_dir}}/replaced" }}
"#,
        data.display(),
        input.display(),
    );
    let path = dir.join("kinds.toml");
    std::fs::write(&path, text).expect("the configuration is written");
    path
}

#[test]
fn heavy_readers_agree_about_every_type_and_every_operation() {
    let dir = Dir::new();
    let config = configuration(dir.path());
    Daemon::available_now(&config).finish(secs(60));
    let data = dir.path().join("data");
    let about = |names: &[&str]| Agreement::below(&data, names);
    let rows = about(&["flat", "partitioned", "typed", "merged", "replaced"]).versions(4).check();
    assert_eq!(rows[..3], [ROWS, ROWS, ROWS]);
    let log = std::fs::read_dir(data.join("cleaned/_delta_log")).expect("a log");
    let first = "00000000000000000000.json";
    let there = log.flatten().any(|entry| entry.file_name() == first);
    assert!(!there, "the log was to be cleaned up");
    assert_eq!(about(&["cleaned"]).versions(0).check(), [ROWS]);

    let sql = |statement: &str| {
        let done = millpond().args(["sql", statement]).output().expect("millpond runs");
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let table = |name: &str| format!("delta.`{}`", data.join(name).display());
    sql(&format!("OPTIMIZE {}", table("partitioned")));
    sql(&format!("OPTIMIZE {} ZORDER BY (id, text)", table("flat")));
    sql(&format!("OPTIMIZE {}", table("merged")));
    let rows = about(&["partitioned", "flat", "merged"]).versions(3).check();
    assert_eq!(rows[..2], [ROWS, ROWS]);
    sql(&format!("RESTORE TABLE {} TO VERSION AS OF 3", table("flat")));
    sql(&format!("VACUUM {}", table("partitioned")));
    let rows = about(&["flat", "partitioned"]).versions(3).check();
    assert_eq!(rows[0], 3 * ROWS / FILES);
    assert_eq!(rows[1], ROWS);
}
