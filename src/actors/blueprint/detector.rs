//! Detector rules, each on the windows of its query.

use std::sync::Arc;

use crate::anomaly::{
    DetectorSpec, Policy, SeriesColumns, SeriesReader, SpecError, anomaly_schema,
};
use crate::config::{ConfigError, DetectorSettings, Settings};
use crate::graph::Graph;

use super::sink::{Feeds, SinkBlueprint, SinkTarget, table_spec};
use super::{ANOMALIES, source_names};

/// A detector rule.
#[derive(Debug)]
pub struct DetectorBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// The rule.
    pub spec: DetectorSpec,
    /// When its anomalies open, speak and close.
    pub policy: Policy,
    /// Series that are shown as metrics, at most.
    pub metric_series: usize,
    /// The columns that it reads.
    pub columns: SeriesColumns,
    /// The length of its query's windows, in microseconds.
    pub window_us: i64,
    /// Index of its query.
    pub query: usize,
    /// Index of the sink that its anomalies go to.
    pub sink: usize,
}

pub(super) fn plan_detector(
    settings: &Settings,
    detector: &DetectorSettings,
    graph: &Graph,
    sinks: &mut Vec<SinkBlueprint>,
) -> Result<DetectorBlueprint, ConfigError> {
    let at = |key: Option<&str>, message: String, help| {
        settings.error_at_detector(detector, key, message, help)
    };
    let Some(query) = graph.queries().iter().position(|query| query.name == detector.query) else {
        return Err(at(Some("query"), format!("there is no query '{}'", detector.query), None));
    };
    let planned = &graph.queries()[query];
    let Some(window_us) = planned.window_us() else {
        return Err(at(
            Some("query"),
            format!("a detector watches windows, and the query '{}' has none", detector.query),
            Some("group the query by window(...)".into()),
        ));
    };
    let spec = DetectorSpec::from_parameters(&detector.kind, &detector.parameters)
        .map_err(|error| spec_error(settings, detector, &error))?;
    if spec.needs_weight() && detector.weight.is_none() {
        return Err(at(
            None,
            format!("a detector of kind '{}' needs a weight", detector.kind),
            Some("set `weight` to the column that counts the events behind the value".into()),
        ));
    }
    let columns = SeriesColumns {
        keys: detector.key.clone(),
        value: detector.value.clone(),
        weight: detector.weight.clone(),
        window_start: detector.window.clone(),
    };
    SeriesReader::new(planned.output_schema.clone(), &columns)
        .map_err(|error| spec_error(settings, detector, &error))?;
    let sources = source_names(graph, graph.sources_of_output(query));
    let spec_of_table = table_spec(&detector.sink, anomaly_schema());
    let known = sinks.iter().position(|sink| {
        sink.feeds_from == Feeds::Detectors && sink.address() == spec_of_table.uri
    });
    let table = match known {
        Some(known) => {
            for source in sources {
                if !sinks[known].sources.contains(&source) {
                    sinks[known].sources.push(source);
                }
            }
            known
        }
        None => {
            let others = sinks.iter().filter(|s| s.feeds_from == Feeds::Detectors).count();
            let sink = match others {
                0 => ANOMALIES.to_owned(),
                _ => format!("{ANOMALIES}-{}", others + 1),
            };
            sinks.push(SinkBlueprint {
                application: format!("millpond/{}/{sink}", settings.name),
                sink: sink.into(),
                target: SinkTarget::Table(spec_of_table),
                feeds_from: Feeds::Detectors,
                sources,
                stateful: true,
                misfits_to_dead_letters: false,
            });
            sinks.len() - 1
        }
    };
    Ok(DetectorBlueprint {
        name: detector.name.as_str().into(),
        spec,
        policy: Policy {
            open_after: detector.open_after,
            clear_after: detector.clear_after,
            update_every: detector.update_every,
        },
        metric_series: detector.metric_series,
        columns,
        window_us,
        query,
        sink: table,
    })
}

fn spec_error(settings: &Settings, detector: &DetectorSettings, error: &SpecError) -> ConfigError {
    settings.error_at_detector(detector, Some(error.key()), error.to_string(), None)
}
