//! The distance of a value to the nearest of those before, over their range: how new it is.
//!
//! Finds what is new and nothing else, whatever the values look like, and needs no model of the
//! series: a spike of a height never seen, a value in between two levels, a first move of a flat
//! line. A value that has been there before is not new, however odd it is for the hour. See
//! [`seen`](super::seen) for the distance and its source, [`news`](super::news) for when there is an
//! alert. The band is what is near enough to the nearest known value to be in line with it.

use super::auto::patience;
use super::band::Band;
use super::news::{News, Patience};
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::seen::{SeenValues, Squash};
use super::series::SeriesState;
use super::spec::NoveltyGap as Parameters;
use super::state::{Reader, Writer};
use super::words::{number, per_cent};
use super::{DetectorError, WindowSlice};

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    values: u32,
    seen: SeenValues,
    news: News,
}

impl SeriesState for Known {
    fn write(&self, out: &mut Writer) {
        out.varint(u64::from(self.values));
        self.seen.write(out);
        self.news.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Known { values: input.u32()?, seen: SeenValues::read(input)?, news: News::read(input)? })
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct GapModel {
    threshold: f64,
    memory: u32,
    warm_up: u32,
    patience: Patience,
}

impl Model for GapModel {
    type State = Known;

    fn take(&self, state: &mut Known, window: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        let (low, high) = state.seen.ends().unwrap_or((value, value));
        let (below, above) = state.seen.around(value);
        let at = state.values;
        let gap = state.seen.take(value, at, self.memory, Squash::NONE).plain;
        state.values = at.saturating_add(1);
        if at < self.warm_up {
            return None;
        }
        let far = gap / self.threshold;
        let bar = state.news.step(window.start, far, &self.patience);
        let nearest = match (below, above) {
            (Some(below), Some(above)) if above - value < value - below => above,
            (Some(below), _) => below,
            (None, Some(above)) => above,
            (None, None) => value,
        };
        let reach = self.threshold * (high - low);
        let band = Band { expected: nearest, lower: nearest - reach, upper: nearest + reach };
        let raise = far > bar;
        let why = raise.then(|| {
            format!(
                "the nearest of the {} windows before was {}, {} of their range away",
                number(f64::from(at.min(self.memory))),
                number(nearest),
                per_cent(gap),
            )
        });
        Some(Verdict { band, score: far / (far + bar), outside: far > 1.0, raise, why })
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<GapModel> {
    let model = GapModel {
        threshold: p.threshold,
        memory: p.memory,
        warm_up: p.warm_up,
        patience: patience(p.quiet_hours),
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
