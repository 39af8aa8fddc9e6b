//! What a join of two streams is told.

use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::Expr;

/// A join of two streams on equal keys. The left is input 0, the right input 1.
#[derive(Debug, Clone)]
pub struct JoinPlan {
    /// The query's name, for errors.
    pub query: Arc<str>,
    /// Which rows come out beside those that match.
    pub kind: JoinKind,
    /// Input 0.
    pub left: JoinSide,
    /// Input 1.
    pub right: JoinSide,
    /// What has to hold beside equal keys, over the columns of left and right.
    pub filter: Option<Expr>,
    /// For a side without a bound in event time: how long its rows are kept after they came, in
    /// microseconds of processing time.
    pub ttl_us: Option<i64>,
    /// What comes out, all nullable: the left columns, and behind them the right ones unless the
    /// join is a semi join.
    pub output: DFSchemaRef,
}

/// Which rows come out beside those that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// None.
    Inner,
    /// Left rows that matched nothing, with NULLs to their right, once nothing can match them.
    Left,
    /// Right rows likewise.
    Right,
    /// Both.
    Full,
    /// Each left row once, without the right columns, as soon as something matches it.
    LeftSemi,
}

/// One input of a join.
#[derive(Debug, Clone)]
pub struct JoinSide {
    /// The rows that come in.
    pub input: DFSchemaRef,
    /// What has to equal the other side's keys, over `input`: as many, of the same types. NULL
    /// equals nothing.
    pub keys: Vec<Expr>,
    /// The event time, a TIMESTAMP over `input`. Rows that are not newer than the watermark are
    /// late and dropped. For rows that are windows: their end, or all of them would be late.
    pub time: Option<Expr>,
    /// A row of event time t can match nothing any more once watermark > t + keep_us, in
    /// microseconds; may be negative. `None`: rows are kept for ever, or for
    /// [`JoinPlan::ttl_us`].
    pub keep_us: Option<i64>,
}

/// The two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SideName {
    Left,
    Right,
}

impl SideName {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    /// The side's number, as input and as the lowest bit of its panes.
    pub(super) fn number(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }
}

impl JoinKind {
    /// Whether rows of this side come out even if nothing matches them.
    pub(super) fn preserves(self, side: SideName) -> bool {
        match side {
            SideName::Left => matches!(self, Self::Left | Self::Full),
            SideName::Right => matches!(self, Self::Right | Self::Full),
        }
    }

    /// Whether it has to be known of a row of this side whether something matched it.
    pub(super) fn tracks(self, side: SideName) -> bool {
        self.preserves(side) || (self == Self::LeftSemi && side == SideName::Left)
    }
}
