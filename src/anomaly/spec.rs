//! Parameters of the detectors, all with defaults that need no tuning.

use serde::{Deserialize, Serialize};

use super::band::Grading;
use super::track::Tuning;

use super::parameters::read;
pub use super::parameters::{Field, SpecError};
pub use super::spec_clients::{ClientEntropy, NewKeys, Scan};
pub use super::spec_series::{
    Auto, Ewma, LevelChange, MedianMad, NoveltyGap, Seasonal, StaticThreshold,
};

/// Which deviations are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
    Both,
}

impl Direction {
    pub(super) fn reports(self, side: super::band::Side) -> bool {
        use super::band::Side;
        match side {
            Side::Above => self != Direction::Down,
            Side::Below => self != Direction::Up,
            Side::Inside => false,
        }
    }
}

/// What it means that a known series has no row in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// `zero` if drops are reported, else `skip`.
    Auto,
    /// Its count was 0.
    Zero,
    /// Nothing is known of it.
    Skip,
}

/// Over what a mean is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One mean for each series.
    Series,
    /// One mean over the values of all series.
    All,
}

/// How the values of one key that come in several rows of a window become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// Counts add up.
    Sum,
    /// Rates and times are averaged by weight.
    WeightedMean,
}

/// A struct of parameters whose fields say what they take, in one place for serde, for error
/// messages and for the check of ranges.
macro_rules! parameters {
    ($(#[$meta:meta])* $name:ident = $kind:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $expects:literal, $valid:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $name {
            /// The `kind` of the specification.
            pub const KIND: &'static str = $kind;
            /// Names of the parameters, and what each takes.
            pub const FIELDS: &'static [Field] =
                &[$(Field { name: stringify!($field), expects: $expects },)*];

            /// Checks every parameter's range.
            ///
            /// # Errors
            ///
            /// [`SpecError::Value`] for the first that is outside.
            pub fn check(&self) -> Result<(), SpecError> {
                $(
                    let valid: fn(&$type) -> bool = $valid;
                    if !valid(&self.$field) {
                        return Err(SpecError::Value {
                            kind: $kind.to_owned(),
                            key: stringify!($field).to_owned(),
                            expected: $expects.to_owned(),
                            found: format!("{:?}", self.$field),
                        });
                    }
                )*
                Ok(())
            }

            /// From which scores an anomaly is a warning and critical.
            pub fn grading(&self) -> Grading {
                Grading { warning: self.warning_score, critical: self.critical_score }
            }
        }
    };
}

pub(super) use parameters;

/// The learning of the kinds that follow a level.
macro_rules! tuning {
    ($name:ident) => {
        impl $name {
            pub(super) fn tuning(&self) -> Tuning {
                Tuning {
                    warm_up: self.warm_up,
                    smoothing: self.smoothing,
                    threshold: self.threshold,
                    relearn_after: self.relearn_after,
                }
            }
        }
    };
}

parameters! {
    /// `traffic_spike`: a count in the window against the series' own recent level.
    TrafficSpike = "traffic_spike" {
        /// What the value is called in words. Default "requests".
        measure: String = "requests".into(), "text", |v| !v.is_empty();
        /// Unit of the value, for words. Default none.
        unit: String = String::new(), "text", |_| true;
        /// Width of the band, in robust standard deviations. Default 4.5.
        threshold: f64 = 4.5, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only beyond this factor of the expected value does a deviation matter. Default 1.5.
        min_ratio: f64 = 1.5, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// A count up to this is no spike. Default 10.
        min_value: f64 = 10.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Spikes ("up"), drops ("down") or both. Default "up".
        direction: Direction = Direction::Up, "\"up\", \"down\" or \"both\"", |_| true;
        /// A known series without a row: its count was 0 ("zero"), or nothing is known ("skip").
        /// Default "auto": "zero" if drops are reported, else "skip".
        missing: Missing = Missing::Auto, "\"auto\", \"zero\" or \"skip\"", |_| true;
        /// Windows of a series before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Weight of the newest window in the level. Default 0.1.
        smoothing: f64 = 0.1, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the level. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Series remembered at most. Default 10,000.
        max_series: usize = 10_000, "a whole number from 1 to 10000000",
            |v| (1..=10_000_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}
tuning!(TrafficSpike);

parameters! {
    /// `response_time`: a positive, skewed value as a factor of the series' own recent level.
    /// Give the number of requests as weight, if the query has it.
    ResponseTime = "response_time" {
        /// What the value is called in words, such as "p95". Default "response time".
        measure: String = "response time".into(), "text", |v| !v.is_empty();
        /// Unit of the value, for words, such as "ms". Default none.
        unit: String = String::new(), "text", |_| true;
        /// Width of the band, in robust standard deviations of the logarithm. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only beyond this factor of the expected value does a deviation matter. Default 1.5.
        min_ratio: f64 = 1.5, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// A time up to this is never too long. Default 0.
        min_value: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// A value from fewer requests is neither judged nor learnt. Default 1.
        min_weight: f64 = 1.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Slower ("up"), faster ("down") or both. Default "up".
        direction: Direction = Direction::Up, "\"up\", \"down\" or \"both\"", |_| true;
        /// Windows of a series before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Weight of the newest window in the level. Default 0.1.
        smoothing: f64 = 0.1, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the level. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Series remembered at most. Default 10,000.
        max_series: usize = 10_000, "a whole number from 1 to 10000000",
            |v| (1..=10_000_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}
tuning!(ResponseTime);

parameters! {
    /// `error_rate`: a rate from 0 to 1 against the series' own rate before. Its weight must be
    /// the number of requests behind it.
    ErrorRate = "error_rate" {
        /// What the value is called in words. Default "error rate".
        measure: String = "error rate".into(), "text", |v| !v.is_empty();
        /// Width of the band, in standard deviations of a binomial rate. Default 4.5.
        threshold: f64 = 4.5, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only so much above the expected rate does a rate matter. Default 0.02.
        min_change: f64 = 0.02, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// So many errors in a window, or fewer, are no alarm. Default 3.
        min_errors: f64 = 3.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Windows of a series before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Part of the requests before that every window takes from memory. Default 0.02.
        smoothing: f64 = 0.02, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the rate. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Series remembered at most. Default 10,000.
        max_series: usize = 10_000, "a whole number from 1 to 10000000",
            |v| (1..=10_000_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

parameters! {
    /// `client_share`: one client's count in a window against its usual share of all and against
    /// the other clients. The key is the client, the value its count.
    ClientShare = "client_share" {
        /// What the value is called in words. Default "requests".
        measure: String = "requests".into(), "text", |v| !v.is_empty();
        /// Width of the band around the usual share, in standard deviations. Default 4.5.
        threshold: f64 = 4.5, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// A share of all up to this is no alarm. Default 0.05.
        min_share: f64 = 0.05, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Only beyond this factor of its usual share is a client out of line. Default 2.
        min_ratio: f64 = 2.0, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// Distance from the other clients, in robust deviations of the logarithm. Default 3.
        distance: f64 = 3.0, "a number from 0 to 100", |v| (0.0..=100.0).contains(v);
        /// A count up to this is no alarm. Default 30.
        min_count: f64 = 30.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Windows with fewer clients are learnt and not judged. Default 10.
        min_clients: usize = 10, "a whole number from 2 to 1000000",
            |v| (2..=1_000_000).contains(v);
        /// Requests that a client makes in one go. Default 10.
        burst: f64 = 10.0, "a number from 1 to 1000000", |v| (1.0..=1e6).contains(v);
        /// Windows before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Part of the requests before that every window takes from memory. Default 0.02.
        smoothing: f64 = 0.02, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows out of line after which that is a client's usual share. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Large clients remembered at most. Default 10,000.
        max_series: usize = 10_000, "a whole number from 1 to 10000000",
            |v| (1..=10_000_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

parameters! {
    /// `ratio_to_mean`: a value of more than so many times the mean of those before.
    RatioToMean = "ratio_to_mean" {
        /// What the value is called in words. Default "requests".
        measure: String = "requests".into(), "text", |v| !v.is_empty();
        /// How many times the mean is too much. Default 3.
        ratio: f64 = 3.0, "a number above 1, up to 1000000", |v| *v > 1.0 && *v <= 1e6;
        /// The mean of each series ("series") or of all values ("all"). Default "series".
        scope: Scope = Scope::Series, "\"series\" or \"all\"", |_| true;
        /// A value up to this is no alarm. Default 0.
        min_value: f64 = 0.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Whether values above the limit are kept from raising the mean: left out of a series'
        /// own, taken as the limit in that of all. Default true.
        robust: bool = true, "true or false", |_| true;
        /// Values that the mean goes back over; 0: all there were. Default 0.
        memory: u64 = 0, "a whole number of at least 0", |_| true;
        /// Windows (of a series) before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 1 to 1000", |v| (1..=1000).contains(v);
        /// Windows above the limit after which a series' mean starts anew from them (unless
        /// `robust` is false or `scope` is "all"). Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Series remembered at most. Default 10,000.
        max_series: usize = 10_000, "a whole number from 1 to 10000000",
            |v| (1..=10_000_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

/// The kinds there are, each named once.
macro_rules! kinds {
    ($($name:ident),* $(,)?) => {
        /// Which detector, with its parameters. In TOML the `kind` stands beside the parameters.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
        pub enum DetectorSpec {
            $($name($name),)*
        }

        impl DetectorSpec {
            /// The names that `kind` can have.
            pub const KINDS: &'static [&'static str] = &[$($name::KIND,)*];

            pub fn kind(&self) -> &'static str {
                match self {
                    $(DetectorSpec::$name(_) => $name::KIND,)*
                }
            }

            /// Checks the ranges, for a specification that was not made by
            /// [`from_parameters`](Self::from_parameters).
            ///
            /// # Errors
            ///
            /// [`SpecError::Value`].
            pub fn check(&self) -> Result<(), SpecError> {
                match self {
                    $(DetectorSpec::$name(p) => p.check(),)*
                }?;
                self.check_together()
            }

            /// Names of the parameters of a kind and what each takes; `None` for an unknown kind.
            pub fn fields(kind: &str) -> Option<&'static [Field]> {
                match kind {
                    $($name::KIND => Some($name::FIELDS),)*
                    _ => None,
                }
            }

            /// Reads the parameters of a kind (without `kind`); `None` for an unknown kind.
            pub(super) fn read(
                kind: &str,
                parameters: &toml::Table,
            ) -> Option<Result<Self, SpecError>> {
                match kind {
                    $($name::KIND => {
                        Some(read(kind, $name::FIELDS, parameters).map(DetectorSpec::$name))
                    })*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Auto,
    StaticThreshold,
    RatioToMean,
    Ewma,
    MedianMad,
    Seasonal,
    NoveltyGap,
    LevelChange,
    TrafficSpike,
    ErrorRate,
    ResponseTime,
    ClientShare,
    ClientEntropy,
    NewKeys,
    Scan,
}

impl DetectorSpec {
    /// Checks what no parameter can be checked for by itself.
    fn check_together(&self) -> Result<(), SpecError> {
        let DetectorSpec::StaticThreshold(p) = self else { return Ok(()) };
        let wrong = |expected: &str, found: String| SpecError::Value {
            kind: StaticThreshold::KIND.to_owned(),
            key: "upper".to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if p.upper.is_infinite() && p.lower.is_infinite() {
            return Err(wrong("a number (or \"lower\", or both)", "neither".to_owned()));
        }
        if p.lower > p.upper {
            return Err(wrong("a number of at least \"lower\"", p.upper.to_string()));
        }
        Ok(())
    }

    /// Whether the kind is of no use without a weight column: a rate by itself does not tell
    /// 1 error in 2 requests from 500 in 1,000.
    pub fn needs_weight(&self) -> bool {
        matches!(self, DetectorSpec::ErrorRate(_))
    }

    /// Whether its series are clients, whose addresses must not become labels of metrics.
    pub fn series_are_clients(&self) -> bool {
        matches!(self, DetectorSpec::ClientShare(_) | DetectorSpec::Scan(_))
    }

    /// How rows of one key and window become one value.
    pub fn combine(&self) -> Combine {
        match self {
            DetectorSpec::TrafficSpike(_)
            | DetectorSpec::ClientShare(_)
            | DetectorSpec::ClientEntropy(_)
            | DetectorSpec::NewKeys(_)
            | DetectorSpec::Scan(_)
            | DetectorSpec::RatioToMean(_) => Combine::Sum,
            DetectorSpec::Auto(_)
            | DetectorSpec::StaticThreshold(_)
            | DetectorSpec::Ewma(_)
            | DetectorSpec::MedianMad(_)
            | DetectorSpec::Seasonal(_)
            | DetectorSpec::NoveltyGap(_)
            | DetectorSpec::LevelChange(_)
            | DetectorSpec::ErrorRate(_)
            | DetectorSpec::ResponseTime(_) => Combine::WeightedMean,
        }
    }
}
