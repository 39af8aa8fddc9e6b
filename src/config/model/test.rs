//! `[[tests]]`: tests of a pipeline, in its configuration.

use serde::{Serialize, Serializer};

use super::super::diagnostics::Location;
use super::super::units::serialize_some_micros;

/// One row as a test writes it: column to value, in the order of the file. A column that is left
/// out is NULL. Dates and times are texts, NaN and infinities are Spark's (`NaN`, `-Infinity`).
pub type TestRow = serde_json::Map<String, serde_json::Value>;

/// `[[tests]]`: given these events, a query gives these rows.
#[derive(Clone, Debug, Serialize)]
pub struct TestSettings {
    /// Unique among tests.
    pub name: String,
    /// Whose rows are looked at; it exists.
    pub query: String,
    /// `[[tests.tables]]`: what static tables hold, instead of what is at their `path`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TestTable>,
    /// `[[tests.batches]]`: each is one epoch; one at least.
    pub batches: Vec<TestBatch>,
    /// `[[tests.expect]]`: one at least, in the order of the file, no two
    /// after the same batch.
    pub expect: Vec<TestExpectation>,
    /// Its place among the tests, from 0: its key path is `tests.<index>`.
    #[serde(skip)]
    pub index: usize,
    #[serde(skip)]
    pub location: Location,
}

#[derive(Clone, Debug, Serialize)]
pub struct TestTable {
    /// A static table; it exists.
    pub table: String,
    pub rows: Vec<TestRow>,
    #[serde(skip)]
    pub location: Location,
}

/// What arrives in one epoch.
#[derive(Clone, Debug, Serialize)]
pub struct TestBatch {
    /// The wall clock, microseconds UTC; never before that of an earlier batch. Absent: one
    /// interval after the batch before; of the first batch, 2000-01-01T00:00:00Z.
    #[serde(serialize_with = "serialize_some_micros", skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// `[[tests.batches.input]]`; none: only time goes on.
    pub input: Vec<TestInput>,
    #[serde(skip)]
    pub location: Location,
}

#[derive(Clone, Debug, Serialize)]
pub struct TestInput {
    /// A source; it exists.
    pub source: String,
    #[serde(flatten)]
    pub records: TestRecords,
    #[serde(skip)]
    pub location: Location,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestRecords {
    /// By the source's columns, metadata columns included; not through its format.
    Rows(Vec<TestRow>),
    /// Payloads, through the source's format.
    Lines(Vec<String>),
}

/// What a query is to give.
#[derive(Clone, Debug, Serialize)]
pub struct TestExpectation {
    /// Default: the last batch.
    pub after: After,
    /// The rows of this trigger alone; absent: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<TestRow>>,
    /// The columns that are compared; none: all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Whether the order of the rows counts. Default false.
    pub ordered: bool,
    /// How many rows were late, in this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
    /// How many records were dead letters, in this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    #[serde(skip)]
    pub location: Location,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// The trigger of this batch, from 1.
    Batch(usize),
    /// `after = "end"`: what comes when all sources have ended, and the watermark is at infinity.
    End,
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Batch(batch) => serializer.serialize_u64(*batch as u64),
            Self::End => serializer.serialize_str("end"),
        }
    }
}
