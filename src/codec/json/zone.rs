//! Local times of a zone to instants.

use chrono::offset::{LocalResult, Offset, TimeZone};
use chrono::{DateTime, NaiveDateTime};
use chrono_tz::Tz;

use super::time::{FIRST, LAST, OUT_OF_YEARS, Parsed, SECOND};

/// The zone of local times that do not name one.
#[derive(Debug)]
pub(super) struct Zone {
    zone: Tz,
    pub is_utc: bool,
    /// The quarter of an hour (of local time) last asked for and the offset that holds in all of it.
    recent: Option<(i64, i64)>,
}

/// No change of offset since 1970 was at a time that is not a multiple of this.
const QUARTER: i64 = 900 * SECOND;

impl Zone {
    pub fn new(zone: Tz) -> Self {
        Self { zone, is_utc: zone == Tz::UTC, recent: None }
    }

    /// The instant of a local time, both in microseconds, the latter as if the zone were UTC.
    ///
    /// As java.time and so Spark have it: of a time that there is twice, when clocks go back, the
    /// first; a time that there is not, when clocks go forward, moves on by the gap.
    pub fn instant(&mut self, local: i64) -> Parsed<i64> {
        if self.is_utc {
            return Ok(local);
        }
        let quarter = local.div_euclid(QUARTER);
        let offset = match self.recent {
            Some((recent, offset)) if recent == quarter => offset,
            _ => {
                let offset = self.offset(local)?;
                let start = quarter * QUARTER;
                if start >= 0
                    && self.single(start) == Some(offset)
                    && self.single(start + QUARTER - 1) == Some(offset)
                {
                    self.recent = Some((quarter, offset));
                }
                offset
            }
        };
        Some(local - offset).filter(|m| (FIRST..=LAST).contains(m)).ok_or(OUT_OF_YEARS)
    }

    fn lookup(&self, local: i64) -> LocalResult<i64> {
        match naive(local) {
            Some(time) => self
                .zone
                .offset_from_local_datetime(&time)
                .map(|offset| i64::from(offset.fix().local_minus_utc()) * SECOND),
            None => LocalResult::None,
        }
    }

    fn single(&self, local: i64) -> Option<i64> {
        self.lookup(local).single()
    }

    fn offset(&self, local: i64) -> Parsed<i64> {
        match self.lookup(local) {
            LocalResult::Single(offset) => Ok(offset),
            // The earlier instant is that of the greater offset.
            LocalResult::Ambiguous(one, other) => Ok(one.max(other)),
            // The offset before the gap moves the time on by just its length. The longest gap
            // there was is a day (Samoa left out 2011-12-30).
            LocalResult::None => (1..=2 * 96)
                .find_map(|quarters| match self.lookup(local - quarters * QUARTER) {
                    LocalResult::Single(offset) => Some(offset),
                    LocalResult::Ambiguous(one, other) => Some(one.min(other)),
                    LocalResult::None => None,
                })
                .ok_or(OUT_OF_YEARS),
        }
    }
}

fn naive(local: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(local).map(|time| time.naive_utc())
}
