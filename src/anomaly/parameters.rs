//! From a table of TOML to a checked specification, with errors that say what to write instead.

use serde::de::DeserializeOwned;

use super::spec::DetectorSpec;

/// A parameter's name and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// In words, to follow "expected".
    pub expects: &'static str,
}

/// What is wrong with a detector's specification or with the columns it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("unknown detector kind \"{kind}\"{}, expected one of {}", hint(nearest), list(DetectorSpec::KINDS.iter()))]
    Kind { kind: String, nearest: Option<String> },
    #[error("unknown parameter \"{key}\" of {kind}{}, expected one of {}", hint(nearest), list(valid.iter()))]
    Key { kind: String, key: String, nearest: Option<String>, valid: Vec<&'static str> },
    #[error("parameter \"{key}\" of {kind}: expected {expected}, found {found}")]
    Value { kind: String, key: String, expected: String, found: String },
    #[error("unknown {role} column \"{column}\"{}, expected one of {}", hint(nearest), list(valid.iter()))]
    Column { role: &'static str, column: String, nearest: Option<String>, valid: Vec<String> },
    #[error("{role} column \"{column}\": expected {expected}, found {found}")]
    ColumnType { role: &'static str, column: String, expected: &'static str, found: String },
    #[error("window length: expected more than 0 microseconds, found {found}")]
    Window { found: i64 },
}

impl SpecError {
    /// The parameter, kind or column that it is about, to find its place in a file.
    pub fn key(&self) -> &str {
        match self {
            SpecError::Kind { .. } => "kind",
            SpecError::Key { key, .. } | SpecError::Value { key, .. } => key,
            SpecError::Column { column, .. } | SpecError::ColumnType { column, .. } => column,
            SpecError::Window { .. } => "window",
        }
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}

fn list<S: AsRef<str>>(names: impl Iterator<Item = S>) -> String {
    names.map(|name| format!("\"{}\"", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The name most like `wanted`, if one is like it at all.
pub(super) fn nearest<S: AsRef<str>>(
    wanted: &str,
    names: impl IntoIterator<Item = S>,
) -> Option<String> {
    let wanted = wanted.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.as_ref().to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.as_ref().to_owned())
}

impl DetectorSpec {
    /// The specification of a kind from its parameters (without `kind`); those not given have
    /// their defaults.
    ///
    /// # Errors
    ///
    /// [`SpecError`] for an unknown kind or parameter, with the nearest name there is, and for a
    /// value of the wrong type or outside its range, with what was expected.
    pub fn from_parameters(kind: &str, parameters: &toml::Table) -> Result<Self, SpecError> {
        let Some(spec) = DetectorSpec::read(kind, parameters) else {
            let nearest = nearest(kind, DetectorSpec::KINDS);
            return Err(SpecError::Kind { kind: kind.to_owned(), nearest });
        };
        let spec = spec?;
        spec.check()?;
        Ok(spec)
    }
}

pub(super) fn read<T: DeserializeOwned>(
    kind: &str,
    fields: &[Field],
    parameters: &toml::Table,
) -> Result<T, SpecError> {
    for (key, value) in parameters {
        let Some(field) = fields.iter().find(|field| field.name == key) else {
            let valid: Vec<&'static str> = fields.iter().map(|field| field.name).collect();
            let nearest = nearest(key, &valid);
            return Err(SpecError::Key { kind: kind.to_owned(), key: key.clone(), nearest, valid });
        };
        // One by one, because serde does not say which value it did not like.
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        if alone.try_into::<T>().is_err() {
            return Err(SpecError::Value {
                kind: kind.to_owned(),
                key: key.clone(),
                expected: field.expects.to_owned(),
                found: value.to_string(),
            });
        }
    }
    // Each has been read alone, so this cannot fail; if it does, it says so as an error.
    parameters.clone().try_into().map_err(|error: toml::de::Error| SpecError::Value {
        kind: kind.to_owned(),
        key: "parameters".to_owned(),
        expected: "a table of parameters".to_owned(),
        found: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn defaults_are_in_range_and_every_field_is_described() {
        for kind in DetectorSpec::KINDS {
            // The one kind that is nothing without a parameter.
            let least = if *kind == "static_threshold" { "upper = 1.5" } else { "" };
            let spec = DetectorSpec::from_parameters(kind, &table(least)).unwrap();
            assert_eq!(spec.kind(), *kind);
            let written = toml::Table::try_from(&spec).unwrap();
            let fields = DetectorSpec::fields(kind).unwrap();
            assert_eq!(written.len(), fields.len() + 1, "{kind}: the fields and the tag");
            for field in fields {
                assert!(written.contains_key(field.name), "{kind}.{}", field.name);
            }
            // The tagged form reads back, and every written value passes by itself.
            assert_eq!(written.clone().try_into::<DetectorSpec>().unwrap(), spec);
            let mut parameters = written;
            parameters.remove("kind");
            assert_eq!(DetectorSpec::from_parameters(kind, &parameters).unwrap(), spec);
        }
        assert!(DetectorSpec::fields("x").is_none());
    }

    #[test]
    fn given_values_are_taken() {
        let spec = DetectorSpec::from_parameters(
            "traffic_spike",
            &table("threshold = 4\ndirection = \"both\"\nmeasure = \"hits\""),
        )
        .unwrap();
        let DetectorSpec::TrafficSpike(p) = spec else { panic!("another kind") };
        assert_eq!(
            (p.threshold, p.direction, p.measure.as_str()),
            (4.0, super::super::spec::Direction::Both, "hits")
        );
        assert_eq!(p.warm_up, 10);
    }

    #[test]
    fn errors_name_the_key_and_what_to_write() {
        let error =
            |kind: &str, text: &str| DetectorSpec::from_parameters(kind, &table(text)).unwrap_err();
        let e = error("trafic_spike", "");
        assert_eq!(e.key(), "kind");
        assert!(e.to_string().starts_with(
            "unknown detector kind \"trafic_spike\" (did you mean \"traffic_spike\"?), expected"
        ));
        let e = error("error_rate", "treshold = 3");
        assert_eq!(e.key(), "treshold");
        assert!(e.to_string().contains("did you mean \"threshold\"?"), "{e}");
        assert_eq!(
            error("error_rate", "threshold = \"high\"").to_string(),
            "parameter \"threshold\" of error_rate: expected a number from 1 to 100, found \"high\""
        );
        assert_eq!(
            error("error_rate", "threshold = 0").to_string(),
            "parameter \"threshold\" of error_rate: expected a number from 1 to 100, found 0.0"
        );
        assert!(matches!(error("ratio_to_mean", "scope = \"each\""), SpecError::Value { .. }));
        assert!(matches!(error("ratio_to_mean", "ratio = nan"), SpecError::Value { .. }));
        assert_eq!(
            error("static_threshold", "").to_string(),
            "parameter \"upper\" of static_threshold: expected a number (or \"lower\", or both), \
             found neither"
        );
        assert!(matches!(
            error("static_threshold", "upper = 1\nlower = 2"),
            SpecError::Value { .. }
        ));
        assert!(matches!(
            error("seasonal", "time_zone = \"Atlantis\""),
            SpecError::Value { key, .. } if key == "time_zone"
        ));
        assert!(matches!(error("traffic_spike", "max_series = -1"), SpecError::Value { .. }));
        assert!(matches!(error("traffic_spike", "warm_up = 2.5"), SpecError::Value { .. }));
        assert!(matches!(error("traffic_spike", "kind = \"x\""), SpecError::Key { .. }));
        assert!(
            error("zzz", "").to_string().starts_with("unknown detector kind \"zzz\", expected")
        );
    }
}
