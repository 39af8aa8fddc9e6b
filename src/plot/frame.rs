//! What part of the plane a chart shows, and its texts made safe to show.

use super::{Chart, Scale, SeriesKind};

/// Beyond this, differences of two values would not be finite.
const GREATEST: f64 = 1e300;

/// A value that can be drawn.
pub fn drawable(value: f64) -> bool {
    value.abs() <= GREATEST
}

/// The part of the plane that is shown; each range is finite and not empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Frame {
    /// What shows all of the chart's points; `None` if it has none.
    ///
    /// A band may reach so far beyond the values that they would be a flat line: it is shown to as
    /// far again as the values go.
    pub fn of(chart: &Chart) -> Option<Frame> {
        let (mut x, mut y) = (Range::default(), Range::default());
        let mut bars = false;
        let mut closest = f64::INFINITY;
        for series in &chart.series {
            let mut last = None;
            for (px, py) in &series.points {
                if drawable(*px) && drawable(*py) {
                    x.take(*px);
                    y.take(*py);
                    if let Some(last) = last {
                        let gap: f64 = *px - last;
                        if gap > 0.0 {
                            closest = closest.min(gap);
                        }
                    }
                    last = Some(*px);
                }
            }
            bars |= series.kind == SeriesKind::Bar && !series.points.is_empty();
        }
        for mark in chart.marks.iter().filter(|m| drawable(m.x) && drawable(m.y)) {
            x.take(mark.x);
            y.take(mark.y);
        }
        if bars {
            y.take(0.0);
        }
        let shown = y;
        for (px, lower, upper) in chart.bands.iter().flat_map(|band| &band.points) {
            if drawable(*px) && drawable(*lower) && drawable(*upper) {
                x.take(*px);
                let reach = shown.span().max(shown.greatest().abs() * 0.1);
                let (low, high) = match shown.ends() {
                    Some((low, high)) => (lower.max(low - reach), upper.min(high + reach)),
                    None => (*lower, *upper),
                };
                y.take(low);
                y.take(high);
            }
        }
        let (mut x0, mut x1) = match &chart.x.scale {
            Scale::Category(names) if !names.is_empty() => (-0.5, names.len() as f64 - 0.5),
            _ => x.ends()?,
        };
        let (mut y0, mut y1) = y.ends()?;
        if bars && closest.is_finite() && !matches!(chart.x.scale, Scale::Category(_)) {
            x0 -= closest / 2.0;
            x1 += closest / 2.0;
        }
        if x1 - x0 <= x0.abs().max(x1.abs()) * 1e-12 {
            let room = match chart.x.scale {
                Scale::Time => 1e6,
                _ => 0.5_f64.max(x0.abs() * 1e-3),
            };
            (x0, x1) = (x0 - room, x1 + room);
        }
        if y1 - y0 <= y0.abs().max(y1.abs()) * 1e-9 {
            let room = 0.5_f64.max(y0.abs() * 0.1);
            (y0, y1) = (y0 - room, y1 + room);
        } else {
            // Zero is worth seeing where it is near; a line does not lie on the frame.
            let room = (y1 - y0) * 0.05;
            let near = |end: f64, other: f64| end >= 0.0 && end < other * 0.4;
            y0 = if near(y0, y1) { 0.0 } else { y0 - room };
            y1 = if near(-y1, -y0) { 0.0 } else { y1 + room };
        }
        Some(Frame { x: (x0, x1), y: (y0, y1) })
    }

    /// Where a value is between the ends of x, 0 to 1.
    pub fn across(&self, x: f64) -> f64 {
        ((x - self.x.0) / (self.x.1 - self.x.0)).clamp(0.0, 1.0)
    }

    /// Where a value is between the ends of y, 0 to 1.
    pub fn up(&self, y: f64) -> f64 {
        ((y - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Range(Option<(f64, f64)>);

impl Range {
    fn take(&mut self, value: f64) {
        let (low, high) = self.0.unwrap_or((value, value));
        self.0 = Some((low.min(value), high.max(value)));
    }

    fn ends(self) -> Option<(f64, f64)> {
        self.0
    }

    fn span(self) -> f64 {
        self.0.map_or(0.0, |(low, high)| high - low)
    }

    fn greatest(self) -> f64 {
        self.0.map_or(0.0, |(low, high)| low.abs().max(high.abs()))
    }
}

/// The text without control characters, which XML does not allow and a terminal would obey.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many characters of a text, the last a "…" if some are left out.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}
