//! Which value comes when.

const SECOND: i128 = 1_000_000;

/// The relation of values and times.
///
/// The number of values before second `s` is that of Spark's `RateStreamProvider.valueAtSecond`:
/// the speed rises by the same amount every second until the ramp is over. Within its second, a
/// value's share of the second is its share of the second's values; Spark spreads the values of a
/// micro-batch the same way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    start_us: i64,
    rate: i128,
    ramp: i128,
}

impl Plan {
    /// `start_us` in microseconds since the Unix epoch, the ramp in seconds.
    pub fn new(start_us: i64, rows_per_second: u64, ramp_up_seconds: u64) -> Self {
        // Positions are 63 bits; nothing is lost by less than that.
        let bounded = |number: u64| i128::from(number.min(i64::MAX.cast_unsigned()));
        Self { start_us, rate: bounded(rows_per_second), ramp: bounded(ramp_up_seconds) }
    }

    /// Values that come before second `second` after the start.
    fn before(&self, second: i128) -> i128 {
        let ramped = second.min(self.ramp);
        let rise = self.rate / (self.ramp + 1);
        let on_ramp = rise.saturating_mul(ramped.saturating_mul(ramped + 1) / 2);
        on_ramp.saturating_add((second - ramped).saturating_mul(self.rate))
    }

    /// The second in which a value comes, and how many values come before and after that second.
    fn second_of(&self, value: i128) -> (i128, i128, i128) {
        let on_ramp = self.before(self.ramp);
        let second = if value >= on_ramp {
            self.ramp + (value - on_ramp) / self.rate
        } else {
            let (mut low, mut high) = (0, self.ramp);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if self.before(middle) <= value { low = middle } else { high = middle }
            }
            low
        };
        (second, self.before(second), self.before(second + 1))
    }

    /// The next value at `now_us`: all before it are due.
    pub fn due(&self, now_us: i64) -> i64 {
        let elapsed = i128::from(now_us) - i128::from(self.start_us);
        if elapsed < 0 {
            return 0;
        }
        let second = elapsed / SECOND;
        let (before, after) = (self.before(second), self.before(second + 1));
        // Values whose place in the second, rounded down, has been reached: rounded up.
        let part = ((elapsed % SECOND + 1).saturating_mul(after - before) + SECOND - 1) / SECOND;
        i64::try_from(before.saturating_add(part.min(after - before))).unwrap_or(i64::MAX)
    }

    /// Shows the timestamps of the values `from..to`, microseconds since the Unix epoch.
    pub fn times(&self, from: i64, to: i64, mut show: impl FnMut(i64)) {
        let to = i128::from(to);
        let mut value = i128::from(from.max(0));
        while value < to {
            let (second, before, after) = self.second_of(value);
            let begin = i128::from(self.start_us) + second * SECOND;
            let count = (after - before).max(1);
            while value < to.min(before + count) {
                let time = begin + (value - before) * SECOND / count;
                show(i64::try_from(time).unwrap_or(i64::MAX));
                value += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(plan: &Plan, value: i64) -> i64 {
        let mut found = 0;
        plan.times(value, value + 1, |time| found = time);
        found
    }

    #[test]
    fn a_ramp_rises_as_in_spark() {
        // The table in the comment of RateStreamProvider.valueAtSecond.
        let plan = Plan::new(0, 10, 4);
        let values: Vec<i128> = (0..7).map(|second| plan.before(second)).collect();
        assert_eq!(values, [0, 2, 6, 12, 20, 30, 40]);
    }

    #[test]
    fn values_are_spread_over_their_second() {
        let plan = Plan::new(1_000_000_000, 4, 0);
        let times: Vec<i64> = (0..6).map(|value| time(&plan, value) - 1_000_000_000).collect();
        assert_eq!(times, [0, 250_000, 500_000, 750_000, 1_000_000, 1_250_000]);
        assert_eq!(plan.due(1_000_000_000), 1);
        assert_eq!(plan.due(1_000_249_999), 1);
        assert_eq!(plan.due(1_000_250_000), 2);
        assert_eq!(plan.due(999_999_999), 0, "a clock that was set back");
    }

    #[test]
    fn extremes_do_not_overflow() {
        for plan in [Plan::new(i64::MAX, u64::MAX, u64::MAX), Plan::new(i64::MIN, u64::MAX, 3)] {
            plan.due(i64::MAX);
            plan.due(i64::MIN);
            time(&plan, i64::MAX - 1);
            time(&plan, 0);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_due_from_its_timestamp_on(
            rate in 1u64..5_000_000,
            ramp in 0u64..60,
            value in 0i64..100_000_000,
            start in -1_000_000_000i64..2_000_000_000_000_000,
        ) {
            let plan = Plan::new(start, rate, ramp);
            let at = time(&plan, value);
            prop_assert!(at >= start);
            prop_assert!(plan.due(at) > value);
            prop_assert!(plan.due(at - 1) <= value);
            prop_assert!(time(&plan, value + 1) >= at);
        }
    }
}
