//! Charts: lines, bars and points over time, numbers or categories, with bands and marks; as SVG
//! and PNG files, and as text for a terminal.
//!
//! ```no_run
//! use millpond::plot::{Axis, Chart, Series, SeriesKind, Size, terminal, write_svg};
//!
//! let mut chart = Chart::new("Requests", Axis::time(""), Axis::number("requests"));
//! chart.series.push(Series {
//!     name: "requests".into(),
//!     kind: SeriesKind::Line,
//!     points: vec![(0.0, 10.0), (60e6, 12.0)],
//! });
//! write_svg(&chart, "requests.svg".as_ref(), Size::default())?;
//! print!("{}", terminal(&chart, 80, 20, true));
//! # Ok::<(), millpond::plot::PlotError>(())
//! ```
//!
//! A chart is data: what it looks like is decided here alone, so that every command's charts look
//! alike. Values that are not finite are gaps, never errors. A series of more points than the
//! picture has columns is reduced to the least and the greatest of each column, so that no spike
//! is lost and a file stays small whatever was measured.

mod draw;
mod font;
mod frame;
mod reduce;
mod terminal;
mod ticks;
mod units;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use crate::anomaly::Severity;
pub use draw::{svg, write_png, write_svg};
pub use terminal::terminal;
pub use units::Unit;

/// What the numbers of an axis are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// Microseconds since the Unix epoch, shown in UTC.
    Time,
    /// Numbers of a unit.
    Number(Unit),
    /// Places in this list: 0 is its first name.
    Category(Vec<String>),
}

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What it says beside its numbers; may be empty.
    pub label: String,
    pub scale: Scale,
}

impl Axis {
    /// An axis of times.
    pub fn time(label: &str) -> Self {
        Axis { label: label.to_owned(), scale: Scale::Time }
    }

    /// An axis of numbers without a unit.
    pub fn number(label: &str) -> Self {
        Axis { label: label.to_owned(), scale: Scale::Number(Unit::None) }
    }

    /// An axis of numbers of a unit.
    pub fn unit(label: &str, unit: Unit) -> Self {
        Axis { label: label.to_owned(), scale: Scale::Number(unit) }
    }

    /// An axis of names.
    pub fn category(label: &str, names: Vec<String>) -> Self {
        Axis { label: label.to_owned(), scale: Scale::Category(names) }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    /// Points joined in the order given; a value that is not finite interrupts the line.
    Line,
    /// From zero to the value.
    Bar,
    /// A dot each.
    Points,
}

/// Values by one name in the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub kind: SeriesKind,
    /// (x, y) in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// A filled range, such as what was expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Band {
    pub name: String,
    /// (x, lower, upper) in the units of the axes.
    pub points: Vec<(f64, f64, f64)>,
}

/// A point worth attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub x: f64,
    pub y: f64,
    /// Written beside it where there is room.
    pub label: String,
    pub severity: Severity,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    pub bands: Vec<Band>,
    pub marks: Vec<Mark>,
}

impl Chart {
    /// A chart without anything in it.
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Chart {
            title: title.to_owned(),
            x,
            y,
            series: Vec::new(),
            bands: Vec::new(),
            marks: Vec::new(),
        }
    }
}

/// Of a picture, in pixels. Held to 200 x 120 at least and 10,000 x 10,000 at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Default for Size {
    fn default() -> Self {
        Size { width: 1200, height: 480 }
    }
}

impl Size {
    fn held(self) -> (u32, u32) {
        (self.width.clamp(200, 10_000), self.height.clamp(120, 10_000))
    }
}

/// A chart that could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    #[error("the chart could not be drawn: {0}")]
    Draw(String),
    #[error("the chart could not be written to {}: {error}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error(
        "a chart is written as .svg or .png, not to {}; name the file with one of these endings",
        path.display()
    )]
    Ending { path: PathBuf },
}

/// Writes the chart as its file's ending says: `.svg` or `.png`.
///
/// # Errors
///
/// [`PlotError::Ending`] for another ending; else as [`write_svg`] and [`write_png`].
pub fn write(chart: &Chart, path: &Path, size: Size) -> Result<(), PlotError> {
    match ending(path)? {
        Ending::Svg => write_svg(chart, path, size),
        Ending::Png => write_png(chart, path, size),
    }
}

/// Whether [`write()`] knows the path's ending; for a command to check before its work.
///
/// # Errors
///
/// [`PlotError::Ending`] if not.
pub fn check_ending(path: &Path) -> Result<(), PlotError> {
    ending(path).map(|_| ())
}

enum Ending {
    Svg,
    Png,
}

fn ending(path: &Path) -> Result<Ending, PlotError> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("svg") => Ok(Ending::Svg),
        Some("png") => Ok(Ending::Png),
        _ => Err(PlotError::Ending { path: path.to_owned() }),
    }
}
