//! Bars on their side: a line each, the name before it and the number behind.

use super::canvas::{Ink, inked};
use crate::plot::frame::{Frame, clean, drawable, shortened};
use crate::plot::units::{Unit, short};
use crate::plot::{Chart, Scale};

/// Parts of a character from the left, in eighths.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// At most `most` lines of at most `width` characters. Of more bars the first are shown, and how
/// many are not.
pub fn lying(
    chart: &Chart,
    names: &[String],
    frame: &Frame,
    width: usize,
    most: usize,
    colour: bool,
) -> Vec<String> {
    let unit = match &chart.y.scale {
        Scale::Number(unit) => unit.clone(),
        Scale::Time | Scale::Category(_) => Unit::None,
    };
    let names: Vec<String> = names.iter().map(|name| clean(name)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let margin = longest.min(width * 2 / 5);
    let mut bars: Vec<(usize, usize, f64)> = Vec::new();
    for (i, series) in chart.series.iter().enumerate() {
        for (x, y) in &series.points {
            if drawable(*x) && drawable(*y) && x.round() >= 0.0 {
                bars.push((x.round() as usize, i, *y));
            }
        }
    }
    bars.sort_by_key(|(place, series, _)| (*place, *series));
    let texts: Vec<String> = bars.iter().map(|(_, _, value)| short(*value, &unit)).collect();
    let number = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(margin + 1 + number + 1).max(4) as f64;
    // The frame has room above the greatest bar; here that is where the number stands.
    let greatest = bars.iter().map(|(_, _, value)| *value).fold(0.0, f64::max);
    let least = bars.iter().map(|(_, _, value)| *value).fold(0.0, f64::min).max(frame.y.0.min(0.0));
    let span = greatest - least;
    let scale = if span > 0.0 { room / span } else { 0.0 };
    let before = (-least * scale).round() as usize;
    let shown = if bars.len() > most { most.saturating_sub(1).max(1) } else { bars.len() };
    let mut lines = Vec::new();
    let mut last = None;
    for ((place, series, value), text) in bars.iter().zip(&texts).take(shown) {
        let name = if last == Some(*place) { "" } else { names.get(*place).map_or("", |n| n) };
        last = Some(*place);
        let name = shortened(name, margin);
        let bar = bar(*value, scale, before);
        lines.push(format!(
            "{name:margin$} {}{} {text}",
            bar.0,
            inked(&bar.1, Ink::Series(*series), colour)
        ));
    }
    if shown < bars.len() {
        lines.push(format!("and {} more", bars.len() - shown));
    }
    lines
}

/// The spaces before a bar, and the bar.
fn bar(value: f64, scale: f64, before: usize) -> (String, String) {
    let eighths = (value.abs() * scale * 8.0).round() as usize;
    let (whole, part) = (eighths / 8, eighths % 8);
    if value < 0.0 {
        // No character is filled from the right: whole ones, at least one.
        let whole = (eighths.div_ceil(8)).clamp(1, before.max(1));
        return (" ".repeat(before.saturating_sub(whole)), "█".repeat(whole));
    }
    let mut bar = "█".repeat(whole);
    if let Some(part) = part.checked_sub(1).and_then(|i| PARTS.get(i)) {
        bar.push(*part);
    }
    if bar.is_empty() && value > 0.0 {
        bar.push(PARTS[0]);
    }
    (" ".repeat(before), bar)
}
