//! Charts as pictures.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::frame::{Frame, clean, shortened};
use super::ticks::{self, Ticks};
use super::{Chart, PlotError, Scale, Series, SeriesKind, Severity, Size, font, reduce};

/// Told apart by colour-blind readers too: M. Okabe and K. Ito, "Color universal design", 2008.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const TITLE: u32 = 20;
const TEXT: u32 = 15;
/// Lines of a legend at most; what does not fit is counted.
const LEGEND_LINES: i32 = 3;

/// An axis with ticks of our own.
#[derive(Debug, Clone)]
struct Ticked {
    ends: (f64, f64),
    ticks: Vec<f64>,
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.ends.0) / (self.ends.1 - self.ends.0);
        // `as` saturates; half a pixel either way is not seen.
        (f64::from(from) + part * f64::from(to - from)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        // Light points lie between the bold ones: there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.ends.0..self.ends.1
    }
}

type Plane = Cartesian2d<Ticked, Ticked>;

/// The chart as the text of an SVG file.
///
/// # Errors
///
/// [`PlotError::Draw`] if the library that draws refuses.
pub fn svg(chart: &Chart, size: Size) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size.held()).into_drawing_area();
        paint(&root, chart)?;
        root.present().map_err(drawn)?;
    }
    Ok(text)
}

/// Writes the chart as SVG.
///
/// # Errors
///
/// [`PlotError::Draw`], or [`PlotError::Write`] if the file cannot be written.
pub fn write_svg(chart: &Chart, path: &Path, size: Size) -> Result<(), PlotError> {
    let text = svg(chart, size)?;
    fs::write(path, text).map_err(|error| PlotError::Write { path: path.to_owned(), error })
}

/// Writes the chart as PNG, 24 bits a pixel.
///
/// # Errors
///
/// [`PlotError::Draw`], or [`PlotError::Write`] if the file cannot be written.
pub fn write_png(chart: &Chart, path: &Path, size: Size) -> Result<(), PlotError> {
    // The encoder goes by the ending, and the picture is not to be seen half written.
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.png", std::process::id()));
    let unfinished = path.with_file_name(name);
    let write = |error| PlotError::Write { path: path.to_owned(), error };
    // The encoder's own error does not say why a file could not be made.
    fs::File::create(&unfinished).map_err(write)?;
    let painted = {
        let root = BitMapBackend::new(&unfinished, size.held()).into_drawing_area();
        paint(&root, chart).and_then(|()| root.present().map_err(drawn))
    };
    let done = painted.and_then(|()| fs::rename(&unfinished, path).map_err(write));
    if done.is_err() {
        // What is left behind is only untidy.
        let _ = fs::remove_file(&unfinished);
    }
    done
}

fn drawn(error: impl std::fmt::Display) -> PlotError {
    PlotError::Draw(error.to_string())
}

fn style(size: u32) -> TextStyle<'static> {
    (font::FAMILY, size).into_font().color(&INK)
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

fn of_severity(severity: Severity) -> RGBColor {
    match severity {
        Severity::Info => RGBColor(86, 140, 200),
        Severity::Warning => RGBColor(230, 140, 0),
        Severity::Critical => RGBColor(200, 0, 30),
    }
}

fn paint<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    chart: &Chart,
) -> Result<(), PlotError> {
    font::ready()?;
    root.fill(&WHITE).map_err(drawn)?;
    let (width, height) = root.dim_in_pixel();
    let mut top = 8;
    if !chart.title.is_empty() {
        let title = shortened(&clean(&chart.title), width as usize / 10);
        root.draw(&Text::new(title, (12, top), style(TITLE))).map_err(drawn)?;
        top += TITLE as i32 + 6;
    }
    top = legend(root, chart, top)?;
    let Some(frame) = Frame::of(chart) else {
        let middle = style(TEXT).pos(Pos::new(HPos::Center, VPos::Center));
        let at = (width as i32 / 2, (top + height as i32) / 2);
        return root.draw(&Text::new("no data", at, middle)).map_err(drawn);
    };
    let (_, body) = root.split_vertically(top);
    let most = (body.dim_in_pixel().1 / 50).clamp(2, 12) as usize;
    let (low, high) = frame.y;
    let up = match &chart.y.scale {
        Scale::Number(unit) => ticks::numbers(low, high, most, unit),
        Scale::Time | Scale::Category(_) => ticks::times(low, high, most),
    };
    plot(root, &body, chart, &frame, &up)
}

fn plot<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    body: &DrawingArea<DB, Shift>,
    chart: &Chart,
    frame: &Frame,
    up: &Ticks,
) -> Result<(), PlotError> {
    let measure = |text: &str| {
        root.estimate_text_size(text, &style(TEXT)).map(|(width, _)| width).map_err(drawn)
    };
    let mut widest = 20;
    for label in &up.labels {
        widest = widest.max(measure(label)?);
    }
    let room = if chart.y.label.is_empty() { 14 } else { 14 + TEXT + 10 };
    let (width, _) = body.dim_in_pixel();
    let inner = width.saturating_sub(widest + room + 24);
    let across = x_ticks(chart, frame, inner);
    let mut description = clean(&chart.x.label);
    if !across.common.is_empty() {
        description = [description, across.common.clone()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
    }
    let x = Ticked { ends: frame.x, ticks: across.at.clone() };
    let y = Ticked { ends: frame.y, ticks: up.at.clone() };
    let mut plane = ChartBuilder::on(body)
        .margin_right(22)
        .margin_top(6)
        .margin_left(4)
        .margin_bottom(4)
        .x_label_area_size(if description.is_empty() { 30 } else { 30 + TEXT + 6 })
        .y_label_area_size(widest + room)
        .build_cartesian_2d(x, y)
        .map_err(drawn)?;
    plane
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.6))
        .label_style(style(TEXT))
        .axis_desc_style(style(TEXT))
        .x_labels(across.at.len().max(1))
        .y_labels(up.at.len().max(1))
        .x_label_formatter(&|at| label_at(&across, *at))
        .y_label_formatter(&|at| label_at(up, *at))
        .x_desc(description)
        .y_desc(clean(&chart.y.label))
        .draw()
        .map_err(drawn)?;
    for (i, band) in chart.bands.iter().enumerate() {
        for stretch in reduce::bands(&band.points, frame, inner as usize) {
            let lower = stretch.iter().map(|(x, lower, _)| (*x, *lower));
            let upper = stretch.iter().rev().map(|(x, _, upper)| (*x, *upper));
            let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
            let fill = colour(i).mix(0.18).filled();
            plane.draw_series([Polygon::new(outline, fill)]).map_err(drawn)?;
        }
    }
    let bars = chart.series.iter().filter(|series| series.kind == SeriesKind::Bar).count();
    let mut bar = 0;
    for (i, series) in chart.series.iter().enumerate() {
        let colour = colour(i);
        match series.kind {
            SeriesKind::Line => {
                for line in reduce::lines(&series.points, frame, inner as usize) {
                    if let [point] = line[..] {
                        plane.draw_series([Circle::new(point, 2, colour.filled())])
                    } else {
                        plane.draw_series([PathElement::new(line, colour.stroke_width(1))])
                    }
                    .map_err(drawn)?;
                }
            }
            SeriesKind::Points => {
                let dots = reduce::lines(&series.points, frame, inner as usize).into_iter();
                let dots = dots.flatten().map(|at| Circle::new(at, 2, colour.filled()));
                plane.draw_series(dots).map_err(drawn)?;
            }
            SeriesKind::Bar => {
                let rectangles = rectangles(series, frame, inner, bar, bars);
                let filled = rectangles.into_iter().map(|r| Rectangle::new(r, colour.filled()));
                plane.draw_series(filled).map_err(drawn)?;
                bar += 1;
            }
        }
    }
    marks(root, &plane, chart, frame)
}

fn label_at(ticks: &Ticks, at: f64) -> String {
    let found = ticks.at.iter().position(|tick| *tick == at);
    found.and_then(|i| ticks.labels.get(i)).cloned().unwrap_or_default()
}

fn x_ticks(chart: &Chart, frame: &Frame, inner: u32) -> Ticks {
    match &chart.x.scale {
        Scale::Time => ticks::times(frame.x.0, frame.x.1, (inner / 90).max(2) as usize),
        Scale::Number(unit) => {
            ticks::numbers(frame.x.0, frame.x.1, (inner / 80).max(2) as usize, unit)
        }
        Scale::Category(names) => {
            let room = f64::from(inner) / names.len().max(1) as f64;
            // Names are shortened down to some 40 pixels, then only every so manieth is written.
            let every = (40.0 / room).ceil().max(1.0) as usize;
            let most = (room * every as f64 / (f64::from(TEXT) * 0.52)).max(2.0) as usize;
            let shown = names.iter().enumerate().step_by(every);
            let (at, labels) =
                shown.map(|(i, name)| (i as f64, shortened(&clean(name), most))).unzip();
            Ticks { at, labels, common: String::new() }
        }
    }
}

/// The corners of a series' bars, side by side with those of the chart's other bars.
fn rectangles(
    series: &Series,
    frame: &Frame,
    inner: u32,
    bar: usize,
    bars: usize,
) -> Vec<[(f64, f64); 2]> {
    let points = reduce::bars(&series.points, frame, (inner / 2).max(1) as usize);
    let gaps = points.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|gap| *gap > 0.0);
    let whole = frame.x.1 - frame.x.0;
    let pitch = gaps.min_by(f64::total_cmp).unwrap_or(whole).min(whole).min(
        // One place of a category, whatever other places are empty.
        if frame.x.0 == -0.5 { 1.0 } else { whole },
    );
    let width = (pitch * 0.8 / bars.max(1) as f64).max(whole / f64::from(inner.max(1)));
    let zero = 0.0_f64.clamp(frame.y.0, frame.y.1);
    points
        .into_iter()
        .map(|(x, y)| {
            let left = x + (bar as f64 - bars as f64 / 2.0) * width;
            let held = |x: f64| x.clamp(frame.x.0, frame.x.1);
            [(held(left), zero), (held(left + width), y)]
        })
        .collect()
}

/// Marks, and their labels where they do not cover others': the worst first.
fn marks<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    plane: &ChartContext<'_, DB, Plane>,
    chart: &Chart,
    frame: &Frame,
) -> Result<(), PlotError> {
    let mut order: Vec<_> = chart
        .marks
        .iter()
        .filter(|mark| super::frame::drawable(mark.x) && super::frame::drawable(mark.y))
        .collect();
    order.sort_by_key(|mark| mark.severity);
    let held = |value: f64, (low, high): (f64, f64)| value.clamp(low, high);
    for mark in &order {
        let at = (held(mark.x, frame.x), held(mark.y, frame.y));
        let dot = Circle::new(at, 4, of_severity(mark.severity).filled());
        plane.plotting_area().draw(&dot).map_err(drawn)?;
    }
    let (width, _) = root.dim_in_pixel();
    let mut taken: Vec<(i32, i32, i32)> = Vec::new();
    for mark in order.iter().rev().filter(|mark| !mark.label.is_empty()) {
        let label = shortened(&clean(&mark.label), 40);
        let (long, high) = root.estimate_text_size(&label, &style(TEXT - 1)).map_err(drawn)?;
        let at = (held(mark.x, frame.x), held(mark.y, frame.y));
        let (x, y) = plane.plotting_area().map_coordinate(&at);
        let left = (x + 8).min(width as i32 - long as i32 - 6).max(0);
        let top = y - high as i32 - 6;
        let right = left + long as i32;
        let covers = |(l, r, t): &(i32, i32, i32)| {
            left < *r + 6 && *l < right + 6 && (top - *t).abs() < high as i32 + 2
        };
        if taken.len() < 200 && !taken.iter().any(covers) {
            let colour = of_severity(mark.severity);
            let style = style(TEXT - 1).color(&colour);
            root.draw(&Text::new(label, (left, top), style)).map_err(drawn)?;
            taken.push((left, right, top));
        }
    }
    Ok(())
}

/// Draws the legend from `top` down; returns where it ends.
fn legend<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    chart: &Chart,
    top: i32,
) -> Result<i32, PlotError> {
    enum Swatch {
        Fill(RGBAColor),
        Line(RGBColor),
        Dot(RGBColor),
    }
    let mut entries: Vec<(String, Swatch)> = Vec::new();
    for (i, series) in chart.series.iter().enumerate() {
        let swatch = match series.kind {
            SeriesKind::Line => Swatch::Line(colour(i)),
            SeriesKind::Bar => Swatch::Fill(colour(i).mix(1.0)),
            SeriesKind::Points => Swatch::Dot(colour(i)),
        };
        entries.push((series.name.clone(), swatch));
    }
    for (i, band) in chart.bands.iter().enumerate() {
        entries.push((band.name.clone(), Swatch::Fill(colour(i).mix(0.25))));
    }
    for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
        if chart.marks.iter().any(|mark| mark.severity == severity) {
            entries.push((severity.to_string(), Swatch::Dot(of_severity(severity))));
        }
    }
    entries.retain(|(name, _)| !name.is_empty());
    if entries.is_empty() {
        return Ok(top);
    }
    let (width, _) = root.dim_in_pixel();
    let line_height = TEXT as i32 + 5;
    let (mut x, mut y) = (12, top);
    let total = entries.len();
    for (i, (name, swatch)) in entries.into_iter().enumerate() {
        let name = shortened(&clean(&name), 60);
        let (long, _) = root.estimate_text_size(&name, &style(TEXT)).map_err(drawn)?;
        if x > 12 && x + long as i32 + 40 > width as i32 {
            (x, y) = (12, y + line_height);
            if (y - top) / line_height >= LEGEND_LINES - 1 && i + 1 < total {
                let more = format!("and {} more", total - i);
                root.draw(&Text::new(more, (x, y), style(TEXT))).map_err(drawn)?;
                break;
            }
        }
        let middle = y + TEXT as i32 / 2;
        match swatch {
            Swatch::Fill(fill) => {
                let corners = [(x, middle - 5), (x + 16, middle + 5)];
                root.draw(&Rectangle::new(corners, fill.filled())).map_err(drawn)?;
            }
            Swatch::Line(stroke) => {
                let line = vec![(x, middle), (x + 16, middle)];
                root.draw(&PathElement::new(line, stroke.stroke_width(2))).map_err(drawn)?;
            }
            Swatch::Dot(fill) => {
                root.draw(&Circle::new((x + 8, middle), 4, fill.filled())).map_err(drawn)?;
            }
        }
        root.draw(&Text::new(name, (x + 22, y), style(TEXT))).map_err(drawn)?;
        x += long as i32 + 22 + 18;
    }
    Ok(y + line_height)
}
