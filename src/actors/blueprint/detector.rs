//! Detector rules, each on the windows of its query.

use std::sync::Arc;

use crate::anomaly::{
    DetectorSpec, Policy, SeriesColumns, SeriesReader, Severity, SpecError, anomaly_schema,
};
use crate::config::{ConfigError, DetectorSettings, Settings};
use crate::graph::Graph;
use crate::sql::OutputMode;

use super::sink::{Feeds, SinkBlueprint, SinkTarget, table_spec};
use super::source::SourceBlueprint;
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
    /// The columns by which a row of the query takes the place of an earlier one; none in append
    /// mode.
    pub rows: Vec<String>,
    /// How long before its windows are final it judges them, in microseconds: the watermark's
    /// delay for a query that gives changed rows again, else 0.
    pub settle_us: i64,
    /// Index of its query.
    pub query: usize,
    /// Indexes of the sinks that events of its anomalies go to, its own table first, and the
    /// severity that an anomaly must have reached for each.
    pub sinks: Vec<(usize, Severity)>,
}

pub(super) fn plan_detector(
    settings: &Settings,
    detector: &DetectorSettings,
    graph: &Graph,
    sources: &[SourceBlueprint],
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
    let (mut rows, mut settle_us) = (Vec::new(), 0);
    if planned.mode != OutputMode::Append {
        rows = planned.key_columns().ok_or_else(|| {
            let message = format!(
                "the query '{}' gives changed rows again, and its output does not hold all that it \
                 groups by, so nothing tells which row replaces which",
                detector.query
            );
            at(Some("query"), message, Some("select every GROUP BY expression".to_owned()))
        })?;
        let behind = graph.sources_of_output(query);
        let delays = sources
            .iter()
            .enumerate()
            .filter(|(index, _)| behind.contains(index))
            .filter_map(|(_, source)| source.watermark.as_ref())
            .map(|watermark| watermark.delay_us);
        settle_us = delays.min().ok_or_else(|| {
            let message = format!(
                "the query '{}' has no watermark, so none of its windows is ever over",
                detector.query
            );
            at(Some("query"), message, Some("set [sources.NAME.watermark]".to_owned()))
        })?;
    }
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
        rows,
        settle_us,
        query,
        sinks: vec![(table, Severity::Info)],
    })
}

fn spec_error(settings: &Settings, detector: &DetectorSettings, error: &SpecError) -> ConfigError {
    settings.error_at_detector(detector, Some(error.key()), error.to_string(), None)
}
