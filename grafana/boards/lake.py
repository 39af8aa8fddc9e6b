"""Tables: what is committed to them, and in what shape."""

from boards.marks import NONE_IS_GOOD, RESTARTS
from panels import (
    INSTANCE, JOB, PIPELINE, PIPELINES, dashboard, heatmap, lines, query, row, stat, table, variable,
)


def lake():
    of = PIPELINES + ', sink=~"$sink"'
    tables = PIPELINES
    sink = variable(
        "sink", "Table",
        'label_values(millpond_sink_commits_total{job=~"$job", instance=~"$instance", '
        'pipeline=~"$pipeline"}, sink)')
    return dashboard(
        "millpond-lake", "Millpond / Lake",
        "The tables: commits, files and their sizes, upkeep, conflicts with other writers; and the "
        "static tables that queries join with.",
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
                "Upkeep",
                table(
                    "Upkeep", "One row a table and task, where [upkeep] is configured.",
                    [("Last", "s"), ("Running", "short"), ("Failing", "short"), ("Runs", "short"),
                     ("Files removed", "short"), ("Bytes removed", "bytes")],
                    [
                        query("min by (pipeline, table, task) (time() - "
                              f"millpond_upkeep_finished_timestamp_seconds{{{tables}}})"),
                        query(f"max by (pipeline, table, task) (millpond_upkeep_running{{{tables}}})"),
                        query(f"max by (pipeline, table, task) (millpond_upkeep_failing{{{tables}}})"),
                        query("sum by (pipeline, table, task) "
                              f"(millpond_upkeep_runs_total{{{tables}}})"),
                        query("sum by (pipeline, table, task) "
                              f"(millpond_upkeep_removed_files_total{{{tables}}})"),
                        query("sum by (pipeline, table, task) "
                              f"(millpond_upkeep_removed_bytes_total{{{tables}}})"),
                    ],
                    by=["pipeline", "table", "task"], sort="Bytes removed"),
                lines("Runs", "By task and outcome, an hour.", "short",
                      query("3600 * sum by (task, outcome) "
                            f"(rate(millpond_upkeep_runs_total{{{tables}}}[$__rate_interval]))",
                            "{{task}} {{outcome}}"), w=8),
                lines("Time of a run", "Mean, by table and task.", "s",
                      query("sum by (table, task) "
                            f"(rate(millpond_upkeep_duration_seconds_sum{{{tables}}}"
                            "[$__rate_interval])) / sum by (table, task) "
                            f"(rate(millpond_upkeep_duration_seconds_count{{{tables}}}"
                            "[$__rate_interval]))", "{{table}} {{task}}"), w=8),
                lines("Files", "Taken out of tables, and put in their place, by table.", "short",
                      query("sum by (table) "
                            f"(increase(millpond_upkeep_removed_files_total{{{tables}}}"
                            "[$__rate_interval]))", "{{table}} removed"),
                      query("sum by (table) "
                            f"(increase(millpond_upkeep_added_files_total{{{tables}}}"
                            "[$__rate_interval]))", "{{table}} added"), w=8, bars=True),
            ),
            row(
                "Batch jobs",
                table(
                    "Batch jobs", "Tables that are computed anew on a schedule, one row a job.",
                    [("Last success", "s"), ("Runs", "short"), ("Failed", "short"),
                     ("Rows written", "short")],
                    [
                        query("min by (pipeline, batch) (time() - "
                              f"millpond_batch_succeeded_timestamp_seconds{{{tables}}})"),
                        query(f"sum by (pipeline, batch) (millpond_batch_runs_total{{{tables}}})"),
                        query("sum by (pipeline, batch) "
                              f'(millpond_batch_runs_total{{{tables}, outcome="failed"}})'),
                        query("sum by (pipeline, batch) "
                              f"(millpond_batch_written_rows_total{{{tables}}})"),
                    ],
                    by=["pipeline", "batch"], w=14),
                lines("Time of a run", "Mean, by job, with all its attempts.", "s",
                      query("sum by (batch) "
                            f"(rate(millpond_batch_run_duration_seconds_sum{{{tables}}}"
                            "[$__rate_interval])) / sum by (batch) "
                            f"(rate(millpond_batch_run_duration_seconds_count{{{tables}}}"
                            "[$__rate_interval]))", "{{batch}}"), w=10),
                collapsed=True,
            ),
            row(
                "Static tables",
                lines("Rows", "Held in memory, by table.", "short",
                      query(f"max by (table) (millpond_table_rows{{{tables}}})", "{{table}}"), w=8),
                lines("Age", "Since the table was last read.", "s",
                      query("min by (table) (time() - "
                            f"millpond_table_loaded_timestamp_seconds{{{tables}}})", "{{table}}"), w=8),
                lines("Failing", "1 while the last look at the table failed: queries use the rows "
                      "read before.", "short",
                      query(f"max by (table) (millpond_table_failing{{{tables}}})", "{{table}}"), w=8),
                collapsed=True,
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
