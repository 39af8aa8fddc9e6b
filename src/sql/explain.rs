//! A plan as text and JSON: operators, keys, state and its bound, what is decoded of each source.

use std::fmt;

use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use serde::Serialize;

use super::chain::{StepKind, unalias};
use super::finish::FinishStep;
use super::show::{Show, duration, type_name, window_call};
use super::static_join::{StaticJoin, StaticKind};
use super::{
    FeedPlan, OperatorKind, OperatorPlan, Origin, OutputMode, QueryPlan, Target, WindowPart,
};
use crate::aggregate::AggregatePlan;
use crate::event_time::Windows;
use crate::operator::{DedupPlan, JoinKind, JoinPlan, JoinSide, Keep};

/// A query's plan in words, from its output down to what it reads. [`fmt::Display`] is the text for
/// people, serde's form the same for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The query.
    pub query: String,
    /// `append`, `update` or `complete`.
    pub output_mode: String,
    /// The columns that come out.
    pub output: Vec<ExplainedColumn>,
    /// Rules that the rows are held against, before anything else sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExplainedExpectation>,
    /// ORDER BY and LIMIT over all rows of a trigger.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finish: Vec<Line>,
    /// What brings rows to the output; several for a UNION ALL.
    pub inputs: Vec<ExplainedFeed>,
}

/// A rule on the rows of the output.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedExpectation {
    /// Its name.
    pub name: String,
    /// What has to be true; FALSE and NULL violate it.
    pub that: String,
    /// `warn`, `drop`, `dead_letter` or `fail`.
    pub on_violation: &'static str,
}

/// A column of the output.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedColumn {
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub r#type: String,
}

/// One thing that is done, as `label` and `text`.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// What: `filter`, `select`, `keys` ...
    pub label: &'static str,
    /// How.
    pub text: String,
}

/// Steps without state, and what they are done on.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedFeed {
    /// In the order in which rows pass them.
    pub steps: Vec<Line>,
    /// Where the rows come from.
    pub from: ExplainedNode,
}

/// Where rows come from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ExplainedNode {
    /// A source.
    Source {
        /// Its name.
        name: String,
        /// The columns that have to be decoded for this feed.
        decodes: Vec<String>,
    },
    /// Another query's output.
    Query {
        /// Its name.
        name: String,
        /// The columns that are read.
        reads: Vec<String>,
    },
    /// A stateful operator.
    Operator {
        /// Names its state in checkpoints and metrics.
        id: String,
        /// `aggregate`, `drop duplicates`, `inner join` ...
        operator: String,
        /// Keys, windows and the like.
        details: Vec<Line>,
        /// What it keeps and for how long.
        state: String,
        /// What brings rows to each of its inputs.
        inputs: Vec<Vec<ExplainedFeed>>,
    },
}

/// Explains a plan.
pub fn explain(plan: &QueryPlan) -> Explanation {
    let explainer = Explainer { plan };
    let columns = plan.output_schema.fields().iter().map(|field| ExplainedColumn {
        name: field.name().clone(),
        r#type: type_name(field.data_type()),
    });
    Explanation {
        query: plan.name.clone(),
        output_mode: plan.mode.to_string(),
        output: columns.collect(),
        expectations: plan
            .expectations
            .iter()
            .map(|rule| ExplainedExpectation {
                name: rule.name.to_string(),
                that: rule.that.to_string(),
                on_violation: rule.on_violation.name(),
            })
            .collect(),
        finish: explainer.finish(),
        inputs: explainer.feeds(Target::Output),
    }
}

struct Explainer<'a> {
    plan: &'a QueryPlan,
}

impl Explainer<'_> {
    fn feeds(&self, to: Target) -> Vec<ExplainedFeed> {
        let feeds = self.plan.feeds.iter().filter(|feed| feed.to == to);
        feeds.map(|feed| self.feed(feed)).collect()
    }

    fn feed(&self, feed: &FeedPlan) -> ExplainedFeed {
        let name = |column: &Column| self.name(feed, column);
        let show = Show { name: &name };
        let chain = &feed.chain;
        let mut steps = vec![];
        let inlined = |expr: &Expr, level: usize| -> String {
            match chain.inlined(expr, level) {
                Ok(expr) => show.text(&expr),
                Err(_) => show.text(expr),
            }
        };
        for (level, step) in chain.steps.iter().enumerate() {
            match &step.kind {
                StepKind::Filter(predicate) => {
                    steps.push(Line { label: "filter", text: inlined(predicate, level) });
                }
                StepKind::Unnest { column, outer } => {
                    let list = Expr::Column(step.input.columns()[*column].clone());
                    let function = if *outer { "explode_outer" } else { "explode" };
                    let text = format!("{function}({})", inlined(&list, level));
                    steps.push(Line { label: "explode", text });
                }
                StepKind::Join(join) => {
                    let keys = join.keys.iter().map(|key| inlined(key, level)).collect();
                    steps.push(Line { label: "lookup", text: static_join(join, keys) });
                }
                StepKind::Project(_) => {}
            }
        }
        // What is selected matters where it is seen: at the output, or where feeds meet.
        let meet = self.plan.feeds.iter().filter(|other| other.to == feed.to).count() > 1;
        if feed.to == Target::Output || meet {
            let top = chain.steps.len();
            let columns = chain.output.columns().into_iter().map(|column| {
                let name = column.name.clone();
                let text = inlined(&Expr::Column(column), top);
                if text == name { text } else { format!("{text} AS {name}") }
            });
            let text = columns.collect::<Vec<_>>().join(", ");
            steps.push(Line { label: "select", text });
        }
        let columns = || feed.input.fields().iter().map(|field| field.name().clone()).collect();
        let from = match &feed.from {
            Origin::Source(name) => {
                ExplainedNode::Source { name: name.clone(), decodes: columns() }
            }
            Origin::Query(name) => ExplainedNode::Query { name: name.clone(), reads: columns() },
            Origin::Operator(index) => self.operator(*index),
        };
        ExplainedFeed { steps, from }
    }

    /// What a column of a feed's input is called: of an aggregation, what it computes.
    fn name(&self, feed: &FeedPlan, column: &Column) -> String {
        let own = plain_name(&column.name);
        let Origin::Operator(index) = feed.from else { return own };
        let operator = &self.plan.operators[index];
        let OperatorKind::Aggregate(aggregate) = &operator.kind else { return own };
        let Ok(at) = aggregate.aggregated.index_of_column(column) else { return own };
        self.aggregated(index, aggregate).get(at).cloned().unwrap_or(own)
    }

    /// What each column of an aggregation's output is, in order.
    fn aggregated(&self, index: usize, plan: &AggregatePlan) -> Vec<String> {
        let mut keys = plan.keys.iter().map(|(key, _)| self.input_text(index, 0, key));
        let count = plan.aggregated.fields().len() - plan.aggregates.len();
        let window = match plan.windows {
            Windows::Session(_) => "session_window",
            _ => "window",
        };
        let mut texts = vec![];
        for at in 0..count {
            let part = plan.window_columns.iter().find(|(column, _)| *column == at);
            texts.push(match part {
                Some((_, WindowPart::Both)) => window.to_owned(),
                Some((_, WindowPart::Start)) => format!("{window}.start"),
                Some((_, WindowPart::End)) => format!("{window}.end"),
                None => keys.next().unwrap_or_default(),
            });
        }
        texts.extend(plan.aggregates.iter().map(|expr| self.input_text(index, 0, expr)));
        texts
    }

    /// An expression over an operator's input, by what the input's columns were made of.
    fn input_text(&self, operator: usize, input: usize, expr: &Expr) -> String {
        let to = Target::Operator { index: operator, input };
        let mut feeds = self.plan.feeds.iter().filter(|feed| feed.to == to);
        match (feeds.next(), feeds.next()) {
            (Some(feed), None) => {
                let name = |column: &Column| self.name(feed, column);
                let show = Show { name: &name };
                match feed.chain.inlined(expr, feed.chain.steps.len()) {
                    Ok(expr) => show.text(&expr),
                    Err(_) => show.text(expr),
                }
            }
            _ => Show { name: &|column| plain_name(&column.name) }.text(expr),
        }
    }

    fn operator(&self, index: usize) -> ExplainedNode {
        let operator = &self.plan.operators[index];
        let (name, mut details, state) = match &operator.kind {
            OperatorKind::Aggregate(plan) => self.aggregate(index, plan),
            OperatorKind::Dedup(plan) => self.dedup(index, plan),
            OperatorKind::Join(plan) => self.join(index, plan),
        };
        if operator.behind_us > 0 {
            details.push(Line {
                label: "watermark",
                text: format!("that of its inputs less {}", duration(operator.behind_us)),
            });
        }
        ExplainedNode::Operator {
            id: operator.id.clone(),
            operator: name,
            details,
            state,
            inputs: self.inputs(index, operator),
        }
    }

    fn inputs(&self, index: usize, operator: &OperatorPlan) -> Vec<Vec<ExplainedFeed>> {
        (0..operator.inputs).map(|input| self.feeds(Target::Operator { index, input })).collect()
    }

    fn aggregate(&self, index: usize, plan: &AggregatePlan) -> (String, Vec<Line>, String) {
        let mut details = vec![];
        let time = plan.time.as_ref().map(|time| self.input_text(index, 0, time));
        if let Some(time) = &time {
            details.push(Line { label: "window", text: window_call(time, &plan.windows) });
        }
        let keys: Vec<String> =
            plan.keys.iter().map(|(key, _)| self.input_text(index, 0, key)).collect();
        if !keys.is_empty() {
            details.push(Line { label: "keys", text: keys.join(", ") });
        }
        let computed: Vec<String> =
            plan.aggregates.iter().map(|expr| self.input_text(index, 0, expr)).collect();
        if !computed.is_empty() {
            details.push(Line { label: "computes", text: computed.join(", ") });
        }
        let state = match (&plan.windows, plan.mode) {
            (_, OutputMode::Complete) => "every group, for ever: complete mode shows them all",
            (Windows::None, _) => "every group, for ever: nothing says that one is finished",
            (Windows::Tumbling(_), _) => {
                "the groups of open windows; a window is dropped when the watermark passes its end"
            }
            (Windows::Sliding(_), _) => {
                "the groups of open windows, in panes that windows share; a pane is dropped when the \
                 watermark passes the end of its last window"
            }
            (Windows::Session(_), _) => {
                "open sessions; one is dropped when the watermark passes its end"
            }
        };
        ("aggregate".to_owned(), details, state.to_owned())
    }

    fn dedup(&self, index: usize, plan: &DedupPlan) -> (String, Vec<Line>, String) {
        let keys: Vec<String> =
            plan.keys.iter().map(|key| self.input_text(index, 0, key)).collect();
        let mut details = vec![Line { label: "keys", text: keys.join(", ") }];
        let time = plan.time.as_ref().map(|time| self.input_text(index, 0, time));
        if let Some(time) = &time {
            details.push(Line { label: "time", text: time.clone() });
        }
        let state = match plan.keep {
            Keep::UntilWatermark => {
                "each key until the watermark reaches its event time".to_owned()
            }
            Keep::EventTime { us } => format!(
                "each key until the watermark reaches its first row's event time and {} more",
                duration(us)
            ),
            Keep::Wall { us } => format!("each key for {} after it came", duration(us)),
        };
        ("drop duplicates".to_owned(), details, state)
    }

    fn join(&self, index: usize, plan: &JoinPlan) -> (String, Vec<Line>, String) {
        let name = match plan.kind {
            JoinKind::Inner => "inner join",
            JoinKind::Left => "left outer join",
            JoinKind::Right => "right outer join",
            JoinKind::Full => "full outer join",
            JoinKind::LeftSemi => "left semi join",
        };
        let keys = plan.left.keys.iter().zip(&plan.right.keys).map(|(left, right)| {
            let (left, right) = (self.input_text(index, 0, left), self.input_text(index, 1, right));
            format!("{left} = {right}")
        });
        let mut details =
            vec![Line { label: "keys", text: keys.collect::<Vec<_>>().join(" AND ") }];
        if let Some(filter) = &plan.filter {
            let text = Show { name: &|column| column.flat_name() }.text(filter);
            details.push(Line { label: "condition", text });
        }
        let side = |name: &str, input: usize, side: &JoinSide| {
            let time = side.time.as_ref().map(|time| self.input_text(index, input, time));
            match (side.keep_us, time, plan.ttl_us) {
                (Some(keep), Some(time), _) => {
                    let later = match keep {
                        0 => String::new(),
                        keep if keep < 0 => format!(" less {}", duration(keep.saturating_neg())),
                        keep => format!(" and {} more", duration(keep)),
                    };
                    format!("{name} rows until the watermark passes {time}{later}")
                }
                (_, _, Some(ttl)) => format!("{name} rows for {} after they came", duration(ttl)),
                _ => format!("{name} rows, for ever"),
            }
        };
        let state = format!("{}; {}", side("left", 0, &plan.left), side("right", 1, &plan.right));
        (name.to_owned(), details, state)
    }

    fn finish(&self) -> Vec<Line> {
        let Some(finish) = &self.plan.finish else { return vec![] };
        // Sorting is by columns of the rows, or by what the query selects.
        let feed = self.plan.feeds.iter().find(|feed| feed.to == Target::Output);
        let name = |column: &Column| match feed {
            Some(feed) => {
                let top = feed.chain.steps.len();
                match feed.chain.inlined(&Expr::Column(column.clone()), top) {
                    Ok(expr) if !matches!(unalias(&expr), Expr::Column(c) if c == column) => {
                        let name = |column: &Column| self.name(feed, column);
                        Show { name: &name }.text(&expr)
                    }
                    _ => plain_name(&column.name),
                }
            }
            None => plain_name(&column.name),
        };
        let show = Show { name: &name };
        let mut lines = vec![];
        for step in &finish.steps {
            match step {
                FinishStep::Sort { by, .. } => {
                    let by = by.iter().map(|sort| {
                        let descending = if sort.asc { "" } else { " DESC" };
                        format!("{}{descending}", show.text(&sort.expr))
                    });
                    let text = by.collect::<Vec<_>>().join(", ");
                    lines.push(Line { label: "order by", text });
                }
                FinishStep::Limit { skip, fetch } => {
                    let mut text = fetch.map_or("all".to_owned(), |fetch| fetch.to_string());
                    if *skip > 0 {
                        text.push_str(&format!(" after {skip}"));
                    }
                    lines.push(Line { label: "limit", text });
                }
                FinishStep::Map(_) => {}
            }
        }
        lines
    }
}

/// A table lookup in words.
fn static_join(join: &StaticJoin, keys: Vec<String>) -> String {
    let what = match join.kind {
        StaticKind::Inner => "join with",
        StaticKind::Left => "left join with",
        StaticKind::Semi => "only if found in",
        StaticKind::Anti => "only if not found in",
    };
    let tables: Vec<&str> = join.table.parts.iter().map(|part| part.table.name()).collect();
    let plain = |column: &Column| plain_name(&column.name);
    let show = Show { name: &plain };
    let on = keys
        .into_iter()
        .zip(&join.table.keys)
        .map(|(stream, table)| format!("{stream} = {}.{}", tables.join("+"), show.text(table)));
    let on = on.chain(join.filter.iter().map(|f| Show { name: &|c| c.flat_name() }.text(f)));
    format!("{what} table {} on {}", tables.join(" and "), on.collect::<Vec<_>>().join(" AND "))
}

/// A column's name; those that the planner has made up get one that reads better.
fn plain_name(name: &str) -> String {
    if name.starts_with("__element") || name.starts_with("__unnest_placeholder") {
        return "element".to_owned();
    }
    name.to_owned()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "query {} ({} mode)", self.query, self.output_mode)?;
        let columns: Vec<String> =
            self.output.iter().map(|column| format!("{} {}", column.name, column.r#type)).collect();
        lines(f, "  ", &[Line { label: "output", text: columns.join(", ") }])?;
        let rules = self.expectations.iter().map(|rule| Line {
            label: "expect",
            text: format!("{}: {}; else {}", rule.name, one_line(&rule.that), rule.on_violation),
        });
        lines(f, "  ", &rules.collect::<Vec<_>>())?;
        lines(f, "  ", &self.finish)?;
        feeds(f, "  ", &self.inputs)
    }
}

/// A condition may have been written on several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Aligned after the labels.
fn lines(f: &mut fmt::Formatter<'_>, indent: &str, lines: &[Line]) -> fmt::Result {
    for line in lines {
        writeln!(f, "{indent}{:<9}  {}", line.label, line.text)?;
    }
    Ok(())
}

fn feeds(f: &mut fmt::Formatter<'_>, indent: &str, all: &[ExplainedFeed]) -> fmt::Result {
    for feed in all {
        // From the output down: the last step first.
        let steps: Vec<Line> = feed.steps.iter().rev().cloned().collect();
        lines(f, indent, &steps)?;
        match &feed.from {
            ExplainedNode::Source { name, decodes } => {
                writeln!(f, "{indent}<- source {name}")?;
                let text = if decodes.is_empty() {
                    "no column, rows are counted".to_owned()
                } else {
                    decodes.join(", ")
                };
                lines(f, &format!("{indent}   "), &[Line { label: "decodes", text }])?;
            }
            ExplainedNode::Query { name, reads } => {
                writeln!(f, "{indent}<- query {name}")?;
                let text = reads.join(", ");
                lines(f, &format!("{indent}   "), &[Line { label: "reads", text }])?;
            }
            ExplainedNode::Operator { id, operator, details, state, inputs } => {
                writeln!(f, "{indent}<- {operator} [{id}]")?;
                let inner = format!("{indent}   ");
                lines(f, &inner, details)?;
                lines(f, &inner, &[Line { label: "state", text: state.clone() }])?;
                for (index, input) in inputs.iter().enumerate() {
                    if inputs.len() > 1 {
                        let side = if index == 0 { "left" } else { "right" };
                        writeln!(f, "{inner}{side}:")?;
                        feeds(f, &format!("{inner}  "), input)?;
                    } else {
                        feeds(f, &inner, input)?;
                    }
                }
            }
        }
    }
    Ok(())
}
