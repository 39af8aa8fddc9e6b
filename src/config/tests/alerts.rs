//! `[alerts]` and the keys of `[detectors.NAME]` that say when anomalies open and close.

use std::time::Duration;

use super::super::{AlertSeverity, SinkSettings, WebhookFormat};
use super::{no_variables, over_base, variables};

#[test]
fn receivers_are_read_and_their_secrets_never_shown() {
    let settings = over_base(
        r#"
[detectors.slow]
kind = "response_time"
query = "bronze"
value = "p95"
open_after = 2
metric_series = 0
[alerts.webhooks.pager]
url = "https://hooks.example.com/T0/${TOKEN}"
headers = { Authorization = "Bearer ${TOKEN}", X-Team = "web" }
min_severity = "warning"
detectors = ["slow"]
timeout = "3s"
[alerts.webhooks.alertmanager]
url = "http://alertmanager:9093/api/v2/alerts"
format = "alertmanager"
[alerts.sinks.topic]
type = "kafka"
brokers = "localhost:9092"
topic = "anomalies"
key = "key"
"#,
        &variables(&[("TOKEN", "hush")]),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let detector = &settings.detectors[0];
    assert_eq!((detector.open_after, detector.clear_after, detector.update_every), (2, 3, 10));
    assert_eq!(detector.metric_series, 0);
    assert!(detector.parameters.is_empty());
    let [pager, alertmanager] = &settings.alerts.webhooks[..] else { panic!("two webhooks") };
    assert_eq!(pager.url.expose(), "https://hooks.example.com/T0/hush");
    assert_eq!(pager.headers[0].1.expose(), "Bearer hush");
    assert_eq!(pager.filter.detectors, ["slow"]);
    assert_eq!(pager.filter.min_severity, AlertSeverity::Warning);
    assert_eq!((pager.timeout, pager.queue), (Duration::from_secs(3), 1000));
    assert_eq!(alertmanager.format, WebhookFormat::Alertmanager);
    assert_eq!(alertmanager.filter.min_severity, AlertSeverity::Info);
    assert!(matches!(settings.alerts.sinks[0].settings, SinkSettings::Kafka(_)));
    let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn what_is_wrong_is_named() {
    let errors = over_base(
        r#"
[alerts.webhooks.a]
url = "hooks.example.com/very-secret"
format = "slack"
queue = 0
headers = { "a b" = "x", c = "very-secret\n" }
[alerts.webhooks.b]
urll = "http://x/"
[alerts.sinks.c]
topic = "t"
"#,
        &no_variables(),
    )
    .map(|_| ())
    .expect_err("it is wrong")
    .to_string();
    for wanted in [
        "this is no address of a web server",
        "an address that begins with http:// or https://",
        "`millpond` or `alertmanager`",
        "`a b` cannot be the name of a header",
        "this value cannot be sent as a header",
        "missing key `url` in [alerts.webhooks.b]",
        "missing key `type` in [alerts.sinks.c]",
        "alerts.webhooks.a.queue",
    ] {
        assert!(errors.contains(wanted), "{wanted} is not in\n{errors}");
    }
}
