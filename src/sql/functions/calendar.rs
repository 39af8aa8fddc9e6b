//! The proleptic Gregorian calendar on counts of days and microseconds since 1970-01-01 UTC.
//!
//! `civil` and `days` are Howard Hinnant's algorithms ("chrono-compatible low-level date
//! algorithms", <https://howardhinnant.github.io/date_algorithms.html>).

/// Microseconds in a day.
pub(super) const DAY_US: i64 = 86_400_000_000;

/// A calendar date. `month` 1..=12, `day` 1..=31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub year: i64,
    pub month: u32,
    pub day: u32,
}

/// The date of a day since the epoch.
#[inline]
pub(super) fn civil(day: i64) -> Civil {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day }
}

/// The day since the epoch of a date; the inverse of [`civil`].
#[inline]
pub(super) fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Splits microseconds since the epoch into the day and the microsecond of the day.
#[inline]
pub(super) fn split(micros: i64) -> (i64, i64) {
    (micros.div_euclid(DAY_US), micros.rem_euclid(DAY_US))
}

/// Day of the week, 0 = Monday .. 6 = Sunday.
#[inline]
pub(super) fn weekday(day: i64) -> u32 {
    // 1970-01-01 was a Thursday.
    (day + 3).rem_euclid(7) as u32
}

/// Day of the year from 1.
pub(super) fn day_of_year(day: i64, civil: Civil) -> u32 {
    (day - days(civil.year, 1, 1) + 1) as u32
}

/// ISO 8601 week of the year.
pub(super) fn iso_week(day: i64) -> u32 {
    // The week belongs to the year of its Thursday.
    let thursday = day - i64::from(weekday(day)) + 3;
    let year = civil(thursday).year;
    ((thursday - days(year, 1, 1)) / 7 + 1) as u32
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_chrono(day in -2_000_000i64..2_000_000) {
            let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()
                + chrono::Duration::days(day);
            let own = civil(day);
            prop_assert_eq!(own.year, i64::from(date.year()));
            prop_assert_eq!((own.month, own.day), (date.month(), date.day()));
            prop_assert_eq!(days(own.year, own.month, own.day), day);
            prop_assert_eq!(weekday(day), date.weekday().num_days_from_monday());
            prop_assert_eq!(day_of_year(day, own), date.ordinal());
            prop_assert_eq!(iso_week(day), date.iso_week().week());
            prop_assert!(own.day <= days_in_month(own.year, own.month));
        }

        #[test]
        fn splits_add_up(micros in any::<i64>()) {
            let (day, rest) = split(micros);
            prop_assert!((0..DAY_US).contains(&rest));
            prop_assert_eq!(i128::from(day) * i128::from(DAY_US) + i128::from(rest), i128::from(micros));
        }
    }
}
