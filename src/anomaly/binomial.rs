//! Two rates held against each other: k of n now, against K of N before.
//!
//! By the likelihood-ratio statistic (G-test; S. S. Wilks, "The large-sample distribution of the
//! likelihood ratio", Annals of Mathematical Statistics 9, 1938), whose signed root is close to
//! normal far into the tails, where the alarms are, and for small counts, where the normal interval
//! and Wilson's (its inversion) promise far too much: 3 errors in 20 requests at a true rate of 1 %
//! are 6.3 deviations by Wilson, and 3.1 by the exact binomial; this gives 3.3. That the rate before
//! is itself only known from N requests is part of it: K = 0 of N = 50 is not "never".

/// Trials count up to here: beyond, the terms' rounding is larger than what more trials tell.
const MAX_TRIALS: f64 = 1e9;

/// k of n: events of a number of trials. Fractions are welcome (decayed sums).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    pub events: f64,
    pub trials: f64,
}

impl Tally {
    pub fn new(events: f64, trials: f64) -> Self {
        Tally { events, trials }
    }

    /// Events over trials; 0 without trials.
    pub fn rate(&self) -> f64 {
        if self.trials > 0.0 { (self.events / self.trials).clamp(0.0, 1.0) } else { 0.0 }
    }

    fn capped(&self) -> Self {
        if self.trials > MAX_TRIALS { self.scaled(MAX_TRIALS / self.trials) } else { *self }
    }

    /// The same rate from `factor` times as many trials.
    pub fn scaled(&self, factor: f64) -> Self {
        Tally { events: self.events * factor, trials: self.trials * factor }
    }

    pub fn plus(&self, other: Tally) -> Self {
        Tally { events: self.events + other.events, trials: self.trials + other.trials }
    }

    pub fn minus(&self, other: Tally) -> Self {
        Tally {
            events: (self.events - other.events).max(0.0),
            trials: (self.trials - other.trials).max(0.0),
        }
    }
}

/// G of both tallies having one rate; 0 if either is empty. Its square root counts standard
/// deviations.
pub fn deviance(now: Tally, before: Tally) -> f64 {
    if now.trials <= 0.0 || before.trials <= 0.0 {
        return 0.0;
    }
    let (now, before) = (now.capped(), before.capped());
    let rate = now.plus(before).rate();
    let part = |tally: Tally| {
        let events = tally.events.clamp(0.0, tally.trials);
        let others = tally.trials - events;
        term(events, tally.trials * rate) + term(others, tally.trials * (1.0 - rate))
    };
    (2.0 * (part(now) + part(before))).max(0.0)
}

fn term(observed: f64, expected: f64) -> f64 {
    if observed <= 0.0 || expected <= 0.0 { 0.0 } else { observed * (observed / expected).ln() }
}

/// The rates of `trials` now that are within `sigmas` of the tally before: (lower, upper), around
/// its rate. The search is by bisection, as the statistic grows on both sides.
pub fn band(before: Tally, trials: f64, sigmas: f64) -> (f64, f64) {
    let rate = before.rate();
    let limit = sigmas * sigmas;
    let edge = |mut inside: f64, end: f64| {
        let far = |rate: f64| deviance(Tally::new(rate * trials, trials), before) > limit;
        if !far(end) {
            return end;
        }
        let mut outside = end;
        for _ in 0..40 {
            let middle = inside + (outside - inside) / 2.0;
            if far(middle) {
                outside = middle;
            } else {
                inside = middle;
            }
        }
        inside
    };
    (edge(rate, 0.0), edge(rate, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_are_not_overstated() {
        // The example of the module's text; the exact tail probability 0.0010 is 3.1 deviations.
        let z = deviance(Tally::new(3.0, 20.0), Tally::new(1e6, 1e8)).sqrt();
        assert!((z - 3.33).abs() < 0.01, "{z}");
        // An unsure rate before makes the same errors less surprising still.
        let unsure = deviance(Tally::new(3.0, 20.0), Tally::new(1.0, 100.0)).sqrt();
        assert!(unsure < z);
    }

    #[test]
    fn no_events_before_is_not_never() {
        let z = deviance(Tally::new(1.0, 10.0), Tally::new(0.0, 50.0)).sqrt();
        assert!(z > 1.0 && z < 3.0, "{z}");
        assert_eq!(deviance(Tally::new(1.0, 10.0), Tally::default()), 0.0);
        assert_eq!(deviance(Tally::default(), Tally::new(1.0, 10.0)), 0.0);
    }

    #[test]
    fn numbers_beyond_all_counting_are_no_alarm() {
        for trials in [1e12, 1e20, 1e29] {
            let tally = Tally::new(trials / 7.0, trials);
            assert!(deviance(tally, tally.scaled(1.7)) < 1.0, "{trials}");
            assert!(deviance(Tally::new(50.0, 50.0), tally) > 100.0, "{trials}");
        }
    }

    #[test]
    fn the_band_is_where_the_statistic_says() {
        let before = Tally::new(10.0, 1000.0);
        for trials in [5.0, 50.0, 5_000.0] {
            let (lower, upper) = band(before, trials, 4.0);
            assert!(lower <= 0.01 && 0.01 <= upper);
            let z = deviance(Tally::new(upper * trials, trials), before).sqrt();
            assert!((z - 4.0).abs() < 1e-6, "{trials}: {z}");
        }
        assert_eq!(band(before, 1.0, 5.0).1, 1.0);
        assert_eq!(band(Tally::default(), 10.0, 5.0), (0.0, 1.0));
    }
}
