//! The feeds below one root, bound and ready to run.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;

use crate::operator::{OperatorError, Router};
use crate::sql::{BoundExpectations, BoundMap, RejectedRows, SqlError, Tally, Target, Violation};

use super::{FeedId, Graph, Root};

/// Why the graph can't be put together, or can't run on a batch.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A feed begins nowhere.
    #[error("query '{query}' reads {from}, which there is not")]
    Unknown {
        /// The query.
        query: String,
        /// What it reads.
        from: String,
    },
    /// A feed failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A router failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Rows violate a rule that the pipeline stops at.
    #[error(
        "query '{query}': {} of {of} rows violate the expectation '{}' ({}), whose on_violation is \
         \"fail\"; nothing of this epoch has been committed; the first of them: {}",
        violation.rows, violation.rule, violation.that, violation.first
    )]
    Violated {
        /// The query.
        query: String,
        /// Rows of the batch.
        of: usize,
        /// The rule, and what violated it.
        violation: Violation,
    },
}

impl GraphError {
    /// Whether it would come again after a restart: the rows, or the rule, have to be changed.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violated { .. })
    }
}

/// What a batch of a root came to at one end of its branches.
#[derive(Debug)]
pub enum Delivery {
    /// Rows of a query's output.
    Output {
        /// The query's place in the graph.
        query: usize,
        /// At least one.
        rows: RecordBatch,
        /// The place of each in the root's batch, where somebody wants them and they are known.
        places: Option<UInt32Array>,
    },
    /// What a query's rules came to. Comes before the rows.
    Checked {
        /// The query's place in the graph.
        query: usize,
        /// By rule, in the plan's order.
        tallies: Vec<Tally>,
    },
    /// Rows of a query's output that go to the dead letters instead.
    Rejected {
        /// The query's place in the graph.
        query: usize,
        /// They.
        rejected: RejectedRows,
    },
    /// Rows for an operator.
    Operator {
        /// The operator's place in the graph.
        operator: usize,
        /// Which of its inputs.
        input: usize,
        /// A part for each shard.
        parts: Vec<Option<RecordBatch>>,
        /// Rows dropped because their event time is NULL.
        null_time: u64,
    },
}

/// Every feed below one root. Belongs to one thread.
pub struct Branches {
    branches: Vec<Branch>,
    /// Whether somebody wants to know where rows stood in the root's batch.
    traced: bool,
}

struct Branch {
    map: BoundMap,
    end: End,
}

enum End {
    Operator { operator: usize, input: usize, router: Box<dyn Router> },
    Output { query: usize, name: String, rules: Option<BoundExpectations>, readers: Vec<Branch> },
}

impl Branches {
    /// The branches below `root`, whose batches have the schema `input`.
    ///
    /// # Errors
    /// A feed reads a column that the batches do not have; the planner has tried the rest.
    pub fn new(graph: &Graph, root: Root, input: &SchemaRef) -> Result<Self, GraphError> {
        let branches = graph
            .feeds_at(root)
            .into_iter()
            .map(|id| Branch::new(graph, id, input))
            .collect::<Result<_, _>>()?;
        let traced =
            graph.outputs_below(root).iter().any(|query| graph.queries[*query].has_dead_letters());
        Ok(Self { branches, traced })
    }

    /// Runs every branch on one batch and hands what comes out to `deliver`. Operators have
    /// `shards` shards each.
    ///
    /// # Errors
    /// An expression fails. Some branches may have delivered by then; the caller must not count
    /// the batch as read.
    pub fn apply(
        &mut self,
        batch: &RecordBatch,
        shards: usize,
        deliver: &mut dyn FnMut(Delivery),
    ) -> Result<(), GraphError> {
        let places = self.traced.then(|| {
            let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            UInt32Array::from_iter_values(0..rows)
        });
        self.branches
            .iter_mut()
            .try_for_each(|branch| branch.apply(batch, places.as_ref(), shards, deliver))
    }

    /// Somebody wants to know where rows stood in the root's batch.
    pub fn trace(&mut self) {
        self.traced = true;
    }

    /// Whether rejected rows come with their places in the root's batch.
    pub fn is_traced(&self) -> bool {
        self.traced
    }
}

impl Branch {
    fn new(graph: &Graph, id: FeedId, input: &SchemaRef) -> Result<Self, GraphError> {
        let plan = &graph.queries[id.query];
        let feed = &plan.feeds[id.feed];
        let map = feed.bind(&plan.name, input)?;
        let end = match feed.to {
            Target::Operator { index, input } => End::Operator {
                operator: graph.first_operator[id.query] + index,
                input,
                router: plan.operators[index].router(input)?,
            },
            Target::Output => End::Output {
                query: id.query,
                name: plan.name.clone(),
                rules: BoundExpectations::new(plan)?,
                readers: graph
                    .feeds_behind(id.query)
                    .into_iter()
                    .map(|reader| Self::new(graph, reader, &plan.output_schema))
                    .collect::<Result<_, _>>()?,
            },
        };
        Ok(Self { map, end })
    }

    fn apply(
        &mut self,
        batch: &RecordBatch,
        places: Option<&UInt32Array>,
        shards: usize,
        deliver: &mut dyn FnMut(Delivery),
    ) -> Result<(), GraphError> {
        let (mut rows, mut places) = self.map.apply_traced(batch, places.cloned())?;
        match &mut self.end {
            End::Operator { operator, input, router } => {
                let routed = router.route(&rows, shards)?;
                deliver(Delivery::Operator {
                    operator: *operator,
                    input: *input,
                    parts: routed.parts,
                    null_time: routed.null_time,
                });
            }
            End::Output { query, name, rules, readers } => {
                if rows.num_rows() == 0 {
                    return Ok(());
                }
                if let Some(rules) = rules {
                    let checked = rules.check(&rows, places)?;
                    deliver(Delivery::Checked { query: *query, tallies: checked.tallies });
                    if let Some(violation) = checked.violation {
                        let (query, of) = (name.clone(), rows.num_rows());
                        return Err(GraphError::Violated { query, of, violation });
                    }
                    if let Some(rejected) = checked.rejected {
                        deliver(Delivery::Rejected { query: *query, rejected });
                    }
                    (rows, places) = (checked.rows, checked.places);
                    if rows.num_rows() == 0 {
                        return Ok(());
                    }
                }
                for reader in readers {
                    reader.apply(&rows, places.as_ref(), shards, deliver)?;
                }
                deliver(Delivery::Output { query: *query, rows, places });
            }
        }
        Ok(())
    }
}
