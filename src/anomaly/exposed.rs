//! Which series are shown as metrics: few of them, for long, and never a client's address.
//!
//! Every series that is shown is five time series in somebody's Prometheus for weeks. So at most
//! `most` are, and one that is shown gives up its place only to a series that has something to
//! say: one with an open anomaly, or one that is there window after window while the other is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::reader::SEPARATOR;
use super::{DetectorSpec, Judged, Judgement};

/// Windows without a value after which a series may lose its place to one that has values.
const PATIENCE: u64 = 30;

/// What to show of a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Series that are shown no more.
    pub hidden: Vec<Arc<str>>,
    /// What the shown series were, sorted by key.
    pub judgements: Vec<Judgement>,
}

/// The series that are shown, at most so many.
#[derive(Debug, Clone)]
pub struct Exposed {
    most: usize,
    /// The window (counted) in which each was last there.
    places: BTreeMap<Arc<str>, u64>,
    window: u64,
}

impl Exposed {
    /// At most `most` series; none of a detector whose series are clients.
    pub fn new(spec: &DetectorSpec, most: usize) -> Self {
        let most = if spec.series_are_clients() { 0 } else { most };
        Exposed { most, places: BTreeMap::new(), window: 0 }
    }

    /// Takes in a window; `open` has the series with an open anomaly.
    pub fn take(&mut self, window: &Judged, open: &BTreeSet<Arc<str>>) -> Shown {
        let mut shown = Shown::default();
        if self.most == 0 {
            return shown;
        }
        self.window += 1;
        let fit = || window.judgements.iter().filter(|j| !is_address(&j.key));
        for judgement in fit() {
            if let Some(seen) = self.places.get_mut(&judgement.key) {
                *seen = self.window;
            }
        }
        // Those with an anomaly choose first.
        let newcomers = |anomalous: bool| {
            fit().filter(move |j| open.contains(&j.key) == anomalous).map(|j| &j.key)
        };
        for (key, urgent) in
            newcomers(true).map(|k| (k, true)).chain(newcomers(false).map(|k| (k, false)))
        {
            if self.places.contains_key(key) {
                continue;
            }
            if self.places.len() >= self.most {
                let Some(gone) = self.dispensable(urgent, open) else { continue };
                self.places.remove(&gone);
                shown.hidden.push(gone);
            }
            self.places.insert(key.clone(), self.window);
        }
        shown.judgements = fit().filter(|j| self.places.contains_key(&j.key)).cloned().collect();
        shown
    }

    /// The series that was there longest ago, if a newcomer may have its place.
    fn dispensable(&self, urgent: bool, open: &BTreeSet<Arc<str>>) -> Option<Arc<str>> {
        self.places
            .iter()
            .filter(|(key, _)| !open.contains(*key))
            .filter(|(_, seen)| urgent || self.window - **seen >= PATIENCE)
            .min_by_key(|(_, seen)| **seen)
            .map(|(key, _)| key.clone())
    }

    /// Every series that is shown, which is none from now on.
    pub fn clear(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.places).into_keys().collect()
    }
}

/// Whether part of a key is the address of a machine.
fn is_address(key: &str) -> bool {
    key.split(SEPARATOR).any(|part| part.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(keys: &[&str]) -> Judged {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        let judgements = keys.iter().map(|k| Judgement::warming_up((*k).into(), 1.0)).collect();
        Judged { start: 0, end: 1, judgements }
    }

    fn spec(kind: &str) -> DetectorSpec {
        DetectorSpec::from_parameters(kind, &toml::Table::new()).unwrap()
    }

    fn keys(shown: &Shown) -> Vec<&str> {
        shown.judgements.iter().map(|j| &*j.key).collect()
    }

    #[test]
    fn few_series_are_shown_and_they_stay() {
        let mut exposed = Exposed::new(&spec("traffic_spike"), 2);
        let calm = BTreeSet::new();
        assert_eq!(keys(&exposed.take(&window(&["/a", "/b", "/c"]), &calm)), ["/a", "/b"]);
        let shown = exposed.take(&window(&["/b", "/c", "/d"]), &calm);
        assert_eq!((keys(&shown), shown.hidden.len()), (vec!["/b"], 0), "/a keeps its place");
        let open = BTreeSet::from(["/c".into()]);
        let shown = exposed.take(&window(&["/b", "/c"]), &open);
        assert_eq!((keys(&shown), &*shown.hidden[0]), (vec!["/b", "/c"], "/a"));
        // Both places are taken by series with an anomaly.
        let open = BTreeSet::from(["/b".into(), "/c".into(), "/d".into()]);
        assert_eq!(keys(&exposed.take(&window(&["/b", "/c", "/d"]), &open)), ["/b", "/c"]);
        for _ in 0..PATIENCE {
            exposed.take(&window(&["/b"]), &calm);
        }
        let shown = exposed.take(&window(&["/b", "/e"]), &calm);
        assert_eq!((keys(&shown), &*shown.hidden[0]), (vec!["/b", "/e"], "/c"));
        assert_eq!(exposed.clear().len(), 2);
    }

    #[test]
    fn clients_are_never_shown() {
        let calm = BTreeSet::new();
        let all = window(&["203.0.113.9", "2001:db8::1", "eu · 203.0.113.9", "eu", ""]);
        let mut exposed = Exposed::new(&spec("traffic_spike"), 20);
        assert_eq!(keys(&exposed.take(&all, &calm)), ["", "eu"]);
        let mut exposed = Exposed::new(&spec("client_share"), 20);
        assert!(exposed.take(&all, &calm).judgements.is_empty());
        let mut none = Exposed::new(&spec("traffic_spike"), 0);
        assert!(none.take(&all, &calm).judgements.is_empty());
    }
}
