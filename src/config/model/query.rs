//! `[queries.NAME]`: the streaming queries.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::diagnostics::Location;
use super::super::text::TextLocation;
use super::super::units::{format_duration, serialize_duration};
use super::sink::SinkSettings;

/// `[queries.NAME]`: one streaming query and where its rows go.
#[derive(Clone, Debug, Serialize)]
pub struct QuerySettings {
    pub name: String,
    pub sql: String,
    /// Where `sql` stands: for [`Settings::error_at_sql`](super::Settings).
    #[serde(skip)]
    pub sql_location: TextLocation,
    pub mode: OutputMode,
    /// A trigger of the query's own. Planning refuses it so far: all queries of a pipeline have the
    /// pipeline's.
    #[serde(serialize_with = "serialize_some_duration", skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Duration>,
    /// Which of the rows that the SQL gives are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_duplicates: Option<DropDuplicates>,
    /// State of which no watermark says when it may go is dropped when nothing has touched it for
    /// this long.
    #[serde(serialize_with = "serialize_some_duration", skip_serializing_if = "Option::is_none")]
    pub state_ttl: Option<Duration>,
    /// `[queries.NAME.expect]`: what has to be true of each row, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<ExpectationSettings>,
    /// May be empty if another query or a detector reads this one.
    pub sinks: Vec<QuerySink>,
    #[serde(skip)]
    pub location: Location,
}

/// A quality rule on a query's rows.
#[derive(Clone, Debug, Serialize)]
pub struct ExpectationSettings {
    /// Unique in the query; the reason of its dead letters.
    pub name: String,
    /// A condition on the columns of the query's output. FALSE and NULL violate it.
    pub that: String,
    /// Where `that` stands: for [`Settings::error_at_expectation`](super::Settings).
    #[serde(skip)]
    pub that_location: TextLocation,
    pub on_violation: ViolationAction,
    #[serde(skip)]
    pub location: Location,
}

/// `on_violation`: what becomes of rows that violate a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationAction {
    /// They are kept and counted. The default, as in Databricks.
    #[default]
    Warn,
    /// They are left out and counted.
    Drop,
    /// They go to the dead letters.
    DeadLetter,
    /// The pipeline stops, before anything of the epoch is committed.
    Fail,
}

/// One of a query's sinks.
#[derive(Clone, Debug, Serialize)]
pub struct QuerySink {
    /// Names the sink in metrics, checkpoints and transactions, and is unique in the pipeline:
    /// the query's name, or `QUERY.NAME` with the `name` given to the sink (default: its type)
    /// for all but the first sink without one. Query names hold no dot.
    pub name: String,
    #[serde(flatten)]
    pub settings: SinkSettings,
    #[serde(skip)]
    pub location: Location,
}

/// Which rows go out, and when. As in Spark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// A row is written once, when it can no longer change.
    Append,
    /// At each trigger the rows that are new or have changed since the last.
    Update,
    /// At each trigger all rows.
    Complete,
}

impl OutputMode {
    /// As `mode` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Update => "update",
            Self::Complete => "complete",
        }
    }
}

/// `drop_duplicates`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropDuplicates {
    /// What makes rows equal; none: all columns.
    pub columns: Vec<String>,
    #[serde(flatten)]
    pub within: DropWithin,
}

/// For how long a row is remembered, so that its duplicates are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropWithin {
    /// `within = "watermark"`: until the watermark passes it.
    Watermark,
    /// `clock = "event"`: until the watermark is this much past it.
    EventTime(Duration),
    /// `clock = "wall"`: for this long after it came.
    WallClock(Duration),
}

impl Serialize for DropWithin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let (within, clock) = match self {
            Self::Watermark => ("watermark".to_owned(), "event"),
            Self::EventTime(duration) => (format_duration(*duration), "event"),
            Self::WallClock(duration) => (format_duration(*duration), "wall"),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("within", &within)?;
        map.serialize_entry("clock", clock)?;
        map.end()
    }
}

fn serialize_some_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}
