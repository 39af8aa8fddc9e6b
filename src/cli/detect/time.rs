//! Timestamps as they come: typed columns, numbers since the epoch, and text in many forms.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// Forms with a zone, the usual ones first.
const ZONED: &[&str] =
    &["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%d/%b/%Y:%H:%M:%S %z"];

/// Forms without.
const LOCAL: &[&str] = &[
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y%m%dT%H%M%S",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
];

/// Days.
const DAYS: &[&str] = &["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y"];

/// How timestamps without a zone, and text of another form, are read.
#[derive(Debug, Clone)]
pub struct TimeRule {
    /// Of timestamps that name none.
    pub zone: Tz,
    /// chrono's form, if it is none of the known ones.
    pub format: Option<String>,
}

impl TimeRule {
    /// Microseconds since the Unix epoch, of text; `None` if it is no timestamp.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        if let Some(format) = &self.format {
            if let Ok(time) = DateTime::parse_from_str(text, format) {
                return Some(time.timestamp_micros());
            }
            if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
                return self.instant(local);
            }
            let day = NaiveDate::parse_from_str(text, format).ok()?;
            return self.instant(day.and_time(NaiveTime::MIN));
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(time.timestamp_micros());
        }
        let utc = ["UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)).map(str::trim_end);
        for form in LOCAL {
            if let Ok(local) = NaiveDateTime::parse_from_str(utc.unwrap_or(text), form) {
                return match utc {
                    Some(_) => Some(local.and_utc().timestamp_micros()),
                    None => self.instant(local),
                };
            }
        }
        for form in ZONED {
            if let Ok(time) = DateTime::parse_from_str(text, form) {
                return Some(time.timestamp_micros());
            }
        }
        for form in DAYS {
            // Eight digits may also be seconds since the epoch: of 1970, which nobody means.
            if let Ok(day) = NaiveDate::parse_from_str(text, form) {
                return self.instant(day.and_time(NaiveTime::MIN));
            }
        }
        if let Ok(time) = DateTime::parse_from_rfc2822(text) {
            return Some(time.timestamp_micros());
        }
        let number: f64 = text.parse().ok()?;
        from_epoch(number, unit_of(number.abs()))
    }

    /// Local time of the zone. Of the two instants that a time has when clocks are set back the
    /// earlier one; a time that is skipped when they are set forward is as long after the jump.
    fn instant(&self, local: NaiveDateTime) -> Option<i64> {
        if self.zone == Tz::UTC {
            return Some(local.and_utc().timestamp_micros());
        }
        let found = self.zone.from_local_datetime(&local).earliest().or_else(|| {
            let earlier = local.checked_sub_signed(chrono::TimeDelta::hours(1))?;
            let before = self.zone.from_local_datetime(&earlier).earliest()?;
            before.checked_add_signed(chrono::TimeDelta::hours(1))
        });
        found.map(|time| time.with_timezone(&Utc).timestamp_micros())
    }

    /// The timestamps of a column, `None` where there is none; the whole is `None` if the column
    /// is of a type that holds no timestamps.
    pub fn column(&self, column: &ArrayRef) -> Option<Vec<Option<i64>>> {
        let micros = |column: &ArrayRef, zone| {
            let cast = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone)).ok()?;
            Some(cast.as_primitive_opt::<TimestampMicrosecondType>()?.iter().collect::<Vec<_>>())
        };
        match column.data_type() {
            DataType::Struct(_) => {
                let window = column.as_struct();
                let start = self.column(window.column_by_name("start")?)?;
                let held =
                    |(row, time): (usize, Option<i64>)| time.filter(|_| window.is_valid(row));
                Some(start.into_iter().enumerate().map(held).collect())
            }
            DataType::Timestamp(_, Some(zone)) => micros(column, Some(zone.clone())),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
                let local = micros(column, None)?;
                let naive = |at| DateTime::from_timestamp_micros(at).map(|t| t.naive_utc());
                Some(local.into_iter().map(|at| self.instant(at.and_then(naive)?)).collect())
            }
            kind if kind.is_numeric() => {
                let numbers = cast(column, &DataType::Float64).ok()?;
                let numbers = numbers.as_primitive_opt::<Float64Type>()?;
                // One unit for all: of the largest, because early ones may be near zero.
                let most = numbers.iter().flatten().map(f64::abs).fold(0.0, f64::max);
                let unit = unit_of(most);
                Some(numbers.iter().map(|n| n.and_then(|n| from_epoch(n, unit))).collect())
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Dictionary(..) => {
                let texts = cast(column, &DataType::Utf8).ok()?;
                let texts = texts.as_any().downcast_ref::<StringArray>()?;
                Some(texts.iter().map(|text| text.and_then(|text| self.parse(text))).collect())
            }
            _ => None,
        }
    }
}

/// Microseconds in the unit that a number since the epoch is in, by its size: seconds up to the
/// year 5138, then milliseconds, microseconds, nanoseconds.
fn unit_of(size: f64) -> f64 {
    match size {
        s if s < 1e11 => 1e6,
        s if s < 1e14 => 1e3,
        s if s < 1e17 => 1.0,
        _ => 1e-3,
    }
}

fn from_epoch(number: f64, unit: f64) -> Option<i64> {
    let micros = (number * unit).round();
    // Beyond is no time that anybody measured, and sums of it would overflow.
    (micros.abs() < 9e18).then_some(micros as i64)
}

/// A time as it is written out: as in `2026-11-21T20:48:13Z`.
pub fn text(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string(),
        None => micros.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Int64Array, TimestampMillisecondArray};

    use super::*;

    fn rule() -> TimeRule {
        TimeRule { zone: Tz::UTC, format: None }
    }

    #[test]
    fn text_of_many_forms_is_a_time() {
        for (given, expected) in [
            ("2014-04-01 00:00:00", "2014-04-01T00:00:00Z"),
            ("2014-04-01T00:00:00.25", "2014-04-01T00:00:00.250Z"),
            ("2014-04-01T00:00:00Z", "2014-04-01T00:00:00Z"),
            ("2014-04-01T02:00:00+02:00", "2014-04-01T00:00:00Z"),
            ("2014-04-01 02:00:00 +0200", "2014-04-01T00:00:00Z"),
            ("2014-04-01 00:00:00 UTC", "2014-04-01T00:00:00Z"),
            ("2014-04-01 00:00", "2014-04-01T00:00:00Z"),
            ("2014/04/01 00:00", "2014-04-01T00:00:00Z"),
            ("2014-04-01", "2014-04-01T00:00:00Z"),
            ("20140401", "2014-04-01T00:00:00Z"),
            ("01/Apr/2014:00:00:00 +0000", "2014-04-01T00:00:00Z"),
            ("Tue, 1 Apr 2014 00:00:00 GMT", "2014-04-01T00:00:00Z"),
            ("1396310400", "2014-04-01T00:00:00Z"),
            ("1396310400000", "2014-04-01T00:00:00Z"),
            ("1396310400.5", "2014-04-01T00:00:00.500Z"),
            (" 1396310400000000 ", "2014-04-01T00:00:00Z"),
        ] {
            assert_eq!(rule().parse(given).map(text).as_deref(), Some(expected), "{given}");
        }
        for wrong in ["", "yesterday", "2014-13-01", "NaN", "1e300", "2014-04-01 25:00:00"] {
            assert_eq!(rule().parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_zone_and_a_form_can_be_given() {
        let rome = TimeRule { zone: Tz::Europe__Rome, format: None };
        assert_eq!(
            rome.parse("2014-04-01 02:00:00").map(text).as_deref(),
            Some("2014-04-01T00:00:00Z")
        );
        // 2014-03-30 02:30 did not exist in Rome; it is 03:30, which is 01:30 UTC.
        assert_eq!(
            rome.parse("2014-03-30 02:30:00").map(text).as_deref(),
            Some("2014-03-30T01:30:00Z")
        );
        let american = TimeRule { zone: Tz::UTC, format: Some("%m/%d/%Y %H:%M".into()) };
        assert_eq!(
            american.parse("04/01/2014 00:00").map(text).as_deref(),
            Some("2014-04-01T00:00:00Z")
        );
        assert_eq!(american.parse("2014-04-01 00:00"), None);
    }

    #[test]
    fn columns_of_all_types_are_times() {
        let first = |column: ArrayRef| rule().column(&column).map(|times| times[0].map(text));
        let day = Some(Some("2014-04-01T00:00:00Z".to_owned()));
        assert_eq!(first(Arc::new(Int64Array::from(vec![1_396_310_400, 1]))), day);
        assert_eq!(first(Arc::new(TimestampMillisecondArray::from(vec![1_396_310_400_000]))), day);
        let zoned = TimestampMillisecondArray::from(vec![1_396_310_400_000]).with_timezone("UTC");
        assert_eq!(first(Arc::new(zoned)), day);
        assert_eq!(first(Arc::new(Date32Array::from(vec![16_161]))), day);
        let nothing: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
        assert_eq!(first(nothing), None);
    }
}
