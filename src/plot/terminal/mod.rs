//! Charts as text: lines in braille dots, bars in blocks, for a terminal of any width, with or
//! without colour.

mod bars;
mod canvas;

use super::frame::{Frame, clean, shortened};
use super::ticks::{self, Ticks};
use super::{Chart, Scale, SeriesKind, Severity, reduce};
use canvas::{Canvas, Ink, inked};

/// The chart as lines of at most `width` characters (20 at least), at most `height` of them (6 at
/// least), each ended by a newline. `colour`: with ANSI escapes; without, series are told apart by
/// their signs.
///
/// Bars over categories lie on their side, one line each, because names need room.
pub fn terminal(chart: &Chart, width: usize, height: usize, colour: bool) -> String {
    let (width, height) = (width.clamp(20, 1000), height.clamp(6, 500));
    let mut lines: Vec<String> = Vec::new();
    if !chart.title.is_empty() {
        lines.push(shortened(&clean(&chart.title), width));
    }
    let bars_only = chart.series.iter().all(|series| series.kind == SeriesKind::Bar);
    let frame = Frame::of(chart);
    match (&chart.x.scale, frame) {
        (_, None) => lines.push("(no data)".to_owned()),
        (Scale::Category(names), Some(frame)) if bars_only => {
            lines.extend(legend(chart, width, colour, chart.series.len() > 1));
            let left = height.saturating_sub(lines.len()).max(3);
            lines.extend(bars::lying(chart, names, &frame, width, left, colour));
        }
        (_, Some(frame)) => {
            lines.extend(legend(chart, width, colour, true));
            let left = height.saturating_sub(lines.len() + 3).max(3);
            lines.extend(plane(chart, &frame, width, left, colour));
        }
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The sign of a series beside the first where there is no colour.
fn sign(series: usize) -> Option<char> {
    const SIGNS: [char; 5] = ['x', 'o', '+', '*', '#'];
    (series > 0).then(|| SIGNS[(series - 1) % SIGNS.len()])
}

fn of_severity(severity: Severity) -> (char, Ink) {
    match severity {
        Severity::Info => ('○', Ink::Info),
        Severity::Warning => ('◇', Ink::Warning),
        Severity::Critical => ('◆', Ink::Critical),
    }
}

fn legend(chart: &Chart, width: usize, colour: bool, series_too: bool) -> Vec<String> {
    let mut entries: Vec<(String, String, Ink)> = Vec::new();
    for (i, series) in chart.series.iter().enumerate().filter(|_| series_too) {
        let drawn = match series.kind {
            SeriesKind::Bar => "█".to_owned(),
            _ => match sign(i).filter(|_| !colour) {
                Some(sign) => sign.to_string(),
                None => "⠒⠒".to_owned(),
            },
        };
        entries.push((drawn, clean(&series.name), Ink::Series(i)));
    }
    for band in &chart.bands {
        entries.push(("░".to_owned(), clean(&band.name), Ink::Band));
    }
    for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
        if chart.marks.iter().any(|mark| mark.severity == severity) {
            let (sign, ink) = of_severity(severity);
            entries.push((sign.to_string(), severity.to_string(), ink));
        }
    }
    entries.retain(|(_, name, _)| !name.is_empty());
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    let total = entries.len();
    for (i, (drawn, name, ink)) in entries.into_iter().enumerate() {
        let name = shortened(&name, width.saturating_sub(4));
        let long = drawn.chars().count() + 1 + name.chars().count();
        if used > 0 && used + 3 + long > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
            if lines.len() == 3 {
                line = format!("and {} more", total - i);
                break;
            }
        }
        if used > 0 {
            line.push_str("   ");
            used += 3;
        }
        line.push_str(&inked(&drawn, ink, colour));
        line.push(' ');
        line.push_str(&name);
        used += long;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The picture with its axes: `rows` lines and up to three below.
fn plane(chart: &Chart, frame: &Frame, width: usize, rows: usize, colour: bool) -> Vec<String> {
    let most = (rows / 3).clamp(2, 10);
    let up = match &chart.y.scale {
        Scale::Number(unit) => ticks::numbers(frame.y.0, frame.y.1, most, unit),
        Scale::Time | Scale::Category(_) => ticks::times(frame.y.0, frame.y.1, most),
    };
    let margin = up.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    let margin = margin.min(width / 3);
    let columns = width.saturating_sub(margin + 2).max(4);
    let mut canvas = Canvas::new(columns, rows);
    draw(chart, frame, &mut canvas, colour);
    let mut labels: Vec<&str> = vec![""; rows];
    for (at, label) in up.at.iter().zip(&up.labels) {
        let from_top = ((1.0 - frame.up(*at)) * (rows as f64 - 1.0)).round() as usize;
        if let Some(place) = labels.get_mut(from_top) {
            *place = label;
        }
    }
    let mut lines = Vec::new();
    for (row, label) in labels.into_iter().enumerate() {
        let edge = inked(if label.is_empty() { "│" } else { "┤" }, Ink::Frame, colour);
        let label = shortened(label, margin);
        lines.push(format!("{label:>margin$} {edge}{}", canvas.row(row, colour)));
    }
    lines.extend(x_axis(chart, frame, margin, columns, colour));
    lines
}

fn draw(chart: &Chart, frame: &Frame, canvas: &mut Canvas, colour: bool) {
    let (wide, high) = (canvas.wide(), canvas.high());
    let place = |x: f64, y: f64| {
        let across = (frame.across(x) * (wide as f64 - 1.0)).round() as usize;
        (across, (frame.up(y) * (high as f64 - 1.0)).round() as usize)
    };
    for band in &chart.bands {
        for stretch in reduce::bands(&band.points, frame, wide) {
            for pair in stretch.windows(2) {
                let [(x0, l0, u0), (x1, l1, u1)] = [pair[0], pair[1]];
                let (from, to) = (place(x0, l0).0, place(x1, l0).0);
                for x in from..=to.max(from) {
                    let part = if to > from { (x - from) as f64 / (to - from) as f64 } else { 0.0 };
                    let low = place(x0, l0 + (l1 - l0) * part).1;
                    let up = place(x0, u0 + (u1 - u0) * part).1;
                    canvas.shade(x, low, up);
                }
            }
            if let [(x, lower, upper)] = stretch[..] {
                let (at, low) = place(x, lower);
                canvas.shade(at, low, place(x, upper).1);
            }
        }
    }
    let zero = place(frame.x.0, 0.0_f64.clamp(frame.y.0, frame.y.1)).1;
    for (i, series) in chart.series.iter().enumerate() {
        let ink = Ink::Series(i);
        let sign = sign(i).filter(|_| !colour);
        if series.kind == SeriesKind::Bar {
            for (x, y) in reduce::bars(&series.points, frame, wide) {
                let (x, y) = place(x, y);
                canvas.line((x, zero), (x, y), ink);
            }
            continue;
        }
        for line in reduce::lines(&series.points, frame, wide) {
            for (x, y) in &line {
                let (x, y) = place(*x, *y);
                match sign {
                    Some(sign) => canvas.sign(x, y, sign, ink),
                    None => canvas.dot(x, y, ink),
                }
            }
            if series.kind == SeriesKind::Line && sign.is_none() {
                for pair in line.windows(2) {
                    canvas.line(place(pair[0].0, pair[0].1), place(pair[1].0, pair[1].1), ink);
                }
            }
        }
    }
    let mut marks: Vec<_> = chart.marks.iter().collect();
    marks.sort_by_key(|mark| mark.severity);
    for mark in marks.into_iter().filter(|m| m.x.is_finite() && m.y.is_finite()) {
        let (x, y) = place(mark.x, mark.y);
        let (sign, ink) = of_severity(mark.severity);
        canvas.sign(x, y, sign, ink);
    }
}

fn x_axis(
    chart: &Chart,
    frame: &Frame,
    margin: usize,
    columns: usize,
    colour: bool,
) -> Vec<String> {
    let ticks = match &chart.x.scale {
        Scale::Time => ticks::times(frame.x.0, frame.x.1, (columns / 12).max(2)),
        Scale::Number(unit) => ticks::numbers(frame.x.0, frame.x.1, (columns / 12).max(2), unit),
        Scale::Category(names) => Ticks {
            at: (0..names.len()).map(|i| i as f64).collect(),
            labels: names.iter().map(|name| shortened(&clean(name), 12)).collect(),
            common: String::new(),
        },
    };
    let mut edge = vec!['─'; columns];
    let mut below = vec![' '; margin + 2 + columns];
    let mut free = 0;
    for (at, label) in ticks.at.iter().zip(&ticks.labels) {
        let column = (frame.across(*at) * (columns as f64 - 1.0)).round() as usize;
        let long = label.chars().count();
        let middle = margin + 2 + column;
        let start = middle.saturating_sub(long / 2).min(below.len().saturating_sub(long));
        if start < free {
            continue;
        }
        if let Some(place) = edge.get_mut(column) {
            *place = '┬';
        }
        for (place, c) in below.iter_mut().skip(start).zip(label.chars()) {
            *place = c;
        }
        free = start + long + 1;
    }
    let edge: String = edge.into_iter().collect();
    let edge = inked(&format!("└{edge}"), Ink::Frame, colour);
    let mut lines = vec![format!("{:margin$} {edge}", ""), below.into_iter().collect()];
    let notes = [clean(&chart.x.label), ticks.common].into_iter().filter(|n| !n.is_empty());
    let note = shortened(&notes.collect::<Vec<_>>().join(", "), margin + 2 + columns);
    if !note.is_empty() {
        lines.push(format!("{note:>width$}", width = margin + 2 + columns));
    }
    lines
}
