//! Parameters of the kinds that look at all keys of a window together, such as the addresses of
//! clients.

use serde::{Deserialize, Serialize};

use super::band::Grading;
use super::parameters::{Field, SpecError};
use super::spec::{Direction, parameters};
use super::track::Tuning;

parameters! {
    /// `client_entropy`: how evenly a window's requests are spread over its clients.
    ClientEntropy = "client_entropy" {
        /// What the value is called in words. Default "entropy of clients".
        measure: String = "entropy of clients".into(), "text", |v| !v.is_empty();
        /// Width of the band to each side, in robust standard deviations. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only a change by so many bits matters. Default 0.5.
        min_change: f64 = 0.5, "a number from 0 to 64", |v| (0.0..=64.0).contains(v);
        /// Requests on few clients ("down"), on many ("up") or both. Default "both".
        direction: Direction = Direction::Both, "\"up\", \"down\" or \"both\"", |_| true;
        /// Windows with fewer requests are neither judged nor learnt. Default 50.
        min_count: f64 = 50.0, "a number of at least 1", |v| (1.0..1e30).contains(v);
        /// Windows before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Weight of the newest window in the level. Default 0.1.
        smoothing: f64 = 0.1, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the level. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

parameters! {
    /// `new_keys`: how many keys of a window were not there before.
    NewKeys = "new_keys" {
        /// What the keys are called in words. Default "clients".
        measure: String = "clients".into(), "text", |v| !v.is_empty();
        /// Width of the band, in robust standard deviations. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only beyond this factor of the expected number does one matter. Default 2.
        min_ratio: f64 = 2.0, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// So many new keys in a window are no alarm. Default 20.
        min_value: f64 = 20.0, "a number of at least 0", |v| (0.0..1e30).contains(v);
        /// Keys remembered; of more, those seen first are forgotten. Default 100,000.
        max_keys: usize = 100_000, "a whole number from 1000 to 10000000",
            |v| (1000..=10_000_000).contains(v);
        /// Windows before the first judgement. Default 20.
        warm_up: usize = 20, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Weight of the newest window in the level. Default 0.1.
        smoothing: f64 = 0.1, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the level. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

parameters! {
    /// `scan`: one client that touches many more endpoints than any other does.
    Scan = "scan" {
        /// What the value is called in words. Default "endpoints".
        measure: String = "endpoints".into(), "text", |v| !v.is_empty();
        /// Width of the band above the largest number so far, in robust standard deviations of its
        /// logarithm. Default 5.
        threshold: f64 = 5.0, "a number from 1 to 100", |v| (1.0..=100.0).contains(v);
        /// Only beyond this factor of the largest number so far is a client out of line.
        /// Default 1.5.
        min_ratio: f64 = 1.5, "a number from 1 to 1000", |v| (1.0..=1e3).contains(v);
        /// So many endpoints in a window are no alarm. Default 15.
        min_value: f64 = 15.0, "a number of at least 1", |v| (1.0..1e30).contains(v);
        /// Windows with fewer clients are neither judged nor learnt. Default 10.
        min_clients: usize = 10, "a whole number from 1 to 1000000",
            |v| (1..=1_000_000).contains(v);
        /// Windows before the first judgement. Default 10.
        warm_up: usize = 10, "a whole number from 3 to 1000", |v| (3..=1000).contains(v);
        /// Weight of the newest window in the level. Default 0.1.
        smoothing: f64 = 0.1, "a number from 0.001 to 1", |v| (0.001..=1.0).contains(v);
        /// Windows outside the band after which that is the level. Default 60.
        relearn_after: u32 = 60, "a whole number from 3 to 100000", |v| (3..=100_000).contains(v);
        /// Score from which an anomaly is a warning. Default 0.6.
        warning_score: f64 = 0.6, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
        /// Score from which an anomaly is critical. Default 0.75.
        critical_score: f64 = 0.75, "a number from 0 to 1", |v| (0.0..=1.0).contains(v);
    }
}

/// The learning of the kinds that follow one level.
macro_rules! tuning {
    ($($name:ident),*) => {$(
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
    )*};
}

tuning!(ClientEntropy, NewKeys, Scan);
