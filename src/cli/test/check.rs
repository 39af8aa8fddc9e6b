//! One test: its batches run through the pipeline, what came held against what was expected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use crate::actors::Blueprint;
use crate::actors::partition_reader::Decoding;
use crate::codec::{CsvHeader, FormatSpec};
use crate::config::{
    After, ConfigError, Settings, TestExpectation, TestInput, TestRecords, TestSettings,
};
use crate::event_time::WatermarkOptions;
use crate::sql::OnViolation;
use crate::trial::{
    Arrival, Comparison, Outcome, Pipeline, RowError, TrialError, TrialSource, TrialWatermark,
    rows_of,
};

/// 2000-01-01T00:00:00Z, when the first batch comes if nothing else is said.
const FIRST: i64 = 946_684_800_000_000;

/// What a test came to.
pub(super) struct TestResult {
    pub(super) name: String,
    pub(super) query: String,
    pub(super) took: Duration,
    /// None: it passed.
    pub(super) failures: Vec<Failure>,
}

/// What was not as expected after one batch.
pub(super) struct Failure {
    /// Where the expectation stands.
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) after: After,
    /// Unless the rows were as expected.
    pub(super) rows: Option<Comparison>,
    /// What is counted, how many were expected, how many there were.
    pub(super) counts: Vec<(&'static str, u64, u64)>,
    /// What else happened in the batch that may explain it.
    pub(super) notes: Vec<String>,
}

/// Runs a test.
///
/// # Errors
/// The test itself is wrong: a row is none of its source's, a column is none of the query's. Or
/// the pipeline fails on what the test gives it.
pub(super) fn check(blueprint: &Blueprint, test: &TestSettings) -> Result<TestResult, ConfigError> {
    let began = Instant::now();
    let settings = &blueprint.settings;
    let failed = |error: String| settings.error_at_test(test, &["query"], error, None);
    let found = blueprint.queries.iter().position(|query| *query.name == *test.query);
    let query = found.ok_or_else(|| failed(format!("there is no query '{}'", test.query)))?;
    fill_tables(blueprint, test)?;
    let mut pipeline = pipeline(blueprint).map_err(|error| failed(error.to_string()))?;
    let step = i64::try_from(settings.checkpoint.interval.as_micros()).unwrap_or(i64::MAX);
    let mut now: Option<i64> = None;
    let mut failures = Vec::new();
    for (index, batch) in test.batches.iter().enumerate() {
        let next = now.map_or(FIRST, |now| now.saturating_add(step));
        let at = batch.at.unwrap_or(next);
        now = Some(at);
        let arrivals: Vec<_> =
            batch.input.iter().filter_map(|input| arrival(blueprint, input)).collect();
        let outcome = pipeline
            .batch(at, &arrivals)
            .map_err(|error| batch_error(settings, test, index, &error))?;
        let after = After::Batch(index + 1);
        failures.extend(compare(blueprint, test, query, after, &outcome)?);
    }
    if test.expect.iter().any(|expected| expected.after == After::End) {
        let at = now.map_or(FIRST, |now| now.saturating_add(step));
        let outcome = pipeline.end(at).map_err(|error| failed(error.to_string()))?;
        failures.extend(compare(blueprint, test, query, After::End, &outcome)?);
    }
    Ok(TestResult {
        name: test.name.clone(),
        query: test.query.clone(),
        took: began.elapsed(),
        failures,
    })
}

/// A pipeline of one shard, with the sources' decoders.
fn pipeline(blueprint: &Blueprint) -> Result<Pipeline, TrialError> {
    let mut sources = Vec::new();
    for source in &blueprint.sources {
        let decoder = match source.decoding()? {
            Decoding::Records(decoder) => Some(*decoder),
            Decoding::Columns(_) => None,
        };
        let header = matches!(&source.format, Some(FormatSpec::Csv(csv))
            if csv.header != CsvHeader::None);
        let watermark = source.watermark.as_ref().map(|watermark| TrialWatermark {
            column: watermark.column.clone(),
            options: WatermarkOptions {
                delay_us: watermark.delay_us,
                idle_timeout_ms: watermark.idle_timeout_ms,
                advance_when_idle: watermark.wall_clock,
            },
        });
        sources.push(TrialSource {
            schema: source.schema.clone(),
            projection: source.projection.clone(),
            decoder,
            record_bytes: source.limits.record_bytes,
            header,
            watermark,
        });
    }
    Pipeline::new(blueprint.graph.clone(), sources, 1)
}

fn arrival<'a>(blueprint: &Blueprint, input: &'a TestInput) -> Option<(usize, Arrival<'a>)> {
    let source = blueprint.sources.iter().position(|source| *source.name == *input.source)?;
    Some((
        source,
        match &input.records {
            TestRecords::Rows(rows) => Arrival::Rows(rows),
            TestRecords::Lines(lines) => Arrival::Lines(lines),
        },
    ))
}

fn batch_error(
    settings: &Settings,
    test: &TestSettings,
    batch: usize,
    error: &TrialError,
) -> ConfigError {
    let batch = batch.to_string();
    let at = |input: &usize, key: Option<&str>, message: String, help: Option<String>| {
        let input = input.to_string();
        let mut path = vec!["batches", &batch, "input", &input];
        path.extend(key);
        settings.error_at_test(test, &path, message, help)
    };
    match error {
        TrialError::Row { arrival, error } => {
            at(arrival, Some("rows"), error.to_string(), error.help.clone())
        }
        TrialError::NoFormat { arrival } => {
            let help = "write `rows`".to_owned();
            at(arrival, Some("lines"), error.to_string(), Some(help))
        }
        TrialError::Decode { arrival, error } => {
            at(arrival, Some("lines"), error.to_string(), None)
        }
        TrialError::Graph(_) | TrialError::Sql(_) | TrialError::Codec(_) => {
            settings.error_at_test(test, &["batches", &batch], error.to_string(), None)
        }
    }
}

fn compare(
    blueprint: &Blueprint,
    test: &TestSettings,
    query: usize,
    after: After,
    outcome: &Outcome,
) -> Result<Option<Failure>, ConfigError> {
    let found = test.expect.iter().enumerate().find(|(_, expected)| expected.after == after);
    let Some((index, expected)) = found else { return Ok(None) };
    let rows = match &expected.rows {
        None => None,
        Some(rows) => {
            let at = index.to_string();
            let wrong = |key: &str, message: String, help: Option<String>| {
                blueprint.settings.error_at_test(test, &["expect", &at, key], message, help)
            };
            let schema = compared_columns(&blueprint.queries[query].plan.output_schema, expected)
                .map_err(|(message, help)| wrong("columns", message, Some(help)))?;
            let rows = rows_of(rows, &schema)
                .map_err(|error: RowError| wrong("rows", error.to_string(), error.help))?;
            let compared = Comparison::new(&rows, &outcome.output[query], expected.ordered)
                .map_err(|error| wrong("rows", error.to_string(), None))?;
            (!compared.is_equal()).then_some(compared)
        }
    };
    let dropped = outcome.dropped[query];
    let rejected: usize = outcome.rejected.iter().map(|(_, rows)| rows.rules.len()).sum();
    let dead = (outcome.dead_letters.len() + rejected) as u64;
    let counted =
        [("late rows", expected.late, dropped.late), ("dead letters", expected.dead_letters, dead)];
    let counts: Vec<_> = counted
        .into_iter()
        .filter_map(|(what, wanted, got)| Some((what, wanted?, got)))
        .filter(|(_, wanted, got)| wanted != got)
        .collect();
    if rows.is_none() && counts.is_empty() {
        return Ok(None);
    }
    let mut notes = Vec::new();
    if expected.late.is_none() && dropped.late > 0 {
        notes.push(format!("{} came too late", rows_in_words(dropped.late)));
    }
    if dropped.null_time > 0 {
        notes.push(format!("{} had no event time", rows_in_words(dropped.null_time)));
    }
    for (source, letter) in &outcome.dead_letters {
        let source = &blueprint.sources[*source].name;
        notes.push(format!("dead letter of {source}, {}: {}", letter.reason, letter.error));
    }
    for (query, rejected) in &outcome.rejected {
        let query = &blueprint.queries[*query].name;
        for (rule, error) in rejected.rules.iter().zip(&rejected.errors) {
            notes.push(format!("dead letter of query {query}, {rule}: {error}"));
        }
    }
    for (query, tallies) in outcome.checked.iter().enumerate() {
        let query = &blueprint.queries[query];
        for (rule, tally) in query.plan.expectations.iter().zip(tallies) {
            // Dead letters are told one by one.
            if tally.violated > 0 && rule.on_violation != OnViolation::DeadLetter {
                notes.push(format!(
                    "{} of {} violated {}: {}",
                    rows_in_words(tally.violated),
                    query.name,
                    rule.name,
                    rule.on_violation.outcome()
                ));
            }
        }
    }
    let (file, line) = (expected.location.file().to_owned(), expected.location.line());
    Ok(Some(Failure { file, line, after, rows, counts, notes }))
}

fn rows_in_words(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// The columns that are compared, as the query has them.
fn compared_columns(
    output: &SchemaRef,
    expected: &TestExpectation,
) -> Result<SchemaRef, (String, String)> {
    if expected.columns.is_empty() {
        return Ok(output.clone());
    }
    let mut indexes = Vec::new();
    for name in &expected.columns {
        indexes.push(output.index_of(name).map_err(|_| {
            let names = output.fields().iter().map(|field| field.name().as_str());
            let help = crate::sql::suggestion(name, names, "columns");
            (format!("the query has no column '{name}'"), help)
        })?);
    }
    let projected = output.project(&indexes);
    projected.map(Arc::new).map_err(|error| (error.to_string(), String::new()))
}

/// What static tables hold in this test: what it says, and otherwise nothing.
fn fill_tables(blueprint: &Blueprint, test: &TestSettings) -> Result<(), ConfigError> {
    let joined = || blueprint.queries.iter().flat_map(|query| query.plan.static_tables());
    for table in joined() {
        // No rows are of any schema.
        let _ = table.replace(Vec::new());
    }
    for (index, given) in test.tables.iter().enumerate() {
        let at = index.to_string();
        let wrong = |key: &str, message: String, help: Option<String>| {
            let path = ["tables", &at, key];
            blueprint.settings.error_at_test(test, &path, message, help)
        };
        // One that no query joins needs no rows.
        for table in joined().filter(|table| table.name() == given.table) {
            let rows = rows_of(&given.rows, &table.schema())
                .map_err(|error| wrong("rows", error.to_string(), error.help))?;
            table.replace(vec![rows]).map_err(|error| wrong("rows", error.to_string(), None))?;
        }
    }
    Ok(())
}
