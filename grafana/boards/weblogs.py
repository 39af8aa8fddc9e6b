"""A web site's traffic, as the detectors of config/weblogs.toml and config/demo.toml watch it."""

from boards.marks import ANOMALIES
from panels import (
    INSTANCE, JOB, PIPELINE, PIPELINES, bars, colour, dashboard, lines, query, row, stat, table,
    variable,
)


def detector(name, label, pattern):
    """The detector whose series a part of the page shows: the first whose name fits."""
    return variable(
        name, label,
        'label_values(millpond_detector_series_value{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline"}, detector)', many=False, regex=f"/{pattern}/")


def weblogs():
    of = PIPELINES
    traffic = f'{of}, detector="$requests", series=~"$endpoint"'
    errors = f'{of}, detector="$errors", series=~"$endpoint"'
    times = f'{of}, detector="$times", series=~"$endpoint"'
    endpoint = variable(
        "endpoint", "Endpoint",
        'label_values(millpond_detector_series_value{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline", detector="$requests"}, series)')

    def value(of_what, name="value"):
        return f"max by (series) (millpond_detector_series_{name}{{{of_what}}})"

    share = (
        f"sum({value(errors)} * on (series) {value(traffic)}) / sum({value(traffic)})")
    return dashboard(
        "millpond-weblogs", "Millpond / Web logs",
        "The site as its visitors see it: requests, errors and response times of each endpoint, "
        "window by window. Values are those of the last closed window of the detectors' queries.",
        [
            JOB, INSTANCE, PIPELINE,
            detector("requests", "Requests from", ".*(traffic|request).*"),
            detector("errors", "Errors from", ".*(error|fail).*"),
            detector("times", "Times from", ".*(response|latency|duration).*"),
            endpoint,
        ],
        [
            row(
                "Now",
                stat("Requests", "In the last window, over all endpoints.", "short",
                     f"sum({value(traffic)})"),
                stat("Errors", "Part of the requests of the last window that failed.", "percentunit",
                     share, steps=[(None, "green"), (0.02, "orange"), (0.05, "red")]),
                stat("Response time", "Mean of the last window, weighed by requests.", "ms",
                     f"sum({value(times)} * on (series) {value(traffic)}) / sum({value(traffic)})"),
                stat("Endpoints", "With requests in the last window.", "short",
                     f"count({value(traffic)} > 0)"),
                stat("Log records", "Read a second.", "cps",
                     f"sum(rate(millpond_source_records_total{{{of}}}[$__rate_interval]))"),
                stat("Anomalies open", "Of all detectors.", "short",
                     f"sum(millpond_anomalies_open{{{of}}})",
                     steps=[(None, "green"), (1, "orange")]),
            ),
            row(
                "Requests",
                lines("Requests", "Of each endpoint's window.", "short",
                      query(value(traffic), "{{series}}"), stacked=True),
                lines("Requests against expectation", "Over all endpoints: what came, and what the "
                      "detector expected.", "short",
                      query(f"sum({value(traffic)})", "requests"),
                      query(f"sum({value(traffic, 'expected_value')})", "expected"),
                      overrides=[colour("expected", "blue", ("custom.lineStyle",
                                                             {"fill": "dash", "dash": [6, 4]}))]),
                bars("Busiest endpoints", "Requests of the last window.", "short",
                     f"topk(10, {value(traffic)})", "{{series}}"),
                lines("Traffic", "Bytes of the log, read a second.", "Bps",
                      query(f"sum by (source) (rate(millpond_source_bytes_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}}")),
            ),
            row(
                "Errors and response times",
                lines("Error rate", "Part of each endpoint's requests that failed.", "percentunit",
                      query(value(errors), "{{series}}")),
                lines("Response time", "Mean of each endpoint's window.", "ms",
                      query(value(times), "{{series}}")),
                bars("Slowest endpoints", "Mean response time of the last window.", "ms",
                     f"topk(10, {value(times)})", "{{series}}"),
                bars("Endpoints with most errors", "Error rate of the last window.", "percentunit",
                     f"topk(10, {value(errors)})", "{{series}}"),
            ),
            row(
                "Endpoints",
                table("Endpoints", "The last window of each.",
                      [("Requests", "short"), ("Expected", "short"), ("Error rate", "percentunit"),
                       ("Response time", "ms")],
                      [query(value(traffic)), query(value(traffic, "expected_value")),
                       query(value(errors)), query(value(times))],
                      by=["series"], sort="Requests", w=16),
                table("Anomalies open", "By detector.", [("Open", "short")],
                      [query(f"sum by (detector) (millpond_anomalies_open{{{of}}})")],
                      by=["detector"], sort="Open", w=8),
            ),
            row(
                "What the log is missing",
                lines("Unreadable records", "By reason, a second; they are kept as dead letters.",
                      "cps",
                      query(f"sum by (reason) (rate(millpond_codec_dead_letter_records_total{{{of}}}"
                            "[$__rate_interval]))", "{{reason}}")),
                lines("Late rows", "Too late for their windows, by query, a second.", "cps",
                      query(f"sum by (query) (rate(millpond_query_late_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}}")),
            ),
        ],
        [ANOMALIES],
    )
