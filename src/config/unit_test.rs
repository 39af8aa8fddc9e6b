//! `[[tests]]`: reading them.

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{
    After, TestBatch, TestExpectation, TestInput, TestRecords, TestRow, TestSettings, TestTable,
};
use super::section::Section;
use super::values::as_json;

/// Only what has errors is left out.
pub(crate) fn read(root: &Section<'_>) -> Vec<TestSettings> {
    let mut tests: Vec<TestSettings> = Vec::new();
    for (index, section) in root.items("tests").iter().enumerate() {
        let Some(test) = test(section, index) else { continue };
        if tests.iter().any(|other| other.name == test.name) {
            let error = ConfigError::new(format!("another test is called \"{}\"", test.name))
                .expected("a name for each test");
            section.report("name", &section.location("name"), error);
        }
        tests.push(test);
    }
    tests
}

fn test(section: &Section<'_>, index: usize) -> Option<TestSettings> {
    let name = section.required("name", "what is tested", "\"a late event is dropped\"");
    let query = section.required("query", "the name of a query", "\"bronze\"");
    let tables: Option<Vec<TestTable>> = section.items("tables").iter().map(table).collect();
    if !section.has("batches") {
        section.missing("batches", "[{ input = [{ source = \"logs\", rows = [{ … }] }] }]");
    }
    let batches = section.items("batches");
    let mut clock = None;
    let batches: Option<Vec<TestBatch>> = batches
        .iter()
        .map(|section| batch(section, &mut clock))
        // All of them, for all of their errors.
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    let count = match section.entry("batches").map(|entry| &entry.node.value) {
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    if !section.has("expect") {
        section.missing("expect", "[{ after = 1, rows = [{ … }] }]");
    }
    let expectations = section.items("expect");
    let expect: Option<Vec<TestExpectation>> = expectations
        .iter()
        .map(|section| expectation(section, count))
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    for (key, empty) in [
        ("batches", batches.as_ref().is_some_and(Vec::is_empty)),
        ("expect", expect.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty
            && let Some(entry) = section.entry(key)
            && matches!(&entry.node.value, Value::Array(_))
        {
            let error = ConfigError::new("this array is empty").expected("one table or more");
            section.report(key, &entry.node.at, error);
        }
    }
    section.finish();
    let expect = expect?;
    for (n, section) in expectations.iter().enumerate() {
        if expect[..n].iter().any(|other| other.after == expect[n].after) {
            let shown = match expect[n].after {
                After::Batch(batch) => format!("batch {batch}"),
                After::End => "the end".to_owned(),
            };
            let error = ConfigError::new(format!("what is expected after {shown} is given twice"))
                .expected("one [[tests.expect]] for each batch at most");
            section.report("after", &section.location("after"), error);
        }
    }
    Some(TestSettings {
        name: name?.text.to_owned(),
        query: query?.text.to_owned(),
        tables: tables?,
        batches: batches?,
        expect,
        index,
        location: section.header.clone(),
    })
}

fn table(section: &Section<'_>) -> Option<TestTable> {
    let table = section.required("table", "the name of a static table", "\"products\"");
    if !section.has("rows") {
        section.missing("rows", "[{ … }]");
    }
    let rows = rows(section, "rows");
    section.finish();
    let location = section.header.clone();
    Some(TestTable { table: table?.text.to_owned(), rows: rows?, location })
}

/// `clock`: the wall clock of the batch before, as far as it is given.
fn batch(section: &Section<'_>, clock: &mut Option<i64>) -> Option<TestBatch> {
    let at = section.time("at");
    if let (Some(at), Some(before)) = (at, *clock)
        && at < before
    {
        let error = ConfigError::new("this is before the batch before")
            .expected("times that do not go back");
        section.report("at", &section.location("at"), error);
    }
    *clock = at.or(*clock);
    let inputs = section.items("input");
    let input: Option<Vec<TestInput>> =
        inputs.iter().map(input).collect::<Vec<_>>().into_iter().collect();
    section.finish();
    Some(TestBatch { at, input: input?, location: section.header.clone() })
}

fn input(section: &Section<'_>) -> Option<TestInput> {
    const LINE: &str = "text, as one record holds it";
    let source = section.required("source", "the name of a source", "\"logs\"");
    let keys = [("rows", "[{ … }]"), ("lines", "[\"…\"]")];
    let records = match section.one_of(&keys) {
        Some("rows") => rows(section, "rows").map(TestRecords::Rows),
        Some(_) => Some(TestRecords::Lines(lines(section, LINE))),
        None => None,
    };
    section.finish();
    let location = section.header.clone();
    Some(TestInput { source: source?.text.to_owned(), records: records?, location })
}

/// Strings, of which any may be empty.
fn lines(section: &Section<'_>, expected: &str) -> Vec<String> {
    let Some(entry) = section.entry("lines") else { return Vec::new() };
    match &entry.node.value {
        Value::Array(items) => items
            .iter()
            .filter_map(|item| section.as_string("lines", item, expected))
            .map(|found| found.text.to_owned())
            .collect(),
        Value::String(_) => {
            // A block of text: what stands on its lines.
            let found = section.as_string("lines", &entry.node, expected);
            found.map_or(vec![], |found| found.text.lines().map(str::to_owned).collect())
        }
        _ => {
            let expected = "an array of strings, or one of many lines";
            section.reject("lines", &entry.node, expected, None);
            Vec::new()
        }
    }
}

/// Tables of columns and values.
fn rows(section: &Section<'_>, key: &'static str) -> Option<Vec<TestRow>> {
    const ROW: &str = "a row, such as { ip = \"10.0.0.1\", requests = 3 }";
    let node = &section.entry(key)?.node;
    let Value::Array(items) = &node.value else {
        section.reject(key, node, "an array of rows: [{ ip = \"10.0.0.1\", requests = 3 }]", None);
        return None;
    };
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        if item.as_table().is_none() {
            section.reject(key, item, ROW, None);
            continue;
        }
        if let Some(serde_json::Value::Object(row)) = as_json(section, key, item) {
            rows.push(row);
        }
    }
    (rows.len() == items.len()).then_some(rows)
}

fn expectation(section: &Section<'_>, batches: usize) -> Option<TestExpectation> {
    let after = after(section, batches);
    let has_rows = section.has("rows");
    let rows = rows(section, "rows");
    let columns = section.some_columns("columns", "names of columns of the query");
    let ordered = section.boolean("ordered", false);
    let late = section.integer("late", 0, u64::MAX);
    let dead_letters = section.integer("dead_letters", 0, u64::MAX);
    if !has_rows {
        section.forbid(&["columns", "ordered"], "has no effect without `rows`", "`rows` beside it");
    } else if let Some(rows) = &rows
        && !columns.is_empty()
        && let Some(other) = rows.iter().flat_map(|row| row.keys()).find(|k| !columns.contains(k))
    {
        let error = ConfigError::new(format!("`{other}` is expected in `rows`, but not compared"))
            .expected("every column of `rows` among `columns`");
        section.report("columns", &section.location("columns"), error);
    }
    if !has_rows && !section.has("late") && !section.has("dead_letters") {
        section.missing("rows", "[{ … }]");
    }
    section.finish();
    let after = after?;
    if has_rows && rows.is_none() {
        return None;
    }
    let location = section.header.clone();
    Some(TestExpectation { after, rows, columns, ordered, late, dead_letters, location })
}

fn after(section: &Section<'_>, batches: usize) -> Option<After> {
    let Some(entry) = section.entry("after") else { return Some(After::Batch(batches.max(1))) };
    let expected = match batches {
        0 | 1 => "1 (there is one batch) or \"end\"".to_owned(),
        _ => format!("the number of a batch, 1 to {batches}, or \"end\""),
    };
    match &entry.node.value {
        Value::Integer(number) => match usize::try_from(*number) {
            Ok(batch) if (1..=batches.max(1)).contains(&batch) => return Some(After::Batch(batch)),
            _ => section.reject("after", &entry.node, &expected, None),
        },
        _ => {
            let end = [("end", After::End)];
            return section.choose_of("after", &entry.node, &end, &[], &expected);
        }
    }
    None
}
