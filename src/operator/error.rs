//! What can go wrong with an operator and its state.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use thiserror::Error;

/// An error in an operator or in the state that a checkpoint holds of it.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// An expression or aggregate of the query failed.
    #[error("query '{query}': {}", .source.strip_backtrace())]
    Evaluate {
        /// The query's name.
        query: Arc<str>,
        /// What DataFusion says.
        source: DataFusionError,
    },
    /// An aggregate function that cannot be computed in parts.
    #[error("aggregate '{function}' is not supported over a stream: {reason}")]
    Unsupported {
        /// The function.
        function: String,
        /// Why.
        reason: String,
    },
    /// A batch of another query or plan was handed in.
    #[error("query '{query}': a batch does not have the columns that the plan has: {detail}")]
    Rows {
        /// The query's name.
        query: Arc<str>,
        /// What differs.
        detail: String,
    },
    /// A checkpoint's segment cannot be used.
    #[error("query '{query}': a segment of the checkpoint cannot be read: {detail}")]
    Segment {
        /// The query's name.
        query: Arc<str>,
        /// What is wrong with it.
        detail: String,
    },
}

impl OperatorError {
    pub(crate) fn evaluate(query: &Arc<str>) -> impl Fn(DataFusionError) -> Self + '_ {
        move |source| Self::Evaluate { query: Arc::clone(query), source }
    }
}
