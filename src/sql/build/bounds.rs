//! Bounds on event time in a join's condition: how far apart the times of two rows that match can
//! be.
//!
//! A comparison of the two sides' times, as in `b.ts BETWEEN a.ts AND a.ts + INTERVAL 1 HOUR`, is
//! read as `left - right <= c` or its opposite. From the tightest of each follows how long a row has
//! to be kept for rows of the other side that are yet to come.

use datafusion::logical_expr::expr::{Between, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::Flow;
use crate::sql::chain::unalias;
use crate::sql::marks::{MarkKind, interval_us};

/// One side's time in a comparison: `base + shift`.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) is_left: bool,
    /// The marked expression that the side's time is measured by.
    pub(super) base: Expr,
    shift: i64,
}

/// What the condition says about `left - right`, in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// The times that it is about, once one is found.
    pub(super) left: Option<Expr>,
    pub(super) right: Option<Expr>,
    pub(super) at_most: Option<i64>,
    pub(super) at_least: Option<i64>,
}

impl Bounds {
    /// Reads every comparison of times among `conditions`, which all have to hold.
    pub(super) fn of(conditions: &[Expr], left: &Flow, right: &Flow) -> Self {
        let mut bounds = Self::default();
        for condition in conditions {
            bounds.read(condition, left, right);
        }
        bounds
    }

    fn read(&mut self, condition: &Expr, left: &Flow, right: &Flow) {
        match unalias(condition) {
            Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) => {
                let (Some(a), Some(b)) = (point(a, left, right), point(b, left, right)) else {
                    return;
                };
                match op {
                    Operator::Eq | Operator::IsNotDistinctFrom => {
                        self.less(&a, &b, 0);
                        self.less(&b, &a, 0);
                    }
                    Operator::LtEq => self.less(&a, &b, 0),
                    Operator::Lt => self.less(&a, &b, -1),
                    Operator::GtEq => self.less(&b, &a, 0),
                    Operator::Gt => self.less(&b, &a, -1),
                    _ => {}
                }
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let Some(at) = point(expr, left, right) else { return };
                if let Some(low) = point(low, left, right) {
                    self.less(&low, &at, 0);
                }
                if let Some(high) = point(high, left, right) {
                    self.less(&at, &high, 0);
                }
            }
            _ => {}
        }
    }

    /// `a - b <= by`.
    fn less(&mut self, a: &Point, b: &Point, by: i64) {
        if a.is_left == b.is_left {
            return;
        }
        let (left, right) = if a.is_left { (a, b) } else { (b, a) };
        // All bounds are between the same two times.
        let known = |slot: &Option<Expr>, base: &Expr| slot.as_ref().is_none_or(|s| s == base);
        if !known(&self.left, &left.base) || !known(&self.right, &right.base) {
            return;
        }
        let Some(c) = by.checked_add(b.shift).and_then(|c| c.checked_sub(a.shift)) else { return };
        if a.is_left {
            self.at_most = Some(self.at_most.map_or(c, |known| known.min(c)));
        } else {
            let Some(c) = c.checked_neg() else { return };
            self.at_least = Some(self.at_least.map_or(c, |known| known.max(c)));
        }
        self.left = Some(left.base.clone());
        self.right = Some(right.base.clone());
    }
}

/// A time of one side, if that is what the expression is. A window stands for its end.
fn point(expr: &Expr, left: &Flow, right: &Flow) -> Option<Point> {
    let (base, shift) = shifted(unalias(expr))?;
    for (flow, is_left) in [(left, true), (right, false)] {
        let Some(mark) = flow.mark(&base) else { continue };
        return match mark.kind {
            MarkKind::Time | MarkKind::StartOf(_) | MarkKind::Window(_) => {
                Some(Point { is_left, base, shift })
            }
            MarkKind::Windows(_) => None,
        };
    }
    None
}

/// The expression without constant intervals that are added to it.
fn shifted(expr: &Expr) -> Option<(Expr, i64)> {
    match unalias(expr) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            if let Some(shift) = interval_us(right) {
                let (base, inner) = shifted(left)?;
                return Some((base, inner.checked_add(shift)?));
            }
            let shift = interval_us(left)?;
            let (base, inner) = shifted(right)?;
            Some((base, inner.checked_add(shift)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            let (base, inner) = shifted(left)?;
            Some((base, inner.checked_sub(interval_us(right)?)?))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), args.as_slice())
        {
            // The last microsecond of a window.
            ("window_time", [window]) => Some((end_of(window), -1)),
            _ => Some((expr.clone(), 0)),
        },
        other => Some((other.clone(), 0)),
    }
}

fn end_of(window: &Expr) -> Expr {
    datafusion::functions::expr_fn::get_field(unalias(window).clone(), "end")
}

/// The conjuncts of a condition.
pub(super) fn conjuncts(expr: &Expr) -> Vec<Expr> {
    match unalias(expr) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other.clone()],
    }
}

/// All of them together; `None` if there are none.
pub(super) fn conjunction(exprs: Vec<Expr>) -> Option<Expr> {
    exprs.into_iter().reduce(Expr::and)
}
