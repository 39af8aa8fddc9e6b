//! What the catalogue calls the tables of a configuration.

use super::{no_variables, over_base, rejects};
use crate::catalog::{Catalog, TableKind};

#[test]
fn every_delta_table_has_a_name() {
    let case = r#"
data_dir = "d"
[queries.bronze.sink]
table = "bronze.logs"
[queries.minutes]
sql = "SELECT 1"
[[queries.minutes.sinks]]
type = "delta"
path = "d/minutes"
[[queries.minutes.sinks]]
type = "delta"
name = "copy"
path = "d/copy"
[[queries.minutes.sinks]]
type = "console"
[detectors.spike]
kind = "traffic_spike"
query = "minutes"
value = "n"
[detectors.other]
kind = "traffic_spike"
query = "minutes"
value = "n"
[tables.products]
type = "delta"
path = "d/products"
[tables.prices]
type = "csv"
path = "prices.csv"
schema = "id INT"
[sources.feed]
type = "delta"
path = "d/minutes"
"#;
    let settings = over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"));
    let catalog = Catalog::of(&settings);
    let tables: Vec<(String, &str, TableKind, Option<&str>)> = catalog
        .tables()
        .iter()
        .map(|t| (t.name.to_string(), t.location.uri(), t.kind, t.written_by.as_deref()))
        .collect();
    let expected = [
        ("bronze.logs", "./data/bronze", TableKind::Sink, Some("query bronze")),
        ("weblogs.minutes", "d/minutes", TableKind::Sink, Some("query minutes")),
        ("weblogs.minutes_copy", "d/copy", TableKind::Sink, Some("query minutes")),
        ("weblogs.anomalies", "d/anomalies", TableKind::Anomalies, Some("detectors spike, other")),
        (
            "weblogs.dead_letters",
            "d/dead_letters",
            TableKind::DeadLetters,
            Some("unreadable records"),
        ),
        ("weblogs.products", "d/products", TableKind::Static, None),
        ("weblogs.feed", "d/minutes", TableKind::Source, None),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(name, at, kind, by)| (name.to_owned(), at, kind, by)).collect();
    assert_eq!(tables, expected);
    assert_eq!(
        catalog.resolve("logs").map(|t| t.location.uri().to_owned()).as_deref(),
        Ok("./data/bronze")
    );
}

#[test]
fn a_name_is_one_tables_and_is_a_name() {
    rejects(
        r#"
[queries.bronze.sink]
table = "web logs"
"#,
        r#"
error: invalid value "web logs"
  --> case.toml:2:9
   |
 2 | table = "web logs"
   |         ^^^^^^^^^^
   = key: queries.bronze.sink.table
   = expected: `schema.table` or `table`, each of letters, digits and `_`, not beginning with a digit, at most 128

1 error in the configuration
"#,
    );
    rejects(
        r#"
[queries.bronze.sink]
table = "x.y"
[dead_letters]
table = "X.Y"
"#,
        r#"
error: another table is called `X.Y`
  --> case.toml:4:9
   |
 4 | table = "X.Y"
   |         ^^^^^
   = key: dead_letters.table
   = expected: a `table` of its own: SQL finds tables by their names

1 error in the configuration
"#,
    );
}
