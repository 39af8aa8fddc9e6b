//! A value against what is usual at this hour of the day, or of the week.
//!
//! The day (or week) has parts, each with a level and a deviation, smoothed from one day to the
//! next: the seasonal component of P. R. Winters ("Forecasting sales by exponentially weighted
//! moving averages", Management Science 6, 1960) taken by itself, as in the hour-of-week baselines of
//! capacity planning. Between the middles of two parts the level goes in a straight line, so that
//! a morning's rise is no row of steps. A value outside the band is learnt as its edge. A part is
//! judged when it has been seen on `warm_up` days; times are those of `time_zone`, with its
//! summer time.

use chrono::{DateTime, Datelike, Timelike};
use chrono_tz::Tz;

use super::band::Band;
use super::moments::Moments;
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::series::SeriesState;
use super::spec::Seasonal as Parameters;
use super::spec_series::Season;
use super::state::{Reader, Writer};
use super::words::quantity;
use super::{DetectorError, WindowSlice};

const DAY_SECONDS: u32 = 86_400;
/// Weight of the newest value in the deviation over all parts, which no part's is far below:
/// a few quiet nights do not make the next one an alarm.
const POOLED: f64 = 0.005;
/// How far below it may be.
const LEAST: f64 = 0.5;

/// What is usual in one part of the day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Part {
    level: f64,
    variance: f64,
    /// Days that it is from; 0: nothing is known.
    days: u32,
}

/// The part that is going on: moments of its values, less what was expected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Current {
    part: u32,
    /// The local day, counted from the common era.
    day: i32,
    values: u32,
    mean: f64,
    squares: f64,
}

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pattern {
    parts: Vec<Part>,
    current: Option<Current>,
    pooled: Moments,
}

impl SeriesState for Pattern {
    fn write(&self, out: &mut Writer) {
        out.varint(self.parts.len() as u64);
        for part in &self.parts {
            out.varint(u64::from(part.days));
            if part.days > 0 {
                out.f64(part.level);
                out.f64(part.variance);
            }
        }
        out.u8(u8::from(self.current.is_some()));
        if let Some(current) = &self.current {
            out.varint(u64::from(current.part));
            out.i64(i64::from(current.day));
            out.varint(u64::from(current.values));
            out.f64(current.mean);
            out.f64(current.squares);
        }
        self.pooled.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let count = input.count(1)?;
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let days = input.u32()?;
            parts.push(match days {
                0 => Part::default(),
                _ => Part { days, level: input.f64()?, variance: input.f64()?.max(0.0) },
            });
        }
        let current = match input.u8()? {
            0 => None,
            _ => Some(Current {
                part: input.u32()?,
                day: i32::try_from(input.i64()?)
                    .map_err(|_| input.corrupt("a day is out of range"))?,
                values: input.u32()?,
                mean: input.f64()?,
                squares: input.f64()?.max(0.0),
            }),
        };
        Ok(Pattern { parts, current, pooled: Moments::read(input)? })
    }
}

/// Where a window is in the season.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: u32,
    day: i32,
    /// From the middle of the part, in lengths of a part, -0.5 to 0.5.
    off: f64,
}

impl Pattern {
    /// What is known of a part; of none that the season does not have.
    fn part(&self, at: u32) -> Part {
        self.parts.get(at as usize).copied().unwrap_or_default()
    }

    /// Ends the part that was going on, if this is another.
    fn turn(&mut self, place: &Place, parts: u32, smoothing: f64) {
        // The parameters may have changed since the snapshot: then nothing is known.
        if self.parts.len() != parts as usize {
            *self = Pattern { parts: vec![Part::default(); parts as usize], ..Pattern::default() };
        }
        let same = |c: &Current| c.part == place.part && c.day == place.day;
        if self.current.as_ref().is_some_and(same) {
            return;
        }
        let fresh = Current { part: place.part, day: place.day, ..Current::default() };
        let Some(over) = self.current.replace(fresh).filter(|over| over.values > 0) else { return };
        let Some(part) = self.parts.get_mut(over.part as usize) else { return };
        let variance = over.squares / f64::from(over.values);
        part.days = part.days.saturating_add(1);
        if part.days == 1 {
            (part.level, part.variance) = (over.mean, variance);
        } else {
            let gain = smoothing.max(1.0 / f64::from(part.days));
            part.level += gain * over.mean;
            part.variance += gain * (variance + over.mean * over.mean - part.variance);
        }
    }

    /// The level at a place.
    fn expected(&self, place: &Place, parts: u32) -> f64 {
        let here = self.part(place.part);
        let next = match place.off >= 0.0 {
            true => self.part((place.part + 1) % parts),
            false => self.part((place.part + parts - 1) % parts),
        };
        match next.days {
            0 => here.level,
            _ => here.level + place.off.abs() * (next.level - here.level),
        }
    }

    fn learn(&mut self, off: f64) {
        if let Some(current) = &mut self.current {
            current.values = current.values.saturating_add(1);
            let from = off - current.mean;
            current.mean += from / f64::from(current.values);
            current.squares += from * (off - current.mean);
        }
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct SeasonalModel {
    zone: Tz,
    week: bool,
    /// Of a day.
    parts: u32,
    threshold: f64,
    smoothing: f64,
    min_change: f64,
    warm_up: u32,
    unit: String,
}

impl SeasonalModel {
    fn place(&self, start: i64) -> Option<Place> {
        let local = DateTime::from_timestamp_micros(start)?.with_timezone(&self.zone);
        let length = f64::from(DAY_SECONDS) / f64::from(self.parts);
        let at = f64::from(local.num_seconds_from_midnight()) / length;
        // Below 1 day, so below `parts`; the day has a leap second at most.
        let part = (at as u32).min(self.parts - 1);
        let day = if self.week { local.weekday().num_days_from_monday() } else { 0 };
        Some(Place {
            part: day * self.parts + part,
            day: local.num_days_from_ce(),
            off: (at - f64::from(part) - 0.5).clamp(-0.5, 0.5),
        })
    }
}

impl Model for SeasonalModel {
    type State = Pattern;

    fn take(&self, state: &mut Pattern, window: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        let place = self.place(window.start)?;
        let parts = if self.week { 7 * self.parts } else { self.parts };
        state.turn(&place, parts, self.smoothing);
        let part = state.part(place.part);
        if part.days == 0 {
            // The first time there is nothing to hold it against: the level itself is learnt.
            state.learn(value);
            return None;
        }
        let expected = state.expected(&place, parts);
        let off = value - expected;
        if part.days < self.warm_up {
            state.learn(off);
            state.pooled.add(off, POOLED);
            return None;
        }
        let deviation = part.variance.sqrt().max(LEAST * state.pooled.deviation());
        let wide = self.threshold * deviation;
        let reach = wide.max(self.min_change);
        let learnt = if wide > 0.0 { off.clamp(-reach, reach) } else { off };
        state.learn(learnt);
        state.pooled.add(learnt, POOLED);
        let band = Band { expected, lower: expected - reach, upper: expected + reach };
        let mut verdict = Verdict::by(band, value);
        verdict.why = verdict.raise.then(|| {
            let when = if self.week { "day and hour" } else { "hour" };
            let (lower, upper) = (quantity(band.lower, ""), quantity(band.upper, &self.unit));
            format!("at this {when} expected {lower} to {upper}")
        });
        Some(verdict)
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<SeasonalModel> {
    let model = SeasonalModel {
        // The specification takes no name that is none; of one it was not checked for, UTC.
        zone: p.time_zone.parse().unwrap_or(Tz::UTC),
        week: p.season == Season::Week,
        parts: p.parts,
        threshold: p.threshold,
        smoothing: p.smoothing,
        min_change: p.min_change,
        warm_up: p.warm_up,
        unit: p.unit.clone(),
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
