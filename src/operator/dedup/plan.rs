//! What a deduplication is told.

use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::Expr;

/// `SELECT DISTINCT` and `dropDuplicates`: of the rows with equal keys the first comes out.
#[derive(Debug, Clone)]
pub struct DedupPlan {
    /// The query's name, for errors.
    pub query: Arc<str>,
    /// The rows that come in, and out.
    pub input: DFSchemaRef,
    /// What has to be equal, over `input`; at least one. NULL equals NULL.
    pub keys: Vec<Expr>,
    /// The event time, a TIMESTAMP over `input`. Rows that are not newer than the watermark are
    /// late and dropped. Needed unless `keep` is [`Keep::Wall`]. For rows that are windows: their
    /// end, or all of them would be late.
    pub time: Option<Expr>,
    /// How long a key is remembered.
    pub keep: Keep,
}

/// How long a key is remembered; it is then new again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Until the watermark reaches the event time of the key's first row. Right if the event time is
    /// among the keys: a later duplicate would be late.
    UntilWatermark,
    /// Until the watermark reaches the event time of the key's first row plus `us` microseconds.
    EventTime {
        /// Microseconds.
        us: i64,
    },
    /// For so long after the key's first row came in.
    Wall {
        /// Microseconds of processing time.
        us: i64,
    },
}
