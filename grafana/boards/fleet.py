"""All daemons on one page."""

from boards.marks import ANOMALIES, NONE_IS_GOOD, RESTARTS
from panels import (
    INSTANCE, INSTANCES, JOB, dashboard, lines, query, row, stat, table, timeline,
)


def fleet():
    of = INSTANCES
    return dashboard(
        "millpond-fleet", "Millpond / Fleet",
        "Every daemon that Prometheus scrapes: is it there, does it keep up, what is wrong.",
        [JOB, INSTANCE],
        [
            row(
                "Now",
                stat("Daemons up", "Targets that answered the last scrape.", "short",
                     f"sum(up{{{of}}})", steps=[(None, "red"), (1, "green")]),
                stat("Pipelines running", "Pipelines whose actors are all up.", "short",
                     f'sum(millpond_pipeline_state{{{of}, state="running"}})',
                     steps=[(None, "red"), (1, "green")]),
                stat("Checks failing", "Readiness checks that fail; /readyz says why.", "short",
                     f"count(millpond_pipeline_ready{{{of}}} == 0) or vector(0)", steps=NONE_IS_GOOD),
                stat("Alerts firing", "Alerts of prometheus/rules, those for information left out.",
                     "short",
                     'count(ALERTS{alertstate="firing", alertname=~"Millpond.+", severity!="info"}) '
                     "or vector(0)", steps=NONE_IS_GOOD),
                stat("Anomalies open", "Anomalies that have begun and not ended, warning or worse.",
                     "short",
                     f'sum(millpond_anomalies_open{{{of}, severity!="info"}}) or vector(0)',
                     steps=[(None, "green"), (1, "orange")]),
                stat("Records read", "Records read a second, over all sources.", "cps",
                     f"sum(rate(millpond_source_records_total{{{of}}}[$__rate_interval]))"),
            ),
            row(
                "Daemons",
                table(
                    "Daemons", "One row a daemon. Restarts are those of the last hour.",
                    [("Up for", "s"), ("Memory", "bytes"), ("CPU", "percentunit"),
                     ("Records/s", "cps"), ("Lag", "short"), ("Watermark lag", "s"),
                     ("Epoch age", "s"), ("Restarts", "short")],
                    [
                        query(f"max by (instance, version) (time() - process_start_time_seconds{{{of}}}"
                              " * on (job, instance) group_right () "
                              f"millpond_build_info{{{of}}})"),
                        query(f"max by (instance) (process_resident_memory_bytes{{{of}}})"),
                        query(f"max by (instance) (rate(process_cpu_seconds_total{{{of}}}"
                              "[$__rate_interval]))"),
                        query(f"sum by (instance) (rate(millpond_source_records_total{{{of}}}"
                              "[$__rate_interval]))"),
                        query(f"sum by (instance) (millpond_source_consumer_lag_records{{{of}}})"),
                        query(f"max by (instance) (millpond_pipeline_watermark_lag_seconds{{{of}}})"),
                        query(f"max by (instance) (millpond_checkpoint_age_seconds{{{of}}})"),
                        query(f"sum by (instance) (increase(millpond_pipeline_restarts_total{{{of}}}"
                              "[1h]))"),
                    ],
                    by=["instance"], keep=["version"]),
                timeline("Pipelines", "1 while the pipeline is in the state.",
                         query(f"max by (instance, pipeline, state) (millpond_pipeline_state{{{of}}}) > 0",
                               "{{pipeline}} on {{instance}}: {{state}}"), w=12),
                timeline("Alerts", "Alerts while they are pending or firing.",
                         query('max by (alertname, severity, pipeline) '
                               '(ALERTS{alertname=~"Millpond.+"}) or vector(0)',
                               "{{alertname}} {{pipeline}}"), w=12),
            ),
            row(
                "Keeping up",
                lines("Records read", "Records read a second.", "cps",
                      query(f"sum by (instance, pipeline) (rate(millpond_source_records_total{{{of}}}"
                            "[$__rate_interval]))", "{{pipeline}} on {{instance}}"), stacked=True),
                lines("Consumer lag", "Records that wait in the sources.", "short",
                      query(f"sum by (instance, pipeline) (millpond_source_consumer_lag_records{{{of}}})",
                            "{{pipeline}} on {{instance}}")),
                lines("Watermark lag", "How far event time lies behind the wall clock.", "s",
                      query(f"max by (instance, pipeline) (millpond_pipeline_watermark_lag_seconds{{{of}}})",
                            "{{pipeline}} on {{instance}}")),
                lines("Age of the last epoch", "How old what the tables show is, at most.", "s",
                      query(f"max by (instance, pipeline) (millpond_checkpoint_age_seconds{{{of}}})",
                            "{{pipeline}} on {{instance}}")),
            ),
            row(
                "Processes",
                lines("CPU", "Cores in use.", "short",
                      query(f"rate(process_cpu_seconds_total{{{of}}}[$__rate_interval])",
                            "{{instance}}"), w=8),
                lines("Memory", "Resident memory.", "bytes",
                      query(f"process_resident_memory_bytes{{{of}}}", "{{instance}}"), w=8),
                lines("File descriptors", "Open, as a part of the limit.", "percentunit",
                      query(f"process_open_fds{{{of}}} / process_max_fds{{{of}}}", "{{instance}}"),
                      w=8),
                lines("HTTP requests", "Requests that the daemons' servers answered, a second.",
                      "reqps",
                      query(f"sum by (route, status) (rate(millpond_http_requests_total{{{of}}}"
                            "[$__rate_interval]))", "{{route}} {{status}}"), stacked=True),
                lines("HTTP latency", "95th percentile of the time to answer.", "s",
                      query("histogram_quantile(0.95, sum by (route, le) "
                            f"(rate(millpond_http_request_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{route}}")),
            ),
        ],
        [RESTARTS, ANOMALIES],
    )
