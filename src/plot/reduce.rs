//! Fewer points that look the same: of each column of the picture the first, the least, the
//! greatest and the last (M4: Jugel, Jerzak, Hackenbroich and Markl, "M4: a visualization-oriented
//! time series data aggregation", VLDB 2014), so that every spike stays.

use super::frame::{Frame, drawable};

/// The lines of a series: one a stretch without gaps, each reduced to the picture's columns.
pub fn lines(points: &[(f64, f64)], frame: &Frame, columns: usize) -> Vec<Vec<(f64, f64)>> {
    let stretches = points.split(|(x, y)| !drawable(*x) || !drawable(*y));
    stretches.filter(|s| !s.is_empty()).map(|s| reduced(s, frame, columns)).collect()
}

fn reduced(points: &[(f64, f64)], frame: &Frame, columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= columns.saturating_mul(4) {
        return points.to_vec();
    }
    let column = |x: f64| (frame.across(x) * columns as f64) as usize;
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = [group.first(), group.last()];
        let extremes = [group.iter().min_by(by_value), group.iter().max_by(by_value)];
        let mut chosen: Vec<(f64, f64)> =
            ends.into_iter().chain(extremes).flatten().copied().collect();
        chosen.sort_by(|a, b| a.0.total_cmp(&b.0));
        chosen.dedup();
        kept.extend(chosen);
    }
    kept
}

/// The stretches of a band without gaps, each reduced to the columns' outermost edges.
pub fn bands(
    points: &[(f64, f64, f64)],
    frame: &Frame,
    columns: usize,
) -> Vec<Vec<(f64, f64, f64)>> {
    let gap = |(x, lower, upper): &(f64, f64, f64)| {
        !drawable(*x) || !drawable(*lower) || !drawable(*upper)
    };
    let column = |x: f64| (frame.across(x) * columns as f64) as usize;
    let held = |(x, lower, upper): (f64, f64, f64)| {
        (x, lower.clamp(frame.y.0, frame.y.1), upper.clamp(frame.y.0, frame.y.1))
    };
    let reduced = |stretch: &[(f64, f64, f64)]| -> Vec<(f64, f64, f64)> {
        if stretch.len() <= columns {
            return stretch.iter().copied().map(held).collect();
        }
        let groups = stretch.chunk_by(|a, b| column(a.0) == column(b.0));
        groups
            .filter_map(|group| {
                let lower = group.iter().map(|p| p.1).min_by(f64::total_cmp)?;
                let upper = group.iter().map(|p| p.2).max_by(f64::total_cmp)?;
                Some(held((group.get(group.len() / 2)?.0, lower, upper)))
            })
            .collect()
    };
    points.split(gap).filter(|s| !s.is_empty()).map(reduced).collect()
}

/// Bars, the furthest from zero of each column if there are more than fit.
pub fn bars(points: &[(f64, f64)], frame: &Frame, columns: usize) -> Vec<(f64, f64)> {
    let fit: Vec<(f64, f64)> =
        points.iter().copied().filter(|(x, y)| drawable(*x) && drawable(*y)).collect();
    if fit.len() <= columns {
        return fit;
    }
    let column = |x: f64| (frame.across(x) * columns as f64) as usize;
    fit.chunk_by(|a, b| column(a.0) == column(b.0))
        .filter_map(|group| group.iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_survives_and_gaps_stay() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[70_001].1 = 99.0;
        points[30_000].1 = f64::NAN;
        let frame = Frame { x: (0.0, 1e5), y: (0.0, 100.0) };
        let lines = lines(&points, &frame, 500);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().map(Vec::len).sum::<usize>() <= 2002);
        assert!(lines[1].contains(&(70_001.0, 99.0)));
        assert_eq!(bars(&points, &frame, 100).iter().filter(|p| p.1 == 99.0).count(), 1);
    }
}
