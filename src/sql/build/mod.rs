//! A logical plan taken apart: stateful operators, and the feeds that join them.
//!
//! A walk over the plan from the bottom up carries [`Flow`]s: the rows of a node, as one branch for
//! each place that they come from (a UNION ALL has several). Filters, projections and the like are
//! added to every branch; an aggregation, a deduplication or a join of two streams ends the branches
//! as feeds at its inputs and begins a new one.

mod aggregate;
mod bounds;
mod dedup;
mod finish;
mod join;
mod panes;
mod state;

use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, NullHandling};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan, Unnest};

use super::catalog::{Catalog, Found, QueryRequest};
use super::chain::{Chain, StepKind, nullable_schema};
use super::error::SqlError;
use super::marks::{Mark, mark_of};
use super::names::Landmarks;
use super::output::output_schema;
use super::static_table::StaticTable;
use super::{FeedPlan, OperatorKind, OperatorPlan, Origin, OutputMode, QueryPlan, Target};

/// Rows on their way, and where they come from.
#[derive(Debug, Clone)]
struct Flow {
    branches: Vec<Branch>,
    /// Their columns, with the names that expressions know them by.
    schema: DFSchemaRef,
}

/// Rows of one place, and the steps on them so far.
#[derive(Debug, Clone)]
struct Branch {
    from: From,
    reads: Vec<usize>,
    input: DFSchemaRef,
    chain: Chain,
    /// What is known of the chain's output columns as event time.
    marks: Vec<Option<Mark>>,
}

#[derive(Debug, Clone)]
enum From {
    Stream(Origin),
    Table(Arc<StaticTable>),
}

impl Flow {
    fn is_table(&self) -> bool {
        self.branches.iter().all(|branch| matches!(branch.from, From::Table(_)))
    }

    /// What is known of an expression over its columns as event time.
    fn mark(&self, expr: &Expr) -> Option<Mark> {
        Mark::common(self.branches.iter().map(|branch| mark_of(expr, &self.schema, &branch.marks)))
    }

    /// What is known of each column as event time.
    fn marks(&self) -> Vec<Option<Mark>> {
        let count = self.schema.fields().len();
        let at = |index: usize| {
            let marks = self.branches.iter().map(|b| b.marks.get(index).copied().flatten());
            Mark::common(marks)
        };
        (0..count).map(at).collect()
    }

    /// The same columns by other names.
    fn renamed(mut self, schema: &DFSchemaRef) -> Self {
        for branch in &mut self.branches {
            branch.chain.output = Arc::clone(schema);
        }
        self.schema = Arc::clone(schema);
        self
    }

    /// One more step.
    fn push(mut self, kind: &StepKind, output: &DFSchemaRef) -> Self {
        for branch in &mut self.branches {
            branch.marks = marks_after(kind, &self.schema, &branch.marks);
            branch.chain.push(Arc::clone(&self.schema), kind.clone(), Arc::clone(output));
        }
        self.schema = Arc::clone(output);
        self
    }
}

fn marks_after(kind: &StepKind, input: &DFSchema, marks: &[Option<Mark>]) -> Vec<Option<Mark>> {
    match kind {
        StepKind::Filter(_) => marks.to_vec(),
        StepKind::Project(exprs) => exprs.iter().map(|expr| mark_of(expr, input, marks)).collect(),
        StepKind::Unnest { column, .. } => {
            let mut marks = marks.to_vec();
            if let Some(mark) = marks.get_mut(*column) {
                *mark = mark.and_then(|mark| mark.element());
            }
            marks
        }
        StepKind::Join(join) => {
            let width = join.pairs.fields().len().max(input.fields().len());
            let at = |index: usize| join.below(index).and_then(|i| marks.get(i).copied().flatten());
            (0..width).map(at).collect()
        }
    }
}

/// Everything that is needed on the walk.
pub(super) struct Builder<'a> {
    request: &'a QueryRequest<'a>,
    catalog: &'a Catalog<'a>,
    landmarks: &'a Landmarks,
    operators: Vec<OperatorPlan>,
    feeds: Vec<FeedPlan>,
    /// Joins walked so far.
    joins: usize,
}

/// The plan of `request`, out of DataFusion's.
///
/// # Errors
/// What a stream cannot do, or not in this output mode.
pub(super) fn build(
    request: &QueryRequest<'_>,
    catalog: &Catalog<'_>,
    landmarks: &Landmarks,
    planned: &LogicalPlan,
) -> Result<QueryPlan, SqlError> {
    let mut builder =
        Builder { request, catalog, landmarks, operators: vec![], feeds: vec![], joins: 0 };
    builder.plan(planned)
}

impl Builder<'_> {
    fn plan(&mut self, planned: &LogicalPlan) -> Result<QueryPlan, SqlError> {
        let (finish, body) = self.finish(planned)?;
        let mut flow = self.walk(body)?;
        if flow.is_table() {
            return Err(SqlError::new("the query reads no source, only tables that do not stream")
                .hint("read a source, or join the table with one"));
        }
        if let Some(request) = &self.request.drop_duplicates {
            flow = self.drop_duplicates(flow, request)?;
        }
        self.check_mode()?;
        let output_schema = output_schema(planned.schema());
        let marks = flow.marks();
        let rows = match &finish {
            Some(_) => nullable_schema(&flow.schema),
            None => Arc::clone(&output_schema),
        };
        for branch in flow.branches {
            let feed = feed(branch, Target::Output)?;
            self.feeds.push(FeedPlan { output: Arc::clone(&rows), ..feed });
        }
        // Rows that change after they came out can be nobody's event time.
        let timed = self.request.mode == OutputMode::Append || self.operators.is_empty();
        Ok(QueryPlan {
            name: self.request.name.to_owned(),
            mode: self.request.mode,
            output_schema,
            operators: std::mem::take(&mut self.operators),
            feeds: std::mem::take(&mut self.feeds),
            finish,
            expectations: Vec::new(),
            marks: if timed { marks } else { vec![] },
        })
    }

    fn walk(&mut self, plan: &LogicalPlan) -> Result<Flow, SqlError> {
        match plan {
            LogicalPlan::Projection(projection) => {
                let flow = self.walk(&projection.input)?;
                Ok(flow.push(&StepKind::Project(projection.expr.clone()), plan.schema()))
            }
            LogicalPlan::Filter(filter) => {
                if let LogicalPlan::Join(join) = filter.input.as_ref()
                    && join.join_type == datafusion::common::JoinType::Inner
                {
                    // For an inner join WHERE is another ON.
                    return self.join(join, Some(&filter.predicate));
                }
                let flow = self.walk(&filter.input)?;
                Ok(flow.push(&StepKind::Filter(filter.predicate.clone()), plan.schema()))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                Ok(self.walk(&alias.input)?.renamed(plan.schema()))
            }
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Union(union) => {
                let mut branches = vec![];
                let mut tables = 0;
                for input in &union.inputs {
                    let flow = self.walk(input)?.renamed(&union.schema);
                    tables += usize::from(flow.is_table());
                    branches.extend(flow.branches);
                }
                if tables > 0 && tables < union.inputs.len() {
                    return Err(SqlError::new(
                        "UNION ALL of a stream and a table that does not stream is not supported",
                    )
                    .hint("make the table a source (files or delta)"));
                }
                Ok(Flow { branches, schema: Arc::clone(&union.schema) })
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let flow = self.walk(input)?;
                self.distinct(flow)
            }
            LogicalPlan::Aggregate(aggregate) => {
                let flow = self.walk(&aggregate.input)?;
                self.aggregate(aggregate, flow)
            }
            LogicalPlan::Join(join) => self.join(join, None),
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
                let (what, at) = match plan {
                    LogicalPlan::Sort(_) => ("ORDER BY", self.landmarks.order_by),
                    _ => ("LIMIT", self.landmarks.limit),
                };
                Err(SqlError::new(format!("{what} is not supported inside a query"))
                    .hint("put it at the query's end, in complete mode")
                    .at_location(at))
            }
            LogicalPlan::EmptyRelation(_) => {
                Err(SqlError::new("the query reads no source").hint("add FROM a source"))
            }
            other => {
                let what = other.display().to_string();
                let what = what.split([':', ' ']).next().unwrap_or_default().to_owned();
                Err(SqlError::new(format!("{what} is not supported in a streaming query")))
            }
        }
    }

    fn scan(&self, scan: &TableScan) -> Result<Flow, SqlError> {
        let all = || (0..scan.source.schema().fields().len()).collect();
        let reads: Vec<usize> = scan.projection.clone().unwrap_or_else(all);
        debug_assert!(reads.is_sorted(), "DataFusion projects scans in the table's order");
        let schema = Arc::clone(&scan.projected_schema);
        let (from, marks) = match self.catalog.find(scan.table_name.table())? {
            Found::Source(source) => {
                let time = source.event_time.as_deref();
                let mark = |index: &usize| {
                    let field = source.schema.fields().get(*index)?;
                    let is_time = time.is_some_and(|name| name.eq_ignore_ascii_case(field.name()))
                        && super::marks::is_time(field.data_type());
                    source.watermark_delay_us.filter(|_| is_time).map(Mark::source)
                };
                let marks = reads.iter().map(mark).collect();
                (From::Stream(Origin::Source(source.name.clone())), marks)
            }
            Found::Query(query) => {
                let mark = |index: &usize| query.marks.get(*index).copied().flatten();
                let marks = reads.iter().map(mark).collect();
                (From::Stream(Origin::Query(query.name.clone())), marks)
            }
            Found::Table(table) => (From::Table(Arc::clone(table)), vec![None; reads.len()]),
        };
        let branch = Branch {
            from,
            reads,
            input: Arc::clone(&schema),
            chain: Chain::new(Arc::clone(&schema)),
            marks,
        };
        Ok(Flow { branches: vec![branch], schema })
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Flow, SqlError> {
        let flow = self.walk(&unnest.input)?;
        let outer = unnest.options.null_handling == NullHandling::PreserveAndExpandEmpty;
        let [(column, list)] = unnest.list_type_columns.as_slice() else {
            return Err(SqlError::new("a SELECT list has one function that makes rows")
                .hint("put the second one into a query around this one"));
        };
        let in_place = unnest.dependency_indices.iter().copied().eq(0..flow.schema.fields().len());
        if list.depth != 1 || !unnest.struct_type_columns.is_empty() || !in_place {
            return Err(SqlError::new("explode of this is not supported")
                .hint("explode one ARRAY after the other, in subqueries"));
        }
        Ok(flow.push(&StepKind::Unnest { column: *column, outer }, &unnest.schema))
    }

    /// Ends a flow at an operator's input.
    fn feed_operator(&mut self, flow: Flow, index: usize, input: usize) -> Result<(), SqlError> {
        for branch in flow.branches {
            self.feeds.push(feed(branch, Target::Operator { index, input })?);
        }
        Ok(())
    }

    /// Adds an operator; gives its place.
    fn add_operator(
        &mut self,
        kind: OperatorKind,
        inputs: &[&Flow],
        behind_us: i64,
    ) -> Result<usize, SqlError> {
        let text = state::state_text(&kind, inputs, behind_us, &self.operators)?;
        let index = self.operators.len();
        let name = self.request.name;
        self.operators.push(OperatorPlan {
            id: if index == 0 { name.to_owned() } else { format!("{name}#{}", index + 1) },
            kind,
            fingerprint: super::hash::hex(&text),
            inputs: inputs.len(),
            behind_us,
        });
        Ok(index)
    }

    /// The rows of an operator.
    fn flow_of(&self, index: usize, schema: &DFSchemaRef, marks: Vec<Option<Mark>>) -> Flow {
        let branch = Branch {
            from: From::Stream(Origin::Operator(index)),
            reads: (0..schema.fields().len()).collect(),
            input: Arc::clone(schema),
            chain: Chain::new(Arc::clone(schema)),
            marks,
        };
        Flow { branches: vec![branch], schema: Arc::clone(schema) }
    }
}

fn feed(branch: Branch, to: Target) -> Result<FeedPlan, SqlError> {
    let From::Stream(from) = branch.from else {
        return Err(SqlError::new("a table that does not stream cannot be read by itself here")
            .hint("join it with a source"));
    };
    Ok(FeedPlan {
        from,
        to,
        reads: branch.reads,
        input: branch.input,
        output: nullable_schema(&branch.chain.output),
        chain: branch.chain,
    })
}
