"""What dashboards share: marks on the time axis, where an alert of these fires."""

from panels import INSTANCES

FIRING = 'ALERTS{alertstate="firing", %s, alertname=~"%s"}'
RESTARTS = (
    "Restarts", "red", FIRING % (INSTANCES, "MillpondPipelineRestarted|MillpondDown"),
    "{{alertname}}", "{{pipeline}} {{actor}} {{cause}}")
ANOMALIES = (
    "Anomalies", "orange", FIRING % (INSTANCES, "MillpondAnomalyOpen"),
    "{{detector}}", "{{severity}} on {{pipeline}}")

# Colours of a number that should be nought.
NONE_IS_GOOD = [(None, "green"), (1, "red")]
