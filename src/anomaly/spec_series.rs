//! Parameters of the kinds that judge each series by itself, whatever its values are.

use serde::{Deserialize, Serialize};

use super::band::Grading;
use super::parameters::{Field, SpecError};
use super::per_series::SeriesOptions;
use super::spec::{Direction, Missing, parameters};

/// Parameters of a kind, followed by those that all these kinds have.
macro_rules! series_parameters {
    ($(#[$meta:meta])* $name:ident = $kind:literal, $series:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $expects:literal, $valid:expr;)*
    }) => {
        parameters! {
            $(#[$meta])*
            $name = $kind {
                /// What the value is called in words. Default "value".
                measure: String = "value".into(), "text", |v| !v.is_empty();
                /// Unit of the value, for words. Default none.
                unit: String = String::new(), "text", |_| true;
                /// Deviations up ("up"), down ("down") or both. Default "both".
                direction: Direction = Direction::Both, "\"up\", \"down\" or \"both\"", |_| true;
                /// A known series without a row: its value was 0 ("zero"), or nothing is known
                /// ("skip"); "auto" is "zero" if `direction` is "down". Default "auto".
                missing: Missing = Missing::Auto, "\"auto\", \"zero\" or \"skip\"", |_| true;
                $($(#[$doc])* $field: $type = $default, $expects, $valid;)*
                /// Series remembered at most.
                max_series: usize = $series, "a whole number from 1 to 10000000",
                    |v| (1..=10_000_000).contains(v);
                /// Score from which an anomaly is a warning. Default 0.6.
                warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
                /// Score from which an anomaly is critical. Default 0.75.
                critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
            }
        }

        impl From<&$name> for SeriesOptions {
            fn from(p: &$name) -> Self {
                SeriesOptions {
                    kind: $name::KIND,
                    measure: p.measure.clone(),
                    unit: p.unit.clone(),
                    direction: p.direction,
                    missing: p.missing,
                    max_series: p.max_series,
                    grading: p.grading(),
                }
            }
        }
    };
}

series_parameters! {
    /// `auto`: how new a value is, seen in several ways; needs no tuning.
    Auto = "auto", 1_000 {
        /// Novelty from which a value is an anomaly: lower finds more, and more that is none.
        /// Default 0.003.
        threshold: f64 = 0.003, "a number from 0.00001 to 1", |v| (1e-5..=1.0).contains(v);
        /// Hours of event time after an alert of a series in which there is no other, unless it is
        /// three times as far out. Default 12.
        quiet_hours: f64 = 12.0, "a number from 0 to 10000", |v| (0.0..=1e4).contains(v);
        /// Windows after which a value is forgotten. Default 5,000.
        memory: u32 = 5_000, "a whole number from 100 to 1000000",
            |v| (100..=1_000_000).contains(v);
        /// Windows of a series before the first judgement. Default 150.
        warm_up: u32 = 150, "a whole number from 10 to 100000", |v| (10..=100_000).contains(v);
    }
}

series_parameters! {
    /// `novelty_gap`: the distance of a value to the nearest of those before, over their range.
    NoveltyGap = "novelty_gap", 10_000 {
        /// Distance from which a value is an anomaly, as part of the range. Default 0.02.
        threshold: f64 = 0.02, "a number from 0.0001 to 2", |v| (1e-4..=2.0).contains(v);
        /// Hours of event time after an alert of a series in which there is no other, unless it is
        /// three times as far out. Default 12.
        quiet_hours: f64 = 12.0, "a number from 0 to 10000", |v| (0.0..=1e4).contains(v);
        /// Windows after which a value is forgotten. Default 5,000.
        memory: u32 = 5_000, "a whole number from 100 to 1000000",
            |v| (100..=1_000_000).contains(v);
        /// Windows of a series before the first judgement. Default 150.
        warm_up: u32 = 150, "a whole number from 10 to 100000", |v| (10..=100_000).contains(v);
    }
}

series_parameters! {
    /// `static_threshold`: a value above or below a fixed limit. At least one must be given.
    StaticThreshold = "static_threshold", 10_000 {
        /// Values above this are out of line. Default none.
        upper: f64 = f64::INFINITY, "a number", |v| *v > -1e30 && !v.is_nan();
        /// Values below this are out of line. Default none.
        lower: f64 = f64::NEG_INFINITY, "a number", |v| *v < 1e30 && !v.is_nan();
        /// Windows in a row that a series must be out of line before it is an anomaly. Default 1.
        windows: u32 = 1, "a whole number from 1 to 100000", |v| (1..=100_000).contains(v);
    }
}

series_parameters! {
    /// `ewma`: a value so many deviations from the exponentially weighted mean.
    Ewma = "ewma", 10_000 {
        /// Width of the band to each side, in standard deviations. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Weight of the newest window in mean and deviation. Default 0.05.
        smoothing: f64 = 0.05, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Only so far from the mean does a value matter. Default 0.
        min_change: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Windows of a series before the first judgement. Default 30.
        warm_up: u32 = 30, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
    }
}

series_parameters! {
    /// `median_mad`: a value so many robust deviations from the median of the last windows.
    MedianMad = "median_mad", 10_000 {
        /// Width of the band to each side, in deviations (1.4826 MAD). Default 6.
        threshold: f64 = 6.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Windows that median and MAD are of. Default 120.
        windows: usize = 120, "a whole number from 5 to 10000", |v| (5..=10_000).contains(v);
        /// Only so far from the median does a value matter. Default 0.
        min_change: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Windows of a series before the first judgement, at most `windows`. Default 30.
        warm_up: usize = 30, "a whole number from 3 to 10000", |v| (3..=10_000).contains(v);
    }
}

series_parameters! {
    /// `seasonal`: a value against what is usual at this hour of the day, or of the week.
    Seasonal = "seasonal", 1_000 {
        /// What comes again: "day" or "week". Default "day".
        season: Season = Season::Day, "\"day\" or \"week\"", |_| true;
        /// Parts that a day has. Default 24.
        parts: u32 = 24, "a whole number from 1 to 288", |v| (1..=288).contains(v);
        /// Time zone of the days, by its IANA name. Default "UTC".
        time_zone: String = "UTC".into(), "an IANA time zone, such as \"Europe/Berlin\"",
            |v| v.parse::<chrono_tz::Tz>().is_ok();
        /// Width of the band to each side, in standard deviations. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Weight of the newest day (or week) in what is usual. Default 0.2.
        smoothing: f64 = 0.2, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Only so far from the usual does a value matter. Default 0.
        min_change: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Days (or weeks) that a part of it must have been seen before it is judged. Default 3.
        warm_up: u32 = 3, "a whole number from 1 to 1000", |v| (1..=1000).contains(v);
    }
}

series_parameters! {
    /// `level_change`: a lasting change of level, too small to show in one window.
    LevelChange = "level_change", 10_000 {
        /// Sum of deviations from which the level has changed. Default 12.
        threshold: f64 = 12.0, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// Deviation that a window may have without adding to the sum: half of the least change
        /// of level that is looked for, in standard deviations. Default 1.
        slack: f64 = 1.0, "a number from 0 to 10", |v| (0.0..=10.0).contains(v);
        /// Weight of the newest window in the level and deviation. Default 0.02.
        smoothing: f64 = 0.02, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Only a change by this part of the level matters. Default 0.1.
        min_part: f64 = 0.1, "a number from 0 to 1000", |v| (0.0..=1e3).contains(v);
        /// Only a change of level by this much matters. Default 0.
        min_change: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Windows of a series before the first judgement. Default 30.
        warm_up: u32 = 30, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
    }
}

/// After what time a series repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    Day,
    Week,
}
