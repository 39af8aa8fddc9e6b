//! `[alerts]`: reading it.

use std::time::Duration;

use url::Url;

use super::diagnostics::ConfigError;
use super::document::{Origin, Value};
use super::model::{
    AlertFilter, AlertSeverity, AlertSinkSettings, AlertsSettings, OutputMode, WebhookFormat,
    WebhookSettings,
};
use super::names::check_name;
use super::secret::Secret;
use super::section::Section;
use super::sink;

/// Reads the section, which may be absent.
pub(crate) fn read(section: &Section<'_>) -> AlertsSettings {
    let mut alerts = AlertsSettings::default();
    for (name, webhook) in section.named("webhooks") {
        alerts.webhooks.extend(read_webhook(name, &webhook));
    }
    for (name, section) in section.named("sinks") {
        alerts.sinks.extend(read_sink(name, &section));
    }
    section.finish();
    alerts
}

fn filter(section: &Section<'_>) -> AlertFilter {
    let severities = [
        ("info", AlertSeverity::Info),
        ("warning", AlertSeverity::Warning),
        ("critical", AlertSeverity::Critical),
    ];
    let detectors = section.strings("detectors", "names of detectors");
    AlertFilter {
        detectors: detectors.iter().map(|found| found.text.to_owned()).collect(),
        min_severity: section.choice("min_severity", &severities, &[], AlertSeverity::Info),
    }
}

fn read_sink(name: &str, section: &Section<'_>) -> Option<AlertSinkSettings> {
    check_name(section, name, "sink");
    let filter = filter(section);
    // Events are only ever added.
    let (_, settings) = sink::read(section, OutputMode::Append)?;
    Some(AlertSinkSettings { name: name.to_owned(), settings, filter })
}

fn read_webhook(name: &str, section: &Section<'_>) -> Option<WebhookSettings> {
    check_name(section, name, "webhook");
    let url = url(section);
    let headers = headers(&section.section("headers"));
    let formats =
        [("millpond", WebhookFormat::Millpond), ("alertmanager", WebhookFormat::Alertmanager)];
    let format = section.choice("format", &formats, &[], WebhookFormat::Millpond);
    let filter = filter(section);
    let second = Duration::from_secs(1);
    let timeout = section.duration("timeout", 10 * second, second / 10, 300 * second);
    let queue = section.count("queue", 1, 1_000_000).unwrap_or(1000);
    let ca_file = section.file("ca_file", "the path of a file of certificates, PEM");
    section.finish();
    Some(WebhookSettings {
        name: name.to_owned(),
        url: url?,
        headers,
        format,
        filter,
        timeout,
        queue,
        ca_file,
    })
}

fn url(section: &Section<'_>) -> Option<Secret> {
    const URL: &str = "an address that begins with http:// or https://";
    if !section.has("url") {
        section.missing("url", "\"https://alerts.example.com/hooks/millpond\"");
        return None;
    }
    let (url, known) = section.secret("url", URL)?;
    if known {
        let valid = Url::parse(url.expose())
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !valid {
            // The address may hold a token: it is not repeated.
            let error = ConfigError::new("this is no address of a web server").expected(URL);
            section.report("url", &section.location("url"), error);
            return None;
        }
    }
    Some(url)
}

fn headers(section: &Section<'_>) -> Vec<(String, Secret)> {
    const VALUE: &str = "a string of printable ASCII characters";
    let mut headers = Vec::new();
    for entry in section.rest() {
        let name = &entry.key;
        let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        if name.is_empty() || !name.bytes().all(token) {
            let error = ConfigError::new(format!("`{name}` cannot be the name of a header"))
                .expected("letters, digits and `-`, such as Authorization");
            section.report(name, &entry.key_at, error);
            continue;
        }
        let Value::String(text) = &entry.node.value else {
            let error = ConfigError::new(format!("{} is not valid here", entry.node.kind()));
            section.report(name, &entry.node.at, error.expected(VALUE));
            continue;
        };
        let printable = |c: u8| c == b'\t' || (b' '..=b'~').contains(&c);
        if text.origin != Origin::Unresolved && !text.value.bytes().all(printable) {
            let error = ConfigError::new("this value cannot be sent as a header").expected(VALUE);
            section.report(name, &entry.node.at, error);
            continue;
        }
        headers.push((name.clone(), Secret::new(text.value.clone())));
    }
    headers
}
