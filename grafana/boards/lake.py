"""Tables: what is committed to them, and in what shape."""

from boards.marks import NONE_IS_GOOD, RESTARTS
from panels import (
    INSTANCE, JOB, PIPELINE, PIPELINES, dashboard, heatmap, lines, query, row, stat, table, variable,
)


def lake():
    of = PIPELINES + ', sink=~"$sink"'
    sink = variable(
        "sink", "Table",
        'label_values(millpond_sink_commits_total{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline"}, sink)')
    return dashboard(
        "millpond-lake", "Millpond / Lake",
        "The tables: commits, files and their sizes, conflicts with other writers, static tables.",
        [JOB, INSTANCE, PIPELINE, sink],
        [
            row(
                "Now",
                stat("Commits", "In the last five minutes.", "short",
                     f"sum(increase(millpond_sink_commits_total{{{of}}}[5m]))"),
                stat("Rows committed", "A second.", "cps",
                     f"sum(rate(millpond_sink_committed_rows_total{{{of}}}[$__rate_interval]))"),
                stat("Bytes committed", "Of data files, a second.", "Bps",
                     f"sum(rate(millpond_sink_committed_bytes_total{{{of}}}[$__rate_interval]))"),
                stat("Mean file", "Bytes of a data file, over the last hour. Many files far below "
                     "64 MiB make reading slow: compact them (millpond table optimize).", "bytes",
                     f"sum(increase(millpond_sink_file_size_bytes_sum{{{of}}}[1h])) / "
                     f"sum(increase(millpond_sink_file_size_bytes_count{{{of}}}[1h]))"),
                stat("Sinks retrying", "Sinks whose last attempt failed.", "short",
                     f"sum(millpond_sink_retrying{{{of}}})", steps=NONE_IS_GOOD),
                stat("Conflicts", "Commits of the last hour that found the table changed by another "
                     "writer; they were made again.", "short",
                     f'sum(increase(millpond_sink_retries_total{{{of}, reason="conflict"}}[1h]))',
                     steps=[(None, "green"), (1, "orange")]),
            ),
            row(
                "Tables",
                table(
                    "Tables", "One row a table or other sink; counts since the daemon's start.",
                    [("Version", "short"), ("Commits", "short"), ("Rows", "short"),
                     ("Bytes", "bytes"), ("Last commit", "s"), ("Mean file", "bytes")],
                    [
                        query(f"max by (pipeline, sink) (millpond_sink_table_version{{{of}}})"),
                        query(f"sum by (pipeline, sink) (millpond_sink_commits_total{{{of}}})"),
                        query(f"sum by (pipeline, sink) (millpond_sink_committed_rows_total{{{of}}})"),
                        query(f"sum by (pipeline, sink) (millpond_sink_committed_bytes_total{{{of}}})"),
                        query("min by (pipeline, sink) (time() - "
                              f"millpond_sink_committed_timestamp_seconds{{{of}}})"),
                        query(f"sum by (pipeline, sink) (millpond_sink_file_size_bytes_sum{{{of}}}) / "
                              f"sum by (pipeline, sink) (millpond_sink_file_size_bytes_count{{{of}}})"),
                    ],
                    by=["pipeline", "sink"], sort="Bytes"),
            ),
            row(
                "Commits",
                lines("Commits", "By table, a minute.", "short",
                      query(f"60 * sum by (sink) (rate(millpond_sink_commits_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}}"), w=8),
                lines("Time of a commit", "95th percentile, by table.", "s",
                      query("histogram_quantile(0.95, sum by (sink, le) "
                            f"(rate(millpond_sink_commit_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{sink}}"), w=8),
                lines("Time since the last commit", "A table that gets no rows makes no commits.", "s",
                      query("min by (sink) (time() - "
                            f"millpond_sink_committed_timestamp_seconds{{{of}}})", "{{sink}}"), w=8),
                lines("Rows committed", "By table, a second.", "cps",
                      query(f"sum by (sink) (rate(millpond_sink_committed_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}}"), w=8, stacked=True),
                lines("Bytes committed", "By table, a second.", "Bps",
                      query(f"sum by (sink) (rate(millpond_sink_committed_bytes_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}}"), w=8, stacked=True),
                lines("Rows of a commit", "Mean, by table.", "short",
                      query(f"sum by (sink) (rate(millpond_sink_commit_rows_sum{{{of}}}"
                            f"[$__rate_interval])) / sum by (sink) "
                            f"(rate(millpond_sink_commit_rows_count{{{of}}}[$__rate_interval]))",
                            "{{sink}}"), w=8),
            ),
            row(
                "Files",
                heatmap("File sizes", "Data files written, by size.", "bytes",
                        f"sum by (le) (increase(millpond_sink_file_size_bytes_bucket{{{of}}}"
                        "[$__rate_interval]))"),
                lines("Files of a commit", "Mean, by table.", "short",
                      query(f"sum by (sink) (rate(millpond_sink_commit_files_sum{{{of}}}"
                            f"[$__rate_interval])) / sum by (sink) "
                            f"(rate(millpond_sink_commit_files_count{{{of}}}[$__rate_interval]))",
                            "{{sink}}")),
                lines("Median file", "By table.", "bytes",
                      query("histogram_quantile(0.5, sum by (sink, le) "
                            f"(rate(millpond_sink_file_size_bytes_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{sink}}")),
                lines("Version", "Of each Delta table; other writers' commits count as well.", "short",
                      query(f"max by (sink) (millpond_sink_table_version{{{of}}})", "{{sink}}"),
                      minimum=None),
            ),
            row(
                "Faults",
                lines("Failed attempts", "By table and reason; all are made again.", "short",
                      query(f"sum by (sink, reason) (increase(millpond_sink_retries_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}} {{reason}}"), bars=True),
                lines("Refused commits", "Another daemon had committed the same input.", "short",
                      query(f"sum by (sink) (increase(millpond_sink_fencings_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}}"), bars=True),
            ),
        ],
        [RESTARTS],
    )
