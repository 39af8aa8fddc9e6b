//! Where the ticks of an axis stand, and what they say.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::units::{Unit, tick_labels};

/// Ticks of an axis, ascending.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ticks {
    pub at: Vec<f64>,
    pub labels: Vec<String>,
    /// What all labels leave out, such as the day of times within one.
    pub common: String,
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Numbers at 1, 2, 2.5 or 5 times a power of ten, at most `most` of them (2 at least).
pub fn numbers(low: f64, high: f64, most: usize, unit: &Unit) -> Ticks {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return Ticks::default();
    }
    let step = step_of(span / most.max(2) as f64, unit);
    // A tick on an edge is not lost to rounding.
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 1000.0) as usize;
    // Multiples, not sums: rounding must not add up.
    let at: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
    let labels = tick_labels(&at, step, unit);
    Ticks { at, labels, common: String::new() }
}

/// The least round step that is not below `least`.
fn step_of(least: f64, unit: &Unit) -> f64 {
    // Bytes are round in powers of two, longer times in minutes and hours.
    if *unit == Unit::Bytes && least >= 1.0 {
        return 2f64.powi(least.log2().ceil() as i32);
    }
    if *unit == Unit::Seconds && least > 10.0 {
        let round =
            [15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0];
        if let Some(step) = round.into_iter().find(|step| *step >= least) {
            return step;
        }
    }
    let power = 10f64.powf(least.log10().floor());
    let rounds = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = rounds.iter().map(|r| r * power).find(|step| *step >= least * 0.999_999);
    step.unwrap_or(10.0 * power)
}

/// Steps of times below a day, in microseconds.
const CLOCK: [i64; 33] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
];

/// A step between ticks of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeStep {
    Micros(i64),
    Days(i64),
    Months(i64),
    Years(i64),
}

/// Times in UTC at round seconds, minutes, hours, days, months or years, at most `most` of them.
/// `low` and `high` are microseconds since the Unix epoch.
pub fn times(low: f64, high: f64, most: usize) -> Ticks {
    // `as` saturates, and what chrono cannot say falls back to numbers.
    let (from, to) = (low as i64, high as i64);
    let (Some(first), Some(last)) = (moment(from), moment(to)) else {
        return numbers(low, high, most, &Unit::None);
    };
    let span = to.saturating_sub(from);
    let least = span / most.max(2) as i64 + 1;
    let step = time_step(least);
    let at = match step {
        TimeStep::Micros(step) => clock_ticks(from, to, step),
        _ => calendar_ticks(first, last, step),
    };
    // Within one day, the day is said once for all.
    let one_day = first.date() == last.date() && matches!(step, TimeStep::Micros(_));
    let labels = at.iter().enumerate().map(|(i, at)| label(*at, step, one_day, i == 0)).collect();
    let common = if one_day { first.format("%Y-%m-%d UTC").to_string() } else { "UTC".to_owned() };
    Ticks { at: at.into_iter().map(|at| at as f64).collect(), labels, common }
}

fn moment(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

fn time_step(least: i64) -> TimeStep {
    if let Some(step) = CLOCK.into_iter().chain([12 * HOUR]).find(|step| *step >= least) {
        return TimeStep::Micros(step);
    }
    let days = 1 + (least - 1) / DAY;
    if let Some(step) = [1, 2, 7, 14].into_iter().find(|step| *step >= days) {
        return TimeStep::Days(step);
    }
    let months = 1 + (days - 1) / 30;
    if let Some(step) = [1, 2, 3, 6].into_iter().find(|step| *step >= months) {
        return TimeStep::Months(step);
    }
    let years = 1 + (months - 1) / 12;
    let mut step = 1;
    for round in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000, 1_000_000] {
        step = round;
        if round >= years {
            break;
        }
    }
    TimeStep::Years(step)
}

fn clock_ticks(from: i64, to: i64, step: i64) -> Vec<i64> {
    let mut at = Vec::new();
    // The epoch began at midnight, so multiples are round times of day.
    let mut tick = from.div_euclid(step) * step;
    if tick < from {
        tick += step;
    }
    while tick <= to && at.len() < 1000 {
        at.push(tick);
        tick += step;
    }
    at
}

fn calendar_ticks(first: NaiveDateTime, last: NaiveDateTime, step: TimeStep) -> Vec<i64> {
    let date = first.date();
    let start = match step {
        TimeStep::Days(days) if days % 7 == 0 => {
            date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())))
        }
        TimeStep::Days(_) | TimeStep::Micros(_) => Some(date),
        TimeStep::Months(months) => {
            let months = months as u32;
            NaiveDate::from_ymd_opt(date.year(), date.month0() / months * months + 1, 1)
        }
        TimeStep::Years(years) => {
            let year = i64::from(date.year()).div_euclid(years) * years;
            i32::try_from(year).ok().and_then(|year| NaiveDate::from_ymd_opt(year, 1, 1))
        }
    };
    let mut at = Vec::new();
    let mut tick = start;
    while let Some(day) = tick {
        let time = day.and_time(NaiveTime::MIN);
        if time > last || at.len() >= 1000 {
            break;
        }
        if time >= first {
            at.push(time.and_utc().timestamp_micros());
        }
        tick = match step {
            TimeStep::Micros(_) => None,
            TimeStep::Days(days) => day.checked_add_days(Days::new(days as u64)),
            TimeStep::Months(months) => day.checked_add_months(Months::new(months as u32)),
            TimeStep::Years(years) => {
                u32::try_from(years * 12).ok().and_then(|m| day.checked_add_months(Months::new(m)))
            }
        };
    }
    at
}

fn label(at: i64, step: TimeStep, one_day: bool, first: bool) -> String {
    let Some(time) = moment(at) else { return String::new() };
    let form = match step {
        TimeStep::Micros(_) if !one_day && (first || time.num_seconds_from_midnight() == 0) => {
            // A new day, or the first tick: which day it is.
            if time.num_seconds_from_midnight() == 0 { "%b %-d" } else { "%b %-d %H:%M" }
        }
        TimeStep::Micros(step) if step < 1000 => "%H:%M:%S%.6f",
        TimeStep::Micros(step) if step < SECOND => "%H:%M:%S%.3f",
        TimeStep::Micros(step) if step < MINUTE => "%H:%M:%S",
        TimeStep::Micros(_) => "%H:%M",
        TimeStep::Days(_) if first || time.day() <= 7 && time.month() == 1 => "%b %-d %Y",
        TimeStep::Days(_) => "%b %-d",
        TimeStep::Months(_) => "%b %Y",
        TimeStep::Years(_) => "%Y",
    };
    time.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> f64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
        time.and_utc().timestamp_micros() as f64
    }

    #[test]
    fn numbers_are_round_and_inside() {
        let ticks = numbers(0.0, 97.0, 5, &Unit::None);
        assert_eq!(ticks.at, [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!(
            numbers(-0.3, 0.3, 6, &Unit::None).labels,
            ["-0.3", "-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"][..].to_vec()
        );
        assert!(numbers(1.0, 1.0, 5, &Unit::None).at.is_empty());
        assert!(numbers(0.0, f64::INFINITY, 5, &Unit::None).at.is_empty());
        assert_eq!(
            numbers(0.0, 200_000.0, 4, &Unit::Bytes).labels,
            ["0 KiB", "64 KiB", "128 KiB", "192 KiB"]
        );
    }

    #[test]
    fn times_of_one_day_say_it_once() {
        let ticks = times(at("2026-11-21 20:47:13"), at("2026-11-21 22:10:00"), 6);
        assert_eq!(ticks.labels, ["21:00", "21:15", "21:30", "21:45", "22:00"]);
        assert_eq!(ticks.common, "2026-11-21 UTC");
    }

    #[test]
    fn times_over_midnight_name_the_days() {
        let ticks = times(at("2026-11-21 20:00:00"), at("2026-11-22 04:00:00"), 6);
        assert_eq!(ticks.labels, ["Nov 21 21:00", "Nov 22", "03:00"]);
        let ticks = times(at("2026-11-20 13:00:00"), at("2026-11-24 01:00:00"), 6);
        assert_eq!(ticks.labels, ["Nov 21 2026", "Nov 22", "Nov 23", "Nov 24"]);
    }

    #[test]
    fn long_times_go_by_the_calendar() {
        let ticks = times(at("2025-11-05 00:00:00"), at("2026-04-30 00:00:00"), 8);
        let months = ["Dec 2025", "Jan 2026", "Feb 2026", "Mar 2026", "Apr 2026"];
        assert_eq!(ticks.labels, months);
        let ticks = times(at("1993-01-01 00:00:00"), at("2026-01-01 00:00:00"), 5);
        assert_eq!(ticks.labels, ["2000", "2010", "2020"]);
        let ticks = times(at("2026-06-03 00:00:00"), at("2026-07-10 00:00:00"), 7);
        assert_eq!(ticks.labels[..2], ["Jun 8 2026", "Jun 15"]);
    }

    #[test]
    fn no_span_is_too_short_or_too_long() {
        for (low, high) in
            [(0.0, 1.0), (0.0, 9e18), (-9e18, 9e18), (5.0, 5.0), (1e18, 1e18 + 4096.0)]
        {
            for most in [0, 1, 2, 50] {
                let ticks = times(low, high, most);
                assert_eq!(ticks.at.len(), ticks.labels.len());
                assert!(ticks.at.len() <= 1001, "{low} {high} {most}");
            }
        }
    }
}
