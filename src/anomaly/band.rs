//! What was expected, how far a value is from it, and how bad that is.

use super::Severity;

/// Edges of the expected range. On a detector's own scale or in the unit of the value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
}

/// Which side of a band a value is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Below,
    Inside,
    Above,
}

impl Band {
    /// The edges themselves are inside.
    pub fn side(&self, value: f64) -> Side {
        if value > self.upper {
            Side::Above
        } else if value < self.lower {
            Side::Below
        } else {
            Side::Inside
        }
    }

    /// The score of a value on the same scale as the band.
    pub fn score(&self, value: f64) -> f64 {
        let edge = if value >= self.expected { self.upper } else { self.lower };
        score((value - self.expected).abs(), (edge - self.expected).abs())
    }
}

/// Score of a value that is `distance` away from the expected one when the band ends at `reach`:
/// `d / (1 + d)` for `d = distance / reach`; 0 as expected, 0.5 on the edge, towards 1 far out.
///
/// A ratio rather than a probability, because a tail probability means little so far out in a
/// distribution that was estimated from some dozens of windows, and is 0 for everything worth
/// telling apart.
pub fn score(distance: f64, reach: f64) -> f64 {
    if distance <= 0.0 || distance.is_nan() || reach.is_nan() {
        0.0
    } else if reach <= 0.0 || distance.is_infinite() {
        1.0
    } else {
        distance / (distance + reach)
    }
}

/// From which score an anomaly is a warning, and critical.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grading {
    pub warning: f64,
    pub critical: f64,
}

impl Grading {
    pub fn severity(&self, score: f64) -> Severity {
        if score >= self.critical {
            Severity::Critical
        } else if score >= self.warning {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

/// How many standard deviations, *estimated* from `freedom` degrees of freedom, are as improbable
/// as `sigmas` known ones: the quantile of Student's t, by the expansion in 1/n of Abramowitz and
/// Stegun, 26.7.5. With few degrees of freedom the expansion falls short, and the exact quantile
/// would make a young baseline blind; both are why the result is held to twice `sigmas`.
pub fn student(sigmas: f64, freedom: f64) -> f64 {
    let z = sigmas;
    let n = freedom.max(1.0);
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    (z + g1 / n + g2 / (n * n) + g3 / (n * n * n)).min(2.0 * sigmas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_has_its_landmarks() {
        assert_eq!(score(0.0, 1.0), 0.0);
        assert_eq!(score(2.0, 2.0), 0.5);
        assert_eq!(score(6.0, 2.0), 0.75);
        assert_eq!(score(1.0, 0.0), 1.0);
        assert_eq!(score(f64::INFINITY, 1.0), 1.0);
        assert_eq!(score(f64::NAN, 1.0), 0.0);
    }

    #[test]
    fn severities_go_by_the_score() {
        let grading = Grading { warning: 0.6, critical: 0.75 };
        assert_eq!(grading.severity(0.51), Severity::Info);
        assert_eq!(grading.severity(0.6), Severity::Warning);
        assert_eq!(grading.severity(0.75), Severity::Critical);
    }

    #[test]
    fn student_widens_what_few_windows_tell() {
        // 97.5 % quantile (1.96 sigmas) of t with 10 and 30 degrees of freedom: 2.228, 2.042.
        assert!((student(1.96, 10.0) - 2.228).abs() < 0.01);
        assert!((student(1.96, 30.0) - 2.042).abs() < 0.01);
        assert!(student(5.0, 1.0) <= 10.0);
        assert!((student(5.0, 1e9) - 5.0).abs() < 1e-6);
    }
}
