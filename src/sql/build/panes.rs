//! GROUP BY's event time: what groups are cut up in, so that they can be finished.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::{Builder, Flow};
use crate::event_time::{Tumbling, Windows};
use crate::sql::chain::unalias;
use crate::sql::error::SqlError;
use crate::sql::marks::{Mark, MarkKind, WindowExpr, is_time};
use crate::sql::registry::Functions;
use crate::sql::{OutputMode, WindowPart};

/// How the groups are cut up in event time.
pub(super) struct Panes {
    pub(super) windows: Windows,
    /// Over the input.
    pub(super) time: Expr,
    pub(super) behind: i64,
    pub(super) delay: i64,
    /// The GROUP BY expressions that show the window.
    pub(super) columns: Vec<(usize, WindowPart)>,
    /// Else the key that the panes end with.
    pub(super) key: Option<Expr>,
}

/// A GROUP BY expression that has to do with event time.
pub(super) enum Timed {
    /// A call of `window`, `sliding_window` or `session_window`, or its start or end.
    Call { time: Expr, windows: Windows, part: WindowPart, text: String },
    /// A window that a subquery or another query has made, or its start or end.
    Made { window: Expr, mark: Mark, part: WindowPart },
    /// A time.
    Time { mark: Mark },
}

impl Builder<'_> {
    /// The event time that groups are cut up in, if there is one with a watermark.
    pub(super) fn panes(&self, groups: &[Expr], flow: &Flow) -> Result<Option<Panes>, SqlError> {
        let mode = self.request.mode;
        let timed: Vec<(usize, Timed)> = groups
            .iter()
            .enumerate()
            .filter_map(|(index, expr)| Some((index, timed(expr, flow)?)))
            .collect();
        self.one_window(&timed)?;
        let is_session =
            |timed: &Timed| matches!(timed, Timed::Call { windows: Windows::Session(_), .. });
        let session = timed.iter().any(|(_, timed)| is_session(timed));
        if session && mode == OutputMode::Update {
            return Err(SqlError::new(
                "session windows are not supported in update output mode: a session that grows takes \
                 the place of the one that came out before",
            )
            .hint("set mode = \"append\"")
            .at_location(self.landmarks.window));
        }
        if session && timed.iter().filter(|(_, timed)| is_session(timed)).count() == groups.len() {
            return Err(SqlError::new(
                "sessions without a key are not supported: all rows would be in one session, on one \
                 shard",
            )
            .hint("add the column whose sessions they are to GROUP BY")
            .at_location(self.landmarks.window));
        }
        if let Some((_, Timed::Call { time, windows, text, .. })) =
            timed.iter().find(|(_, timed)| matches!(timed, Timed::Call { .. }))
        {
            let marks = flow.mark(time).and_then(|mark| mark.as_time().map(|time| (mark, time)));
            // Complete mode keeps every window for ever, so it needs no watermark.
            let never = Mark::source(0);
            let mark = match marks {
                Some(marks) => marks,
                None if mode == OutputMode::Complete && is_time_over(time, flow) => (never, never),
                None => return Ok(None),
            };
            let reach = match (mark.0.kind, windows) {
                // Windows within windows are done when those are.
                (MarkKind::StartOf(inner), Windows::Tumbling(outer)) if nests(&inner, outer) => {
                    inner.size()
                }
                _ => 1,
            };
            let columns = timed
                .iter()
                .filter_map(|(index, timed)| match timed {
                    Timed::Call { part, text: found, .. } if found == text => Some((*index, *part)),
                    _ => None,
                })
                .collect();
            return Ok(Some(Panes {
                windows: *windows,
                time: match mark.0.kind {
                    MarkKind::Window(_) => window_time(time.clone())?,
                    _ => time.clone(),
                },
                behind: mark.1.behind(reach),
                delay: mark.0.delay,
                columns,
                key: None,
            }));
        }
        if mode == OutputMode::Complete {
            return Ok(None);
        }
        if let Some((_, Timed::Made { window, mark, .. })) =
            timed.iter().find(|(_, timed)| matches!(timed, Timed::Made { .. }))
        {
            return self.made_panes(window, mark, &timed).map(Some);
        }
        let Some((index, Timed::Time { mark })) = timed.first() else { return Ok(None) };
        let time = unalias(&groups[*index]).clone();
        if let MarkKind::StartOf(windows) = mark.kind {
            return Ok(Some(Panes {
                windows: Windows::Tumbling(windows),
                time,
                behind: mark.behind(windows.size()),
                delay: mark.delay,
                columns: vec![(*index, WindowPart::Start)],
                key: None,
            }));
        }
        // A pane for each time, which ends at it: Spark, too, is done with a time when the watermark
        // reaches it.
        Ok(Some(Panes {
            windows: Windows::Tumbling(microsecond()?),
            time: a_microsecond_before(time.clone()),
            behind: mark.behind(0),
            delay: mark.delay,
            columns: vec![],
            key: Some(time),
        }))
    }

    /// Panes for windows that were made further up.
    fn made_panes(
        &self,
        window: &Expr,
        mark: &Mark,
        timed: &[(usize, Timed)],
    ) -> Result<Panes, SqlError> {
        let MarkKind::Window(windows) = mark.kind else {
            return Err(SqlError::new("a list of windows cannot be grouped by"));
        };
        let behind = mark.behind(0);
        let panes = |windows, time, columns| Panes {
            windows: Windows::Tumbling(windows),
            time,
            behind,
            delay: mark.delay,
            columns,
            key: Some(window.clone()),
        };
        Ok(match windows {
            Windows::Tumbling(tumbling) => {
                // The start lies in the window: as event time it gives the same window again.
                let columns = timed
                    .iter()
                    .filter_map(|(index, timed)| match timed {
                        Timed::Made { window: found, part, .. } if found == window => {
                            Some((*index, *part))
                        }
                        _ => None,
                    })
                    .collect();
                panes(tumbling, get_field(window.clone(), "start"), columns)
            }
            // Windows that overlap have ends of their own: the slide before an end is a pane, and
            // the window itself stays a key.
            Windows::Sliding(sliding) => {
                let offset = (sliding.offset() + sliding.size()) % sliding.slide();
                let slides = Tumbling::new(sliding.slide(), offset)
                    .map_err(|error| SqlError::new(error.to_string()))?;
                panes(slides, window_time(window.clone())?, vec![])
            }
            Windows::Session(_) | Windows::None => {
                panes(microsecond()?, window_time(window.clone())?, vec![])
            }
        })
    }

    /// Two different windows would make a row for each pair of them.
    fn one_window(&self, timed: &[(usize, Timed)]) -> Result<(), SqlError> {
        let mut first: Option<&str> = None;
        for (_, timed) in timed {
            let Timed::Call { text, .. } = timed else { continue };
            if first.is_some_and(|first| first != text) {
                return Err(SqlError::new("a query has one window; this one has two")
                    .hint("write a query for each window; they share the source's reading")
                    .at_location(self.landmarks.window));
            }
            first = Some(text);
        }
        Ok(())
    }
}

/// What a GROUP BY expression has to do with event time.
pub(super) fn timed(expr: &Expr, flow: &Flow) -> Option<Timed> {
    let expr = unalias(expr);
    let (inner, part) = match expr {
        Expr::ScalarFunction(function) if function.func.name() == "get_field" => {
            match function.args.as_slice() {
                [inner, Expr::Literal(field, _)] => match field.try_as_str().flatten() {
                    Some("start") => (unalias(inner), WindowPart::Start),
                    Some("end") => (unalias(inner), WindowPart::End),
                    _ => (expr, WindowPart::Both),
                },
                _ => (expr, WindowPart::Both),
            }
        }
        _ => (expr, WindowPart::Both),
    };
    if let Expr::ScalarFunction(function) = inner
        && let Some(call) = WindowExpr::of(function)
    {
        let text = format!("{inner}");
        return Some(Timed::Call { time: call.time.clone(), windows: call.windows, part, text });
    }
    if let Some(mark) = flow.mark(inner)
        && matches!(mark.kind, MarkKind::Window(_))
    {
        return Some(Timed::Made { window: inner.clone(), mark, part });
    }
    let mark = flow.mark(expr)?;
    matches!(mark.kind, MarkKind::Time | MarkKind::StartOf(_)).then_some(Timed::Time { mark })
}

/// Whether an expression gives a point in time.
fn is_time_over(expr: &Expr, flow: &Flow) -> bool {
    use datafusion::logical_expr::ExprSchemable;
    expr.get_type(flow.schema.as_ref()).is_ok_and(|data_type| is_time(&data_type))
}

/// Whether each of the inner windows lies in one of the outer ones.
fn nests(inner: &Tumbling, outer: &Tumbling) -> bool {
    outer.size() % inner.size() == 0 && (outer.offset() - inner.offset()) % inner.size() == 0
}

fn microsecond() -> Result<Tumbling, SqlError> {
    Tumbling::new(1, 0).map_err(|error| SqlError::new(error.to_string()))
}

/// The last microsecond of a window.
fn window_time(window: Expr) -> Result<Expr, SqlError> {
    let function = Functions::get()
        .scalar("window_time")
        .map_err(|error| SqlError::new(error.strip_backtrace()))?;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![window])))
}

fn a_microsecond_before(time: Expr) -> Expr {
    let microsecond = IntervalMonthDayNano::new(0, 0, 1_000);
    let microsecond = Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(microsecond)), None);
    Expr::BinaryExpr(BinaryExpr::new(Box::new(time), Operator::Minus, Box::new(microsecond)))
}
