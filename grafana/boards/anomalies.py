"""What detectors see."""

from boards.marks import ANOMALIES
from panels import (
    COLOURS, INSTANCE, JOB, PIPELINE, PIPELINES, colour, dashboard, lines, query, row, stat, table,
    timeline, variable,
)


def anomalies():
    of = PIPELINES + ', detector=~"$detector"'
    watched = PIPELINES + ', detector="$watched", series=~"$series"'
    detector = variable(
        "detector", "Detector",
        'label_values(millpond_detector_series{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline"}, detector)')
    series = variable(
        "series", "Series",
        'label_values(millpond_detector_series_value{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline", detector="$watched"}, series)')
    bands_of = variable(
        "watched", "Bands of",
        'label_values(millpond_detector_series_value{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline"}, detector)', many=False)
    band = [
        colour("upper", "light-blue", ("custom.fillBelowTo", "lower"), ("custom.fillOpacity", 15),
               ("custom.lineWidth", 0)),
        colour("lower", "light-blue", ("custom.lineWidth", 0), ("custom.fillOpacity", 0)),
        colour("expected", "blue", ("custom.lineStyle", {"fill": "dash", "dash": [6, 4]}),
               ("custom.fillOpacity", 0)),
        colour("value", "green", ("custom.lineWidth", 2), ("custom.fillOpacity", 0)),
    ]

    def edge(name):
        return f"max(millpond_detector_series_{name}{{{watched}}})"

    def open_of(severity, colour_of):
        return stat(f"Open, {severity}", "Anomalies that have begun and not ended.", "short",
                    f'sum(millpond_anomalies_open{{{of}, severity="{severity}"}})',
                    steps=[(None, "green"), (1, colour_of)])

    return dashboard(
        "millpond-anomalies", "Millpond / Anomalies",
        "What is out of the ordinary: open anomalies, the series with the bands they are held "
        "against, and when what was out of line.",
        [JOB, INSTANCE, PIPELINE, detector, bands_of, series],
        [
            row(
                "Now",
                open_of("critical", COLOURS["critical"]),
                open_of("warning", COLOURS["warning"]),
                open_of("info", COLOURS["info"]),
                stat("Opened", "In the last hour.", "short",
                     f"sum(increase(millpond_anomalies_opened_total{{{of}}}[1h]))"),
                stat("Series watched", "Series that detectors keep a baseline of.", "short",
                     f"sum(millpond_detector_series{{{of}}})"),
                stat("Windows judged again", "Windows of the last hour that late data changed.",
                     "short",
                     f"sum(increase(millpond_detector_rescored_windows_total{{{of}}}[1h]))"),
            ),
            row(
                "Open anomalies",
                table("Open anomalies", "How many are open, by detector and severity. The daemon's "
                      "page and the table of anomalies have each with its words.",
                      [("Open", "short")],
                      [query(f"sum by (pipeline, detector, severity) (millpond_anomalies_open{{{of}}})")],
                      by=["pipeline", "detector", "severity"], w=10, sort="Open"),
                table("Series", "The last window of each series with its band, the worst first; a "
                      "score above 0.5 is out of line.",
                      [("Score", "percentunit"), ("Value", "short"), ("Expected", "short"),
                       ("Lower", "short"), ("Upper", "short")],
                      [query(f"max by (detector, series) (millpond_detector_series_{name}{{{of}}})")
                       for name in ["score", "value", "expected_value", "lower_value", "upper_value"]],
                      by=["detector", "series"], w=14, sort="Score"),
            ),
            row(
                "Timeline",
                timeline("Open anomalies", "Detectors with open anomalies, by severity.",
                         query(f"sum by (detector, severity) (millpond_anomalies_open{{{of}}})",
                               "{{detector}} {{severity}}")),
                lines("Scores", "Of each series: 0 in line, above 0.5 out of line.", "percentunit",
                      query(f"max by (detector, series) (millpond_detector_series_score{{{of}}})",
                            "{{detector}} {{series}}"), maximum=1),
                lines("Opened and closed", "Anomalies, by detector.", "short",
                      query(f"sum by (detector) (increase(millpond_anomalies_opened_total{{{of}}}"
                            "[$__rate_interval]))", "{{detector}} opened"),
                      query(f"-sum by (detector) (increase(millpond_anomalies_closed_total{{{of}}}"
                            "[$__rate_interval]))", "{{detector}} closed"), bars=True, minimum=None),
            ),
            row(
                "Bands of $watched",
                lines("$watched: $series", "The value of each window with what was expected and the "
                      "band it was held against.", "short",
                      query(edge("value"), "value"),
                      query(edge("expected_value"), "expected"),
                      query(edge("upper_value"), "upper"),
                      query(edge("lower_value"), "lower"),
                      w=12, h=9, minimum=None, overrides=band, repeat="series"),
            ),
            row(
                "Detectors",
                lines("Windows out of line", "By detector and severity, a minute.", "short",
                      query("60 * sum by (detector, severity) "
                            f"(rate(millpond_detector_anomalies_total{{{of}}}[$__rate_interval]))",
                            "{{detector}} {{severity}}"), w=8, stacked=True),
                lines("Series watched", "Series that each detector keeps a baseline of.", "short",
                      query(f"sum by (detector) (millpond_detector_series{{{of}}})", "{{detector}}"),
                      w=8),
                lines("Windows judged again", "Windows that late data changed, by detector.", "short",
                      query("sum by (detector) "
                            f"(increase(millpond_detector_rescored_windows_total{{{of}}}"
                            "[$__rate_interval]))", "{{detector}}"), w=8, bars=True),
            ),
        ],
        [ANOMALIES],
    )
