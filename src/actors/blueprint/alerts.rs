//! Receivers of anomaly events beside the detectors' own tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::detector::DetectorBlueprint;
use super::sink::{Feeds, SinkBlueprint, SinkTarget, StagedTarget, alert_target};
use crate::anomaly::{Severity, anomaly_schema};
use crate::config::{
    AlertFilter, AlertSeverity, ConfigError, Settings, WebhookFormat as Format, WebhookSettings,
};
use crate::sink::TargetSpec;
use crate::sink::webhook::{WebhookFormat, WebhookOptions};
use crate::sql::{OutputMode, suggestion};

/// Adds the receivers to the sinks, and to the detectors whose events they get.
pub(super) fn plan_alerts(
    settings: &Settings,
    detectors: &mut [DetectorBlueprint],
    sinks: &mut Vec<SinkBlueprint>,
) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let schema = anomaly_schema();
    for webhook in &settings.alerts.webhooks {
        let path = ["alerts", "webhooks", &webhook.name];
        match webhook_options(settings, webhook) {
            Ok(options) => {
                let target = staged(TargetSpec::Webhook(options), schema.clone());
                let name = format!("webhook-{}", webhook.name);
                let receiver = Receiver { name, path, filter: &webhook.filter, target };
                errors.extend(receiver.add(settings, detectors, sinks).err());
            }
            Err(error) => errors.push(error),
        }
    }
    for sink in &settings.alerts.sinks {
        let path = ["alerts", "sinks", &sink.name];
        match alert_target(&sink.settings, schema.clone()) {
            Ok(target) => {
                let name = format!("alerts-{}", sink.name);
                let receiver = Receiver { name, path, filter: &sink.filter, target };
                errors.extend(receiver.add(settings, detectors, sinks).err());
            }
            Err(error) => errors.push(settings.error_at(&path, error, None)),
        }
    }
    errors
}

pub(super) fn staged(spec: TargetSpec, schema: SchemaRef) -> SinkTarget {
    let (mode, keys, finish) = (OutputMode::Append, Vec::new(), None);
    SinkTarget::Staged(Box::new(StagedTarget { spec, schema, mode, keys, finish }))
}

/// Somebody who gets events.
struct Receiver<'a> {
    name: String,
    path: [&'a str; 3],
    filter: &'a AlertFilter,
    target: SinkTarget,
}

impl Receiver<'_> {
    fn add(
        self,
        settings: &Settings,
        detectors: &mut [DetectorBlueprint],
        sinks: &mut Vec<SinkBlueprint>,
    ) -> Result<(), ConfigError> {
        let [first, second, third] = self.path;
        let names = || detectors.iter().map(|detector| &*detector.name);
        for name in &self.filter.detectors {
            if !names().any(|known| known == name) {
                let help = suggestion(name, names(), "detectors");
                let message = format!("there is no detector '{name}'");
                let at = [first, second, third, "detectors"];
                return Err(settings.error_at(&at, message, Some(help)));
            }
        }
        let min = match self.filter.min_severity {
            AlertSeverity::Info => Severity::Info,
            AlertSeverity::Warning => Severity::Warning,
            AlertSeverity::Critical => Severity::Critical,
        };
        let index = sinks.len();
        let mut sources: Vec<Arc<str>> = Vec::new();
        let mut heard = false;
        for detector in detectors {
            let wanted = self.filter.detectors.is_empty()
                || self.filter.detectors.iter().any(|name| **name == *detector.name);
            if !wanted {
                continue;
            }
            heard = true;
            // The detector's own table has all the sources behind it.
            let behind = detector.sinks.first().and_then(|(table, _)| sinks.get(*table));
            for source in behind.map_or(&[][..], |table| &table.sources) {
                if !sources.contains(source) {
                    sources.push(source.clone());
                }
            }
            detector.sinks.push((index, min));
        }
        if !heard {
            let message = "there is no detector whose anomalies it could tell of".to_owned();
            let help = "add a [detectors.NAME]".to_owned();
            return Err(settings.error_at(&self.path, message, Some(help)));
        }
        sinks.push(SinkBlueprint {
            application: format!("millpond/{}/{}", settings.name, self.name),
            sink: self.name.into(),
            target: self.target,
            feeds_from: Feeds::Detectors,
            sources,
            stateful: true,
            misfits_to_dead_letters: false,
        });
        Ok(())
    }
}

fn webhook_options(
    settings: &Settings,
    webhook: &WebhookSettings,
) -> Result<WebhookOptions, ConfigError> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).map_err(|error| {
            let message = format!("the file that `ca_file` names: {error}");
            settings.error_at(&["alerts", "webhooks", &webhook.name, "ca_file"], message, None)
        })
    };
    Ok(WebhookOptions {
        name: webhook.name.clone(),
        url: webhook.url.expose().to_owned(),
        headers: webhook
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        format: match webhook.format {
            Format::Millpond => WebhookFormat::Millpond,
            Format::Alertmanager => WebhookFormat::Alertmanager,
        },
        timeout: webhook.timeout,
        queue: webhook.queue,
        ca: webhook.ca_file.as_ref().map(read).transpose()?,
    })
}
