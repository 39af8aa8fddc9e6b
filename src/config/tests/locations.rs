//! Errors of other rooms at their places in the file.

use super::super::Settings;
use super::{assert_text, no_variables, over_base, variables};

fn read(case: &str) -> Settings {
    over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The place that is shown for the first `x` of the query's SQL.
fn place_of_x(case: &str) -> String {
    let settings = read(case);
    let query = &settings.queries[0];
    let at = query.sql.find('x').expect("each case has an x");
    let line = query.sql[..at].matches('\n').count() + 1;
    let column = query.sql[..at].chars().rev().take_while(|c| *c != '\n').count() + 1;
    let error = settings.error_at_sql(query, line, column, "here", None);
    let report = error.to_string();
    // The caret is under the x in every case.
    let lines: Vec<&str> = report.lines().collect();
    let caret = lines[4].chars().position(|c| c == '^').expect("a caret");
    assert_eq!(lines[3].chars().nth(caret), Some('x'), "{report}");
    error.location.map_or(String::new(), |location| location.to_string())
}

#[test]
fn sql_in_every_kind_of_string() {
    for (case, place) in [
        ("[queries.bronze]\nsql = \"SELECT x\"", "case.toml:2:15"),
        ("[queries.bronze]\nsql = 'SELECT x'", "case.toml:2:15"),
        ("[queries.bronze]\nsql = \"SELECT \\\"é\\\" \\u00e9 x\"", "case.toml:2:28"),
        ("[queries.bronze]\nsql = '''\nSELECT\n  è, x\n'''", "case.toml:4:6"),
        ("[queries.bronze]\nsql = '''SELECT\n  x'''", "case.toml:3:3"),
        ("[queries.bronze]\nsql = \"\"\"\nSELECT \\\n   \n  x\"\"\"", "case.toml:5:3"),
        ("[queries.bronze]\nsql = \"\"\"\nSELECT \\t \\U0001F600 x\"\"\"", "case.toml:3:22"),
        ("[queries.bronze]\r\nsql = '''\r\nSELECT\r\n  x\r\n'''\r\n", "case.toml:4:3"),
        ("queries.bronze.sql = 'SELECT $${a} x'", "case.toml:1:36"),
    ] {
        assert_eq!(place_of_x(case), place, "{case}");
    }
}

#[test]
fn sql_with_interpolated_parts() {
    let environment = variables(&[("COLUMNS", "a very long text\nof two lines")]);
    let settings = over_base("[queries.bronze]\nsql = 'SELECT ${COLUMNS}, x'", &environment)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let query = &settings.queries[0];
    let place = |line, column| {
        let location = settings.error_at_sql(query, line, column, "here", None).location;
        location.map_or(String::new(), |location| location.to_string())
    };
    assert_eq!(place(1, 1), "case.toml:2:8");
    assert_eq!(place(1, 12), "case.toml:2:15");
    assert_eq!(place(2, 1), "case.toml:2:15");
    assert_eq!(place(2, 15), "case.toml:2:27");
    // Beyond the end: the end.
    assert_eq!(place(2, 99), "case.toml:2:28");
    assert_eq!(place(9, 9), "case.toml:2:28");
    assert_eq!(place(0, 0), "case.toml:2:8");
}

#[test]
fn columns_of_a_source() {
    let settings = read("[sources.logs]\nschema = [\n  \"a INT\",\n  \"b INTT\",\n]");
    let source = &settings.sources[0];
    let offset =
        source.schema_text.as_ref().and_then(|text| text.find("INTT")).expect("it is in the text");
    let help = Some("did you mean `INT`?".to_owned());
    assert_eq!(
        settings.error_at_schema(source, offset, "unknown type `INTT`", help).to_string(),
        r##"error: unknown type `INTT`
  --> case.toml:4:6
   |
 4 |   "b INTT",
   |      ^
   = key: sources.logs.schema
   = help: did you mean `INT`?
"##
    );
}

#[test]
fn any_key() {
    let settings = read("[sources.logs.watermark]\ncolumn = \"ts\"");
    let place = |path: &[&str]| {
        let location = settings.error_at(path, "here", None).location;
        location.map_or(String::new(), |location| location.to_string())
    };
    assert_eq!(place(&["sources", "logs", "watermark", "column"]), "case.toml:2:10");
    // Keys that are left out: the table they would be in.
    assert_eq!(place(&["sources", "logs", "watermark", "wall_clock"]), "base.toml:11:15");
    assert_eq!(place(&["sources", "logs", "topics", "0"]), "base.toml:8:11");
    assert_eq!(place(&["memory", "in_flight"]), "base.toml:1:1");
    assert_eq!(place(&[]), "base.toml:1:1");
    let error = settings.error_at_sink(&settings.queries[0], 0, "partition_by", "here", None);
    assert_eq!(error.location.map_or(0, |location| location.line()), 18);
}

#[test]
fn parameters_of_detectors() {
    let settings =
        read("[detectors.a]\nkind = \"spike\"\nquery = \"bronze\"\nvalue = \"n\"\nthreshhold = 3");
    let detector = &settings.detectors[0];
    let help = Some("did you mean `threshold`?".to_owned());
    assert_text(
        &[
            settings.error_at_detector(detector, Some("kind"), "unknown kind", None),
            settings.error_at_detector(detector, Some("threshhold"), "too small", None),
            settings.error_at_key(&["detectors", "a", "threshhold"], "unknown parameter", help),
            settings.error_at_detector(detector, Some("weight"), "this kind needs a weight", None),
            settings.error_at_key(&["detectors", "a", "weight"], "this kind needs a weight", None),
            settings.error_at_detector(detector, None, "no such window", None),
        ]
        .map(|error| error.to_string())
        .join("\n"),
        r##"
error: unknown kind
  --> case.toml:2:8
   |
 2 | kind = "spike"
   |        ^^^^^^^
   = key: detectors.a.kind

error: too small
  --> case.toml:5:14
   |
 5 | threshhold = 3
   |              ^
   = key: detectors.a.threshhold

error: unknown parameter
  --> case.toml:5:1
   |
 5 | threshhold = 3
   | ^^^^^^^^^^
   = key: detectors.a.threshhold
   = help: did you mean `threshold`?

error: this kind needs a weight
  --> case.toml:1:12
   |
 1 | [detectors.a]
   |            ^
   = key: detectors.a.weight

error: this kind needs a weight
  --> case.toml:1:12
   |
 1 | [detectors.a]
   |            ^
   = key: detectors.a.weight

error: no such window
  --> case.toml:1:12
   |
 1 | [detectors.a]
   |            ^
   = key: detectors.a

"##,
    );
}
