//! The feeds below one root, bound and ready to run.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::operator::{OperatorError, Router};
use crate::sql::{BoundMap, SqlError, Target};

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
}

struct Branch {
    map: BoundMap,
    end: End,
}

enum End {
    Operator { operator: usize, input: usize, router: Box<dyn Router> },
    Output { query: usize, readers: Vec<Branch> },
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
        Ok(Self { branches })
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
        self.branches.iter_mut().try_for_each(|branch| branch.apply(batch, shards, deliver))
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
        shards: usize,
        deliver: &mut dyn FnMut(Delivery),
    ) -> Result<(), GraphError> {
        let rows = self.map.apply(batch)?;
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
            End::Output { query, readers } => {
                if rows.num_rows() == 0 {
                    return Ok(());
                }
                for reader in readers {
                    reader.apply(&rows, shards, deliver)?;
                }
                deliver(Delivery::Output { query: *query, rows });
            }
        }
        Ok(())
    }
}
