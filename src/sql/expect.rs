//! Quality rules on a query's output: what has to be true of a row, and what becomes of one that
//! violates it. The words are those of the expectations of Delta Live Tables.
//!
//! A rule holds where its condition is TRUE. FALSE and NULL violate it, as with a CHECK constraint
//! of a Delta table: a rule that nobody can decide has not been met. (`price > 0 OR price IS NULL`
//! lets rows without a price through.)
//!
//! Rules are evaluated a batch at a time on the rows of the query's output, before sinks, detectors
//! and other queries see them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::chain::StepKind;
use super::{
    BoundMap, Catalog, FeedPlan, QueryPlan, QueryRequest, SourceTable, SqlError, Target, plan,
};

/// What becomes of rows that violate a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnViolation {
    /// They are kept and counted.
    Warn,
    /// They are left out and counted.
    Drop,
    /// They are left out, and go to the dead letters.
    DeadLetter,
    /// The pipeline stops, before anything of the epoch is committed.
    Fail,
}

impl OnViolation {
    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Drop => "drop",
            Self::DeadLetter => "dead_letter",
            Self::Fail => "fail",
        }
    }

    /// What happened to a row that violated the rule: a metric label.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Warn => "warned",
            Self::Drop => "dropped",
            Self::DeadLetter => "dead_lettered",
            Self::Fail => "failed",
        }
    }
}

impl fmt::Display for OnViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule, planned.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Its name, unique in the query.
    pub name: Arc<str>,
    /// The condition as it was written.
    pub that: Arc<str>,
    /// What becomes of rows that violate it.
    pub on_violation: OnViolation,
    /// Gives one BOOLEAN for each row of the output.
    feed: FeedPlan,
}

/// The one column that a rule's feed gives.
const HOLDS: &str = "millpond_holds";

impl QueryPlan {
    /// Plans the rule `name`: `that` is a condition on the columns of the query's output.
    ///
    /// # Errors
    /// [`SqlError`]: the condition is wrong, with the position in it; it is not a condition; or the
    /// query has ORDER BY or LIMIT, which come after rules, so that the rows that a rule leaves out
    /// would be missing from those that LIMIT counts.
    pub fn plan_expectation(
        &self,
        name: &str,
        that: &str,
        on_violation: OnViolation,
    ) -> Result<Expectation, SqlError> {
        if self.finish.is_some() {
            return Err(SqlError::new(
                "a query with ORDER BY or LIMIT has no row of its own that a rule could be about",
            )
            .hint("write the condition as WHERE in a subquery, before ORDER BY"));
        }
        if that.trim().is_empty() {
            return Err(SqlError::new("the condition is empty").hint("for instance price > 0"));
        }
        if let Some(location) = comma_outside(that) {
            let error = SqlError::new("a rule is one condition, without commas")
                .hint("join conditions by AND, or make a rule of each");
            return Err(SqlError { location: Some(location), ..error });
        }
        // On lines of its own, so that positions in it are positions in the condition, and that a
        // comment at its end ends there.
        let sql = format!("SELECT (\n{that}\n) AS {HOLDS} FROM `{}`", self.name);
        let sources = [SourceTable {
            name: self.name.clone(),
            schema: self.output_schema.clone(),
            event_time: None,
            watermark_delay_us: None,
        }];
        let request = QueryRequest { name: &self.name, sql: &sql, ..QueryRequest::default() };
        let catalog = Catalog { sources: &sources, ..Catalog::default() };
        let planned = plan(&request, &catalog).map_err(|error| {
            let lines = that.lines().count().max(1);
            let location = error.location.and_then(|(line, column)| {
                let line = line.checked_sub(1).filter(|line| *line > 0)?;
                // Something is missing at the end: what comes there is not the condition's.
                let end = || that.lines().last().map_or(1, |last| last.chars().count() + 1);
                Some(if line > lines { (lines, end()) } else { (line, column) })
            });
            SqlError { location, ..error }
        })?;
        let not_a_row = || {
            SqlError::new("a rule is about one row at a time")
                .hint("compute aggregates, joins and lists in the query, and name their columns")
        };
        let [feed] = planned.feeds.as_slice() else { return Err(not_a_row()) };
        let maps = |kind: &StepKind| matches!(kind, StepKind::Project(_));
        if !planned.operators.is_empty()
            || feed.to != Target::Output
            || !feed.chain.steps.iter().all(|step| maps(&step.kind))
        {
            return Err(not_a_row());
        }
        let fields = feed.output.fields();
        let field = match fields.as_ref() {
            [field] => field,
            _ => return Err(SqlError::new("a rule is one condition, without commas")),
        };
        if *field.data_type() != DataType::Boolean {
            return Err(SqlError::new(format!(
                "a rule is a condition, true or false; this gives {}",
                super::show::type_name(field.data_type())
            ))
            .hint("compare it with something, as in price > 0"));
        }
        Ok(Expectation {
            name: name.into(),
            that: that.trim().into(),
            on_violation,
            feed: feed.clone(),
        })
    }

    /// Whether some rule sends rows to the dead letters.
    pub fn has_dead_letters(&self) -> bool {
        self.expectations.iter().any(|rule| rule.on_violation == OnViolation::DeadLetter)
    }
}

/// Line and column of the first comma that is in no parentheses. What is no SQL has none: the
/// parser says more of it.
fn comma_outside(that: &str) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    for token in super::parse::tokenize(that).ok()? {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                let at = token.span.start;
                return Some((at.line as usize, at.column as usize));
            }
            _ => {}
        }
    }
    None
}

/// How many rows of a batch met a rule, and how many violated it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows for which it was true.
    pub passed: u64,
    /// The others.
    pub violated: u64,
}

/// Rows that go to the dead letters.
#[derive(Debug, Clone)]
pub struct RejectedRows {
    /// The rows, in the columns of the query's output; at least one.
    pub rows: RecordBatch,
    /// Of each, the first rule with `dead_letter` that it violates.
    pub rules: Vec<Arc<str>>,
    /// Of each, all that is wrong with it in words.
    pub errors: Vec<String>,
    /// Of each, its place in the batch that it came of, where that is known.
    pub places: Option<UInt32Array>,
}

/// A row violated a rule with `fail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Arc<str>,
    /// Its condition.
    pub that: Arc<str>,
    /// Rows of the batch that violate it.
    pub rows: u64,
    /// The first of them, as JSON.
    pub first: String,
}

/// What a batch came to.
#[derive(Debug)]
pub struct Checked {
    /// What is left for sinks and other queries.
    pub rows: RecordBatch,
    /// The places of these rows in the batch they came of, where they are known.
    pub places: Option<UInt32Array>,
    /// By rule, in order.
    pub tallies: Vec<Tally>,
    /// What goes to the dead letters.
    pub rejected: Option<RejectedRows>,
    /// A rule with `fail` was violated: nothing of this batch may be used.
    pub violation: Option<Violation>,
}

/// The rules of a query, ready to run. They belong to one thread.
pub struct BoundExpectations {
    query: String,
    rules: Vec<(Expectation, BoundMap)>,
}

impl BoundExpectations {
    /// The rules of `plan`; `None` if it has none.
    ///
    /// # Errors
    /// A rule reads a column that the output does not have.
    pub fn new(plan: &QueryPlan) -> Result<Option<Self>, SqlError> {
        if plan.expectations.is_empty() {
            return Ok(None);
        }
        let bind = |rule: &Expectation| {
            Ok::<_, SqlError>((rule.clone(), rule.feed.bind(&plan.name, &plan.output_schema)?))
        };
        let rules = plan.expectations.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Some(Self { query: plan.name.clone(), rules }))
    }

    /// Holds the rows of a batch against every rule. `places`: where each row stood in the batch it
    /// came of.
    ///
    /// # Errors
    /// A condition cannot be evaluated.
    pub fn check(
        &mut self,
        rows: &RecordBatch,
        places: Option<UInt32Array>,
    ) -> Result<Checked, SqlError> {
        let count = rows.num_rows();
        let mut tallies = Vec::with_capacity(self.rules.len());
        let mut verdicts = Vec::with_capacity(self.rules.len());
        for (rule, map) in &mut self.rules {
            let verdict = map.apply(rows)?;
            let holds = verdict
                .columns()
                .first()
                .and_then(|column| column.as_boolean_opt())
                .filter(|column| column.len() == count)
                .ok_or_else(|| {
                    SqlError::new(format!(
                        "query '{}': rule '{}' gave no verdict for each row",
                        self.query, rule.name
                    ))
                })?;
            // NULL is not true.
            let holds = match holds.null_count() {
                0 => holds.clone(),
                _ => prep_null_mask_filter(holds),
            };
            let passed = holds.true_count() as u64;
            tallies.push(Tally { passed, violated: count as u64 - passed });
            verdicts.push(holds);
        }
        let mut checked = Checked {
            rows: rows.clone(),
            places: places.clone(),
            tallies,
            rejected: None,
            violation: None,
        };
        if checked.tallies.iter().all(|tally| tally.violated == 0) {
            return Ok(checked);
        }
        let failed = self.rules.iter().zip(&checked.tallies).position(|((rule, _), tally)| {
            rule.on_violation == OnViolation::Fail && tally.violated > 0
        });
        if let Some(at) = failed {
            let rule = &self.rules[at].0;
            let row = (0..count).find(|row| !verdicts[at].value(*row)).unwrap_or(0);
            checked.violation = Some(Violation {
                rule: rule.name.clone(),
                that: rule.that.clone(),
                rows: checked.tallies[at].violated,
                first: row_as_json(&rows.slice(row, 1)),
            });
            return Ok(checked);
        }
        let removes = |rule: &Expectation| {
            matches!(rule.on_violation, OnViolation::Drop | OnViolation::DeadLetter)
        };
        let kept = self.all(&verdicts, count, removes);
        if kept.count_set_bits() == count {
            return Ok(checked);
        }
        // A row that one rule drops and another puts aside is put aside: nothing is lost that
        // somebody wanted to look at.
        let aside =
            !&self.all(&verdicts, count, |rule| rule.on_violation == OnViolation::DeadLetter);
        if aside.count_set_bits() > 0 {
            checked.rejected = Some(self.rejected(rows, places.as_ref(), &verdicts, aside)?);
        }
        let mask = BooleanArray::new(kept, None);
        checked.rows = self.only(rows, &mask)?;
        checked.places = places.map(|places| chosen(&places, &mask));
        Ok(checked)
    }

    /// Where all rules that are `wanted` hold.
    fn all(
        &self,
        verdicts: &[BooleanArray],
        count: usize,
        wanted: impl Fn(&Expectation) -> bool,
    ) -> BooleanBuffer {
        self.rules
            .iter()
            .zip(verdicts)
            .filter(|((rule, _), _)| wanted(rule))
            .fold(BooleanBuffer::new_set(count), |all, (_, holds)| &all & holds.values())
    }

    fn rejected(
        &self,
        rows: &RecordBatch,
        places: Option<&UInt32Array>,
        verdicts: &[BooleanArray],
        aside: BooleanBuffer,
    ) -> Result<RejectedRows, SqlError> {
        let mut rules = Vec::with_capacity(aside.count_set_bits());
        let mut errors = Vec::with_capacity(rules.capacity());
        for row in aside.set_indices() {
            let violated = || {
                let all = self.rules.iter().zip(verdicts);
                all.filter(|(_, holds)| !holds.value(row)).map(|((rule, _), _)| rule)
            };
            let first = violated().find(|rule| rule.on_violation == OnViolation::DeadLetter);
            rules.push(first.map_or_else(|| Arc::from(""), |rule| rule.name.clone()));
            let words: Vec<String> =
                violated().map(|rule| format!("{}: {}", rule.name, rule.that)).collect();
            errors.push(format!("the row violates {}", words.join("; ")));
        }
        let mask = BooleanArray::new(aside, None);
        Ok(RejectedRows {
            rows: self.only(rows, &mask)?,
            rules,
            errors,
            places: places.map(|places| chosen(places, &mask)),
        })
    }

    fn only(&self, rows: &RecordBatch, mask: &BooleanArray) -> Result<RecordBatch, SqlError> {
        filter_record_batch(rows, mask)
            .map_err(|error| SqlError::new(format!("query '{}': {error}", self.query)))
    }
}

fn chosen(places: &UInt32Array, mask: &BooleanArray) -> UInt32Array {
    mask.values().set_indices().map(|row| places.value(row)).collect()
}

/// One row in words; what cannot be written as JSON is shown as it is.
fn row_as_json(row: &RecordBatch) -> String {
    use crate::codec::{Encoder, EncodingSpec, JsonEncoding};

    let spec = EncodingSpec::Json(JsonEncoding::default());
    let encoded = Encoder::new(&row.schema(), &spec).and_then(|mut encoder| encoder.encode(row));
    match encoded {
        Ok(rows) => String::from_utf8_lossy(rows.row(0)).into_owned(),
        Err(_) => format!("{:?}", row.columns()),
    }
}
