//! How many keys of a window were not there before, such as clients seen for the first time:
//! a campaign, a botnet, or identifiers that someone counts through.
//!
//! Which keys there were is kept in two Bloom filters (B. Bloom, "Space/time trade-offs in hash
//! coding with allowable errors", CACM 13, 1970), with the double hashing of A. Kirsch and M.
//! Mitzenmacher ("Less hashing, same performance", 2006): keys go into the younger one; when it has
//! half of `max_keys` it becomes the older one and a new one begins. So memory is bounded whatever
//! the number of keys, a key that keeps coming is known for ever, and one key in a hundred is taken
//! for known that is not. Their number is judged as a count against its own recent level, as
//! `traffic_spike` does.

use std::sync::Arc;

use super::band::{Band, Grading, Side};
use super::level::Scale;
use super::spec::NewKeys as Parameters;
use super::state::{Reader, Writer};
use super::track::{Noise, Track};
use super::traffic_spike::Counts;
use super::words::{in_window, number};
use super::{Anomaly, Detector, DetectorError, DetectorStats, Judgement, WindowSlice};

/// Bits for a key, and hashes: 0.8 % of unknown keys are taken for known.
const BITS: usize = 10;
const HASHES: u64 = 7;

/// Keys, as bits.
#[derive(Debug, Clone, PartialEq)]
struct Filter {
    words: Vec<u64>,
    keys: u64,
}

impl Filter {
    fn new(max_keys: usize) -> Self {
        Filter { words: vec![0; (max_keys * BITS).div_ceil(64).max(1)], keys: 0 }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.words.len() as u64 * 64;
        // Odd, so that the steps do not fall together.
        let step = mixed(hash) | 1;
        (0..HASHES).map(move |i| {
            let bit = hash.wrapping_add(i.wrapping_mul(step)) % bits;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn has(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word] & bit != 0)
    }

    fn add(&mut self, hash: u64) {
        for (word, bit) in self.places(hash) {
            self.words[word] |= bit;
        }
        self.keys += 1;
    }

    fn write(&self, out: &mut Writer) {
        out.varint(self.keys);
        out.varint(self.words.len() as u64);
        // Mostly zeros while there are few keys: these take a byte each.
        for word in &self.words {
            out.varint(*word);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let keys = input.varint()?;
        let count = input.count(1)?;
        if count == 0 {
            return Err(input.corrupt("a filter of no bits"));
        }
        let words = (0..count).map(|_| input.varint()).collect::<Result<_, _>>()?;
        Ok(Filter { words, keys })
    }
}

/// FNV-1a of the key, mixed: the same in every build and on every machine, as it is in snapshots.
fn hash(key: &str) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mixed(key.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of splitmix64.
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// See the module.
pub struct NewKeys {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    younger: Filter,
    older: Filter,
    track: Track,
    windows: u64,
    last: Option<i64>,
    ignored: u64,
}

impl NewKeys {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        let half = parameters.max_keys / 2;
        NewKeys {
            name: Arc::from(name),
            grading: parameters.grading(),
            parameters: parameters.clone(),
            younger: Filter::new(half),
            older: Filter::new(half),
            track: Track::default(),
            windows: 0,
            last: None,
            ignored: 0,
        }
    }

    /// Whether a key is new; then it is known.
    fn is_new(&mut self, key: &str) -> bool {
        let hash = hash(key);
        if self.younger.has(hash) {
            return false;
        }
        let half = self.parameters.max_keys / 2;
        if self.younger.keys >= half as u64 {
            self.older = std::mem::replace(&mut self.younger, Filter::new(half));
        }
        self.younger.add(hash);
        !self.older.has(hash)
    }

    fn anomaly(&self, window: &WindowSlice<'_>, count: f64, band: Band, score: f64) -> Anomaly {
        let Band { expected, lower, upper } = band;
        let reason = format!(
            "{} {} never seen before {}, of {} in all, expected up to {}",
            number(count),
            self.parameters.measure,
            in_window(window.start, window.end),
            number(window.series.len() as f64),
            number(upper),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: Arc::from(""),
            window_start: window.start,
            window_end: window.end,
            value: count,
            expected,
            lower,
            upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

impl Detector for NewKeys {
    fn kind(&self) -> &'static str {
        Parameters::KIND
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        if window.series.is_empty() && self.windows == 0 {
            return Vec::new();
        }
        self.windows = self.windows.saturating_add(1);
        let count = window.series.iter().filter(|item| self.is_new(&item.key)).count() as f64;
        let p = &self.parameters;
        let tuning = p.tuning();
        let noise = Noise { floor: Counts.noise_floor(), widen: 1.0 };
        let practical = |band: Band| {
            let high = (Counts.backward(band.expected) * p.min_ratio).max(p.min_value);
            let upper = Counts.forward(high).map_or(band.upper, |high| band.upper.max(high));
            Band { upper, ..band }
        };
        let key = Arc::from("");
        let Some(at) = Counts.forward(count) else { return Vec::new() };
        let band = self.track.band(&tuning, noise, practical);
        let side = self.track.learn(at, band, &tuning, noise, practical);
        let Some(on_scale) = band else { return vec![Judgement::warming_up(key, count)] };
        let score = on_scale.score(at);
        let [expected, lower, upper] =
            [on_scale.expected, on_scale.lower, on_scale.upper].map(|edge| Counts.backward(edge));
        let band = Band { expected, lower, upper };
        let outside = side == Side::Above;
        let anomaly = outside.then(|| self.anomaly(window, count, band, score));
        vec![Judgement { key, value: count, band: Some(band), score, outside, anomaly }]
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        out.varint(self.windows);
        self.track.write(&mut out);
        self.younger.write(&mut out);
        self.older.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let windows = input.varint()?;
        let track = Track::read(&mut input)?;
        let (younger, older) = (Filter::read(&mut input)?, Filter::read(&mut input)?);
        input.finish()?;
        (self.last, self.windows, self.track) = (last, windows, track);
        (self.younger, self.older) = (younger, older);
        Ok(())
    }

    fn stats(&self) -> DetectorStats {
        DetectorStats {
            series: usize::from(self.windows > 0),
            ignored: self.ignored,
            ..DetectorStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_unknown_keys_are_taken_for_known() {
        let mut detector =
            NewKeys::new("d", &Parameters { max_keys: 20_000, ..Default::default() });
        let new = (0..10_000).filter(|i| detector.is_new(&format!("10.0.{i}"))).count();
        assert!((9_900..=10_000).contains(&new), "{new}");
        let again = (0..10_000).filter(|i| detector.is_new(&format!("10.0.{i}"))).count();
        assert_eq!(again, 0);
    }

    #[test]
    fn the_oldest_keys_are_forgotten() {
        let mut detector = NewKeys::new("d", &Parameters { max_keys: 1_000, ..Default::default() });
        assert!(detector.is_new("first"));
        for i in 0..3_000 {
            detector.is_new(&i.to_string());
        }
        assert!(detector.is_new("first"));
    }
}
