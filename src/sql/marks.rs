//! Which columns hold event time, and how far behind the watermark their values can be.
//!
//! A source's event time column carries a *mark*. Filters, projections and operators pass marks on:
//! `ts AS t` keeps it, `window(ts, '1 hour')` makes a marked window of it, whose end is a time
//! again. An aggregation in append mode marks its window: its rows come out once the watermark has
//! reached the window's end, so the end is never behind the watermark, and can be event time for
//! whatever comes next (as in Spark since 3.5).

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::chain::unalias;
use crate::event_time::{Session, Sliding, Tumbling, Windows};

/// What is known of a column that holds event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: MarkKind,
    /// The value (of a window: its end) of a row that is not late is greater than the watermark
    /// less this, in microseconds.
    pub(crate) lag: i64,
    /// The delay of the watermark that stands behind it, in microseconds.
    pub(crate) delay: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkKind {
    /// A time.
    Time,
    /// A time that is the start of one of these windows.
    StartOf(Tumbling),
    /// A window, as a struct of start and end.
    Window(Windows),
    /// A list of windows.
    Windows(Windows),
}

impl Mark {
    /// The event time of a source.
    pub(crate) fn source(delay: i64) -> Self {
        Self { kind: MarkKind::Time, lag: 0, delay }
    }

    /// The mark of a column that comes out of several branches.
    pub(crate) fn common(marks: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut common: Option<Self> = None;
        for mark in marks {
            let mark = mark?;
            let Some(known) = &mut common else {
                common = Some(mark);
                continue;
            };
            match (known.kind, mark.kind) {
                (left, right) if left == right => {}
                (MarkKind::Time | MarkKind::StartOf(_), MarkKind::Time | MarkKind::StartOf(_)) => {
                    known.kind = MarkKind::Time
                }
                _ => return None,
            }
            known.lag = known.lag.max(mark.lag);
            known.delay = known.delay.max(mark.delay);
        }
        common
    }

    /// How far behind its inputs' watermark an operator has to stay for rows with this mark to be in
    /// time, if what it keeps of them is done for `reach` microseconds after the mark's value.
    pub(crate) fn behind(&self, reach: i64) -> i64 {
        self.lag.saturating_sub(reach).max(0)
    }

    fn time(&self, lag: i64) -> Self {
        Self { kind: MarkKind::Time, lag, delay: self.delay }
    }

    /// The time that stands for it: itself, or a window's last microsecond.
    pub(crate) fn as_time(&self) -> Option<Self> {
        match self.kind {
            MarkKind::Time | MarkKind::StartOf(_) => Some(*self),
            MarkKind::Window(_) => Some(self.time(self.lag.saturating_add(1))),
            MarkKind::Windows(_) => None,
        }
    }

    /// `window.start`.
    pub(crate) fn start(&self) -> Option<Self> {
        let MarkKind::Window(windows) = self.kind else { return None };
        match windows {
            Windows::Tumbling(tumbling) => Some(Self {
                kind: MarkKind::StartOf(tumbling),
                ..self.time(self.lag.saturating_add(tumbling.size()))
            }),
            Windows::Sliding(sliding) => Some(self.time(self.lag.saturating_add(sliding.size()))),
            // A session can have begun at any time.
            Windows::Session(_) | Windows::None => None,
        }
    }

    /// `window.end`.
    pub(crate) fn end(&self) -> Option<Self> {
        matches!(self.kind, MarkKind::Window(_)).then(|| self.time(self.lag))
    }

    /// The window that a time is in.
    fn window(&self, windows: Windows) -> Option<Self> {
        let time = self.as_time()?;
        // A window ends after every time in it.
        Some(Self { kind: MarkKind::Window(windows), lag: time.behind(1), delay: self.delay })
    }

    /// One of a list of windows.
    pub(crate) fn element(&self) -> Option<Self> {
        match self.kind {
            MarkKind::Windows(windows) => Some(Self { kind: MarkKind::Window(windows), ..*self }),
            _ => None,
        }
    }
}

/// The mark of an expression over columns with `marks`.
pub(crate) fn mark_of(expr: &Expr, schema: &DFSchema, marks: &[Option<Mark>]) -> Option<Mark> {
    match unalias(expr) {
        Expr::Column(column) => {
            let index = schema.index_of_column(column).ok()?;
            marks.get(index).copied().flatten()
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (time, shift) = match op {
                Operator::Plus => match interval_us(right) {
                    Some(shift) => (left, shift),
                    None => (right, interval_us(left)?),
                },
                Operator::Minus => (left, interval_us(right)?.checked_neg()?),
                _ => return None,
            };
            let mark = mark_of(time, schema, marks)?;
            match mark.kind {
                MarkKind::Time | MarkKind::StartOf(_) => {
                    Some(mark.time(mark.lag.saturating_sub(shift)))
                }
                MarkKind::Window(_) | MarkKind::Windows(_) => None,
            }
        }
        Expr::ScalarFunction(function) => {
            if let Some(call) = WindowExpr::of(function) {
                return mark_of(call.time, schema, marks)?.window(call.windows);
            }
            match (function.func.name(), function.args.as_slice()) {
                ("sliding_windows", [time, rest @ ..]) => {
                    let mark = mark_of(time, schema, marks)?;
                    let window = mark.window(sliding(rest)?)?;
                    let MarkKind::Window(windows) = window.kind else { return None };
                    Some(Mark { kind: MarkKind::Windows(windows), ..window })
                }
                ("window_time", [window]) => {
                    let mark = mark_of(window, schema, marks)?;
                    matches!(mark.kind, MarkKind::Window(_)).then(|| mark.as_time())?
                }
                ("get_field", [window, Expr::Literal(field, _)]) => {
                    let mark = mark_of(window, schema, marks)?;
                    match field.try_as_str().flatten()? {
                        "start" => mark.start(),
                        "end" => mark.end(),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A call of `window`, `sliding_window` or `session_window`.
pub(crate) struct WindowExpr<'a> {
    pub(crate) time: &'a Expr,
    pub(crate) windows: Windows,
}

impl<'a> WindowExpr<'a> {
    pub(crate) fn of(function: &'a ScalarFunction) -> Option<Self> {
        let (time, numbers) = function.args.split_first()?;
        let windows = match (function.func.name(), numbers) {
            ("window", [size, offset]) => {
                Windows::Tumbling(Tumbling::new(number(size)?, number(offset)?).ok()?)
            }
            ("sliding_window", numbers) => sliding(numbers)?,
            ("session_window", [gap]) => Windows::Session(Session::new(number(gap)?).ok()?),
            _ => return None,
        };
        Some(Self { time, windows })
    }
}

fn sliding(numbers: &[Expr]) -> Option<Windows> {
    let [size, slide, offset] = numbers else { return None };
    let windows = Sliding::new(number(size)?, number(slide)?, number(offset)?).ok()?;
    Some(Windows::Sliding(windows))
}

fn number(expr: &Expr) -> Option<i64> {
    match unalias(expr) {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number),
        Expr::Literal(ScalarValue::Int32(Some(number)), _) => Some(i64::from(*number)),
        _ => None,
    }
}

/// A constant interval of fixed length, in microseconds. Days have 24 hours: times are UTC.
pub(crate) fn interval_us(expr: &Expr) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let days = |days: i32| i64::from(days).checked_mul(DAY);
    let literal = match unalias(expr) {
        Expr::Literal(value, _) => value,
        Expr::Negative(inner) => return interval_us(inner)?.checked_neg(),
        _ => return None,
    };
    match literal {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            // Finer than a microsecond is rounded up: a bound may be too wide, not too narrow.
            let micros = interval.nanoseconds.div_euclid(1_000)
                + i64::from(interval.nanoseconds.rem_euclid(1_000) > 0);
            days(interval.days)?.checked_add(micros)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            days(interval.days)?.checked_add(i64::from(interval.milliseconds) * 1_000)
        }
        ScalarValue::DurationMicrosecond(Some(micros)) => Some(*micros),
        ScalarValue::DurationMillisecond(Some(millis)) => millis.checked_mul(1_000),
        ScalarValue::DurationSecond(Some(seconds)) => seconds.checked_mul(1_000_000),
        ScalarValue::DurationNanosecond(Some(nanos)) => Some(nanos.div_euclid(1_000)),
        _ => None,
    }
}

/// Whether a column of the type can hold event time.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    *data_type == super::timestamp_type()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn windows(size: i64) -> Windows {
        Windows::Tumbling(Tumbling::new(size, 0).unwrap())
    }

    #[test]
    fn a_windows_end_is_not_behind_and_its_start_is_by_its_length() {
        let mark = Mark::source(5).window(windows(MINUTE)).unwrap();
        assert_eq!((mark.lag, mark.delay), (0, 5));
        assert_eq!(mark.end().unwrap().lag, 0);
        assert_eq!(mark.as_time().unwrap().lag, 1);
        let start = mark.start().unwrap();
        assert_eq!(start.lag, MINUTE);
        // A start names a window that is done a minute later.
        assert_eq!(start.behind(MINUTE), 0);
        // The window of a window's last microsecond ends no earlier.
        assert_eq!(mark.window(windows(60 * MINUTE)).unwrap().lag, 0);
    }

    #[test]
    fn branches_have_a_mark_in_common_or_none() {
        let time = Some(Mark::source(5));
        let late = Some(Mark { lag: 7, ..Mark::source(9) });
        assert_eq!(Mark::common([time, late]), Some(Mark { lag: 7, ..Mark::source(9) }));
        assert_eq!(Mark::common([time, None]), None);
        let window = Mark::source(5).window(windows(MINUTE));
        assert_eq!(Mark::common([time, window]), None);
        assert_eq!(Mark::common([window, window]), window);
        assert_eq!(Mark::common([]), None);
    }
}
