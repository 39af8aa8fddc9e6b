//! Anomalies on a script: what goes wrong, where, when and how badly.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

use super::catalogue::ENDPOINTS;
use super::units::parse_duration;
use super::{WeblogError, units};

const MINUTE_US: i64 = 60_000_000;
/// The client that is abusive if the script names none: of TEST-NET-3 (RFC 5737), so that it is
/// none of the ordinary clients.
const ABUSIVE_IP: &str = "203.0.113.66";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// `magnitude` times the usual number of requests, for one endpoint or for all.
    TrafficSpike,
    /// A share `magnitude` of the requests (one endpoint's or all) is answered with 500, 502,
    /// 503 or 504.
    ErrorBurst,
    /// Response times of one endpoint, or of all, are `magnitude` times the usual.
    SlowDown,
    /// One client makes a share `magnitude` of all traffic, on top of what the others do: the
    /// whole grows by `magnitude / (1 - magnitude)`.
    AbusiveIp,
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TrafficSpike => "traffic_spike",
            Self::ErrorBurst => "error_burst",
            Self::SlowDown => "slow_down",
            Self::AbusiveIp => "abusive_ip",
        })
    }
}

/// One entry of a script. Times are event time, in microseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnomaly {
    /// What goes wrong.
    pub kind: AnomalyKind,
    /// When, after the start of the log (of each period, if the script repeats).
    #[serde(rename = "at", deserialize_with = "duration")]
    pub at_us: i64,
    /// For how long.
    #[serde(rename = "duration", deserialize_with = "duration")]
    pub duration_us: i64,
    /// How badly; the meaning is the kind's, see [`AnomalyKind`].
    pub magnitude: f64,
    /// The endpoint it happens to; all if none. An abusive client keeps to it.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The abusive client; 203.0.113.66 if none.
    #[serde(default)]
    pub ip: Option<IpAddr>,
}

impl ScriptedAnomaly {
    /// What the anomaly is seen on: an endpoint's path, a client's address, or `all`.
    pub fn key(&self) -> String {
        match (self.kind, &self.endpoint) {
            (AnomalyKind::AbusiveIp, _) => {
                self.ip.map_or_else(|| ABUSIVE_IP.to_owned(), |ip| ip.to_string())
            }
            (_, Some(endpoint)) => endpoint.clone(),
            (_, None) => "all".to_owned(),
        }
    }

    fn check(&self, number: usize) -> Result<(), WeblogError> {
        let refuse = |what: String| {
            Err(WeblogError::invalid(format!("anomaly {number} ({}): {what}", self.kind)))
        };
        let magnitude = self.magnitude;
        let (fits, wanted) = match self.kind {
            AnomalyKind::TrafficSpike => {
                (magnitude > 1.0 && magnitude <= 1000.0, "a factor above 1, up to 1000")
            }
            AnomalyKind::ErrorBurst => {
                (magnitude > 0.0 && magnitude <= 1.0, "a share above 0, up to 1")
            }
            AnomalyKind::SlowDown => {
                (magnitude > 0.0 && magnitude <= 1000.0, "a factor above 0, up to 1000")
            }
            AnomalyKind::AbusiveIp => {
                (magnitude > 0.0 && magnitude <= 0.95, "a share above 0, up to 0.95")
            }
        };
        if !fits {
            return refuse(format!("magnitude {magnitude} is not {wanted}"));
        }
        if self.at_us < 0 || self.duration_us <= 0 {
            return refuse("'at' has to be 0 or more, and 'duration' above 0".to_owned());
        }
        if self.ip.is_some() && self.kind != AnomalyKind::AbusiveIp {
            return refuse("only an abusive_ip has an 'ip'".to_owned());
        }
        if let Some(endpoint) = &self.endpoint
            && !ENDPOINTS.iter().any(|known| known.path == endpoint)
        {
            let nearest = ENDPOINTS.iter().map(|known| known.path).max_by(|a, b| {
                strsim::jaro_winkler(a, endpoint).total_cmp(&strsim::jaro_winkler(b, endpoint))
            });
            return refuse(format!(
                "there is no endpoint '{endpoint}'; did you mean '{}'?",
                nearest.unwrap_or_default()
            ));
        }
        Ok(())
    }
}

/// The anomalies of a log, once or over and over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    anomalies: Vec<ScriptedAnomaly>,
    repeat_us: Option<i64>,
}

/// When and where something really was wrong: what detectors are scored against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrueAnomaly {
    /// What went wrong.
    pub kind: AnomalyKind,
    /// An endpoint's path, a client's address, or `all`.
    pub key: String,
    /// First instant, microseconds since the Unix epoch.
    #[serde(serialize_with = "instant")]
    pub start: i64,
    /// The instant after the last, microseconds since the Unix epoch.
    #[serde(serialize_with = "instant")]
    pub end: i64,
    /// How badly; the meaning is the kind's, see [`AnomalyKind`].
    pub magnitude: f64,
}

/// A script as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    #[serde(default, deserialize_with = "optional_duration")]
    repeat_every: Option<i64>,
    #[serde(default)]
    anomaly: Vec<ScriptedAnomaly>,
}

impl Script {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Half an hour of event time: 12 minutes of calm for detectors to learn from, then one
    /// anomaly of each kind for 2 minutes each, with 2.5 minutes of calm after each.
    pub fn demo() -> Self {
        Self::demo_over(30 * MINUTE_US)
    }

    /// The [`demo`](Self::demo) script, stretched or compressed to `span_us` of event time.
    pub fn demo_over(span_us: i64) -> Self {
        let half_minutes = |n: i64| (i128::from(span_us.max(60)) * i128::from(n) / 60) as i64;
        let anomaly = |kind, at, magnitude, endpoint: Option<&str>| ScriptedAnomaly {
            kind,
            at_us: half_minutes(at),
            duration_us: half_minutes(4),
            magnitude,
            endpoint: endpoint.map(str::to_owned),
            ip: None,
        };
        Self {
            anomalies: vec![
                anomaly(AnomalyKind::TrafficSpike, 24, 5.0, Some("/products")),
                anomaly(AnomalyKind::ErrorBurst, 33, 0.4, Some("/api/v1/cart")),
                anomaly(AnomalyKind::SlowDown, 42, 6.0, Some("/api/v1/search")),
                anomaly(AnomalyKind::AbusiveIp, 51, 0.1, None),
            ],
            repeat_us: None,
        }
    }

    /// One anomaly of each kind in every hour of event time, for as long as the log goes on:
    /// after 10, 25, 40 and 52 minutes.
    pub fn hourly() -> Self {
        let anomaly = |kind, at, minutes, magnitude, endpoint: Option<&str>| ScriptedAnomaly {
            kind,
            at_us: at * MINUTE_US,
            duration_us: minutes * MINUTE_US,
            magnitude,
            endpoint: endpoint.map(str::to_owned),
            ip: None,
        };
        Self {
            anomalies: vec![
                anomaly(AnomalyKind::TrafficSpike, 10, 3, 4.0, None),
                anomaly(AnomalyKind::ErrorBurst, 25, 4, 0.3, Some("/api/v1/checkout")),
                anomaly(AnomalyKind::SlowDown, 40, 5, 5.0, Some("/api/v1/products")),
                anomaly(AnomalyKind::AbusiveIp, 52, 4, 0.15, Some("/api/v1/login")),
            ],
            repeat_us: Some(60 * MINUTE_US),
        }
    }

    /// A script of these anomalies, begun anew every `repeat_us` microseconds if given.
    ///
    /// # Errors
    /// [`WeblogError::Invalid`] names the anomaly that makes no sense and says why.
    pub fn new(
        anomalies: Vec<ScriptedAnomaly>,
        repeat_us: Option<i64>,
    ) -> Result<Self, WeblogError> {
        for (index, anomaly) in anomalies.iter().enumerate() {
            anomaly.check(index + 1)?;
            if let Some(repeat_us) = repeat_us
                && anomaly.at_us.saturating_add(anomaly.duration_us) > repeat_us
            {
                return Err(WeblogError::invalid(format!(
                    "anomaly {} ({}) is not over when the script repeats",
                    index + 1,
                    anomaly.kind
                )));
            }
        }
        if repeat_us.is_some_and(|period| period < MINUTE_US) {
            return Err(WeblogError::invalid("'repeat_every' has to be 1m or more"));
        }
        Ok(Self { anomalies, repeat_us })
    }

    /// A script out of TOML:
    ///
    /// ```toml
    /// repeat_every = "1h"              # optional
    /// [[anomaly]]
    /// kind = "traffic_spike"           # error_burst, slow_down, abusive_ip
    /// at = "10m"                       # after the start of the log
    /// duration = "2m"
    /// magnitude = 5.0                  # see AnomalyKind
    /// endpoint = "/products"           # optional
    /// ```
    ///
    /// # Errors
    /// [`WeblogError::Invalid`] with the line for what is not such a script.
    pub fn parse(text: &str) -> Result<Self, WeblogError> {
        let file: ScriptFile =
            toml::from_str(text).map_err(|error| WeblogError::invalid(error.to_string().trim()))?;
        Self::new(file.anomaly, file.repeat_every)
    }

    /// The script that `--anomalies` names: `none`, `demo`, `hourly`, or a file.
    ///
    /// # Errors
    /// [`WeblogError::Invalid`] if it cannot be read or is no script.
    pub fn load(name: &str) -> Result<Self, WeblogError> {
        match name {
            "none" => return Ok(Self::none()),
            "demo" => return Ok(Self::demo()),
            "hourly" => return Ok(Self::hourly()),
            _ => {}
        }
        let text = std::fs::read_to_string(name).map_err(|reason| {
            WeblogError::invalid(format!(
                "script '{name}' is none of none, demo and hourly, and cannot be read: {reason}"
            ))
        })?;
        Self::parse(&text).map_err(|error| WeblogError::invalid(format!("{name}: {error}")))
    }

    /// Whether nothing is scripted.
    pub fn is_empty(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// The anomalies, of one period if the script repeats.
    pub fn anomalies(&self) -> &[ScriptedAnomaly] {
        &self.anomalies
    }

    /// What a log from `start` up to `until` (microseconds since the Unix epoch) really has in
    /// it, in order of time. An anomaly that is still going on at `until` ends there.
    pub fn ground_truth(&self, start: i64, until: i64) -> Vec<TrueAnomaly> {
        let length = until.saturating_sub(start);
        let mut truth: Vec<TrueAnomaly> = Vec::new();
        for anomaly in &self.anomalies {
            truth.extend(self.occurrences(anomaly, 0, length).map(|(from, to)| TrueAnomaly {
                kind: anomaly.kind,
                key: anomaly.key(),
                start: start + from,
                end: start + to.min(length),
                magnitude: anomaly.magnitude,
            }));
        }
        truth.sort_by_key(|anomaly| (anomaly.start, anomaly.end));
        truth
    }

    /// When `anomaly` happens, as far as that overlaps `from..to`; all in microseconds since the
    /// start of the log.
    pub(super) fn occurrences(
        &self,
        anomaly: &ScriptedAnomaly,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (at, duration) = (anomaly.at_us, anomaly.duration_us);
        let period = self.repeat_us.unwrap_or(i64::MAX);
        let first = (from.saturating_sub(duration).saturating_sub(at) / period).max(0);
        let once = self.repeat_us.is_none();
        (first..)
            .take(if once { 1 } else { usize::MAX })
            .map(move |k| at.saturating_add(k.saturating_mul(period)))
            .take_while(move |start| *start < to)
            .map(move |start| (start, start.saturating_add(duration)))
            .filter(move |(_, end)| *end > from)
    }

    /// The first instant after `after` at which some anomaly begins or ends; microseconds since
    /// the start of the log. `i64::MAX` if there is none.
    pub(super) fn next_boundary(&self, after: i64) -> i64 {
        let horizon = self.repeat_us.map_or(i64::MAX, |period| after.saturating_add(2 * period));
        self.anomalies
            .iter()
            .flat_map(|anomaly| self.occurrences(anomaly, after, horizon))
            .flat_map(|(start, end)| [start, end])
            .filter(|boundary| *boundary > after)
            .min()
            .unwrap_or(i64::MAX)
    }
}

fn instant<S: serde::Serializer>(micros: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&units::instant_text(*micros))
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a duration: seconds, or text such as \"90s\" or \"1h30m\"")]
enum DurationValue {
    Seconds(f64),
    Text(String),
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = match DurationValue::deserialize(deserializer)? {
        DurationValue::Seconds(seconds) => seconds.to_string(),
        DurationValue::Text(text) => text,
    };
    parse_duration(&text).map_err(serde::de::Error::custom)
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_a_script_can() {
        let script = Script::parse(
            "repeat_every = '1h'\n\
             [[anomaly]]\nkind = 'traffic_spike'\nat = '10m'\nduration = 90\nmagnitude = 5\nendpoint = '/products'\n\
             [[anomaly]]\nkind = 'abusive_ip'\nat = 0\nduration = '1m'\nmagnitude = 0.2\nip = '198.51.100.7'\n",
        )
        .expect("a valid script");
        assert_eq!(script.anomalies()[0].duration_us, 90_000_000);
        assert_eq!(script.anomalies()[0].key(), "/products");
        assert_eq!(script.anomalies()[1].key(), "198.51.100.7");

        let truth = script.ground_truth(1_000, 1_000 + 71 * MINUTE_US);
        let starts: Vec<i64> = truth.iter().map(|t| (t.start - 1_000) / MINUTE_US).collect();
        assert_eq!(starts, [0, 10, 60, 70]);
        assert_eq!(truth[3].end, 1_000 + 71 * MINUTE_US, "cut off where the log ends");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let entry = |rest: &str| {
            format!("[[anomaly]]\nkind = 'error_burst'\nat = '1m'\nduration = '1m'\n{rest}\n")
        };
        for (text, reason) in [
            (entry("magnitude = 1.5"), "share"),
            (entry("magnitude = nan"), "share"),
            (entry("magnitude = 0.5\nendpoint = '/produtcs'"), "did you mean '/products'"),
            (entry("magnitude = 0.5\nip = '10.0.0.1'"), "only an abusive_ip"),
            (entry("magnitude = 0.5\nfoo = 1"), "foo"),
            (entry("magnitude = 0.5").replace("duration = '1m'", "duration = 'soon'"), "duration"),
            (entry("magnitude = 0.5").replace("duration = '1m'", "duration = 0"), "above 0"),
            (format!("repeat_every = '90s'\n{}", entry("magnitude = 0.5")), "not over"),
            ("repeat_every = '1s'".to_owned(), "1m or more"),
            ("x = ".to_owned(), "line 1"),
        ] {
            let error = Script::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Script::load("no-such-file.toml").is_err());
    }

    #[test]
    fn the_demo_has_one_of_each_with_calm_between() {
        let script = Script::demo();
        let truth = script.ground_truth(0, 30 * MINUTE_US);
        let kinds: Vec<AnomalyKind> = truth.iter().map(|t| t.kind).collect();
        use AnomalyKind::{AbusiveIp, ErrorBurst, SlowDown, TrafficSpike};
        assert_eq!(kinds, [TrafficSpike, ErrorBurst, SlowDown, AbusiveIp]);
        assert!(truth[0].start >= 12 * MINUTE_US);
        for pair in truth.windows(2) {
            assert!(pair[1].start - pair[0].end >= 2 * MINUTE_US);
        }
        assert!(truth[3].end < 30 * MINUTE_US);
        let short = Script::demo_over(6 * MINUTE_US).ground_truth(0, 6 * MINUTE_US);
        assert_eq!(short[0].start, truth[0].start / 5);
        for script in [Script::demo(), Script::hourly(), Script::none()] {
            let checked = Script::new(script.anomalies.clone(), script.repeat_us);
            assert!(checked.is_ok_and(|checked| checked == script));
        }
    }

    #[test]
    fn boundaries_follow_each_other() {
        let script = Script::hourly();
        let mut at = -1;
        let mut boundaries = Vec::new();
        for _ in 0..9 {
            at = script.next_boundary(at);
            boundaries.push(at / MINUTE_US);
        }
        assert_eq!(boundaries, [10, 13, 25, 29, 40, 45, 52, 56, 70]);
        assert_eq!(Script::none().next_boundary(0), i64::MAX);
        let end = Script::demo().next_boundary(53 * MINUTE_US / 2 - 1);
        assert!(end > 25 * MINUTE_US && end < i64::MAX);
        assert_eq!(Script::demo().next_boundary(30 * MINUTE_US), i64::MAX);
    }
}
