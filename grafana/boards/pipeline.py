"""One pipeline in full."""

from boards.marks import ANOMALIES, NONE_IS_GOOD, RESTARTS
from panels import (
    INSTANCE, JOB, PIPELINE, PIPELINES, colour, dashboard, lines, query, row, stat, timeline, variable,
)


def pipeline():
    of = PIPELINES
    one = variable("pipeline", "Pipeline", PIPELINE["definition"], many=False)
    return dashboard(
        "millpond-pipeline", "Millpond / Pipeline",
        "One pipeline from its sources to its tables: throughput, lag, latency, backpressure, state, "
        "checkpoints and faults.",
        [JOB, INSTANCE, one],
        [
            row(
                "Now",
                stat("Ready", "1 if all readiness checks pass.", "short",
                     f"min(millpond_pipeline_ready{{{of}}})", steps=[(None, "red"), (1, "green")]),
                stat("Records read", "A second.", "cps",
                     f"sum(rate(millpond_source_records_total{{{of}}}[$__rate_interval]))"),
                stat("Consumer lag", "Records that wait in the sources.", "short",
                     f"sum(millpond_source_consumer_lag_records{{{of}}})"),
                stat("Watermark lag", "How far event time lies behind the wall clock.", "s",
                     f"max(millpond_pipeline_watermark_lag_seconds{{{of}}})"),
                stat("Epoch age", "Time since the last epoch became durable.", "s",
                     f"max(millpond_checkpoint_age_seconds{{{of}}})",
                     steps=[(None, "green"), (60, "orange"), (300, "red")]),
                stat("Restarts", "In the last hour.", "short",
                     f"sum(increase(millpond_pipeline_restarts_total{{{of}}}[1h]))",
                     steps=NONE_IS_GOOD),
            ),
            row(
                "Throughput",
                lines("Records read", "By source, a second; those read again after a restart count "
                      "again.", "cps",
                      query(f"sum by (source) (rate(millpond_source_records_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}}"), w=8, stacked=True),
                lines("Bytes read", "Keys and payloads, by source.", "Bps",
                      query(f"sum by (source) (rate(millpond_source_bytes_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}}"), w=8, stacked=True),
                lines("Rows decoded", "By source, a second.", "cps",
                      query(f"sum by (source) (rate(millpond_codec_decoded_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}}"), w=8, stacked=True),
                lines("Rows out of queries", "Rows that queries handed to their sinks, a second.",
                      "cps",
                      query(f"sum by (query) (rate(millpond_query_output_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}}"), stacked=True),
                lines("Rows committed", "Rows that became visible, by sink, a second.", "cps",
                      query(f"sum by (sink) (rate(millpond_sink_committed_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{sink}}"), stacked=True),
            ),
            row(
                "Lag and event time",
                lines("Consumer lag", "Records of each partition that wait.", "short",
                      query(f"sum by (source, partition) (millpond_source_consumer_lag_records{{{of}}})",
                            "{{source}} {{partition}}"), w=8),
                lines("Time to catch up", "What waits, at the pace of the last five minutes.", "s",
                      query(f"max by (source) (pipeline_source:millpond_source_catch_up_seconds:estimate5m{{{of}}})",
                            "{{source}}"), w=8),
                lines("Watermark lag", "How far event time lies behind the wall clock: windows close "
                      "that much later than their events.", "s",
                      query(f"max(millpond_pipeline_watermark_lag_seconds{{{of}}})", "watermark"),
                      query("max by (partition) (time() - "
                            f"millpond_source_newest_event_timestamp_seconds{{{of}}})",
                            "newest event of {{partition}}"), w=8),
                lines("Late rows", "Rows that came after all of their windows had closed, a second.",
                      "cps",
                      query(f"sum by (query) (rate(millpond_query_late_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}}"), w=8),
                lines("Windows closed", "By query, a second.", "cps",
                      query(f"sum by (query) (rate(millpond_query_closed_windows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}}"), w=8),
                timeline("Idle partitions", "Partitions that the watermark goes on without, because "
                         "nothing comes.",
                         query(f"max by (source, partition) (millpond_source_partition_idle{{{of}}}) "
                               f"or 0 * max by (source, partition) (millpond_source_consumer_lag_records{{{of}}})",
                               "{{source}} {{partition}}"), w=8),
            ),
            row(
                "Latency",
                lines("Epochs, by phase", "95th percentile of the phases of an epoch: barriers meet, "
                      "snapshots are taken, the ledger is written, sinks commit.", "s",
                      query("histogram_quantile(0.95, sum by (phase, le) "
                            f"(rate(millpond_checkpoint_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{phase}}"), w=8),
                lines("Commits, by sink", "95th percentile of the time of a commit.", "s",
                      query("histogram_quantile(0.95, sum by (sink, le) "
                            f"(rate(millpond_sink_commit_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{sink}}"), w=8),
                lines("Decoding a batch", "Median and 95th percentile.", "s",
                      query("histogram_quantile(0.5, sum by (source, le) "
                            f"(rate(millpond_codec_decode_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{source}} p50"),
                      query("histogram_quantile(0.95, sum by (source, le) "
                            f"(rate(millpond_codec_decode_duration_seconds_bucket{{{of}}}"
                            "[$__rate_interval])))", "{{source}} p95"), w=8),
            ),
            row(
                "Backpressure",
                lines("Readers waiting", "Part of the time that readers wait because what is behind "
                      "them is full. Near 0 the source is the slower side, near 1 the rest is.",
                      "percentunit",
                      query("sum by (source) (rate(millpond_source_credit_wait_seconds_sum"
                            f"{{{of}}}[$__rate_interval])) / "
                            f"sum by (source) (millpond_source_assigned_partitions{{{of}}})",
                            "{{source}}"), w=8, maximum=1),
                lines("Credit", "Bytes that may be under way between readers and operators, and how "
                      "many are.", "bytes",
                      query(f"sum(millpond_pipeline_credit_limit_bytes{{{of}}} - "
                            f"millpond_pipeline_credit_free_bytes{{{of}}})", "batches"),
                      query(f"sum(millpond_pipeline_credit_owed_bytes{{{of}}})", "results"),
                      query(f"sum(millpond_pipeline_credit_limit_bytes{{{of}}})", "limit"), w=8,
                      overrides=[colour("limit", "red", ("custom.fillOpacity", 0))]),
                lines("Mailboxes", "Messages that wait, by kind of actor: who is behind.", "short",
                      query(f"sum by (actor) (millpond_actor_mailbox_messages{{{of}}})",
                            "{{actor}}"), w=8),
                lines("Fetched and not read", "Bytes that librdkafka holds.", "bytes",
                      query(f"sum by (source) (millpond_kafka_fetch_queue_bytes{{{of}}})",
                            "{{source}}"), w=8),
                lines("Broker round trip", "Mean over librdkafka's last interval.", "s",
                      query(f"max by (source, broker) (millpond_kafka_broker_round_trip_seconds{{{of}}})",
                            "{{source}} broker {{broker}}"), w=8),
                lines("Batch size", "Mean records of a batch.", "short",
                      query("sum by (source) (rate(millpond_source_batch_records_sum"
                            f"{{{of}}}[$__rate_interval])) / sum by (source) "
                            f"(rate(millpond_source_batch_records_count{{{of}}}"
                            "[$__rate_interval]))", "{{source}}"), w=8),
            ),
            row(
                "State",
                lines("Memory of state", "By query, over its shards.", "bytes",
                      query(f"sum by (query) (millpond_state_bytes{{{of}}})", "{{query}}"), w=8,
                      stacked=True),
                lines("Groups", "Keys times windows, by query.", "short",
                      query(f"sum by (query) (millpond_state_groups{{{of}}})", "{{query}}"), w=8,
                      stacked=True),
                lines("Open windows", "Of the shard that has the most, by query.", "short",
                      query(f"max by (query) (millpond_state_open_windows{{{of}}})", "{{query}}"),
                      w=8),
            ),
            row(
                "Checkpoints",
                lines("Epochs", "Epochs that reached a stage, a minute.", "short",
                      query(f"60 * sum by (stage) (rate(millpond_checkpoint_epochs_total{{{of}}}"
                            "[$__rate_interval]))", "{{stage}}"), w=8,
                      overrides=[colour("failed", "red")]),
                lines("Age of the last epoch", "What a restart would read again.", "s",
                      query(f"max(millpond_checkpoint_age_seconds{{{of}}})", "age"), w=8),
                lines("Written", "Bytes of state and ledger, a second; and the last epoch's size.",
                      "bytes",
                      query(f"sum(rate(millpond_checkpoint_written_bytes_total{{{of}}}"
                            "[$__rate_interval]))", "a second"),
                      query(f"sum(millpond_checkpoint_last_size_bytes{{{of}}})", "last epoch"), w=8),
            ),
            row(
                "Expectations",
                lines("Rows held against rules", "By rule and what became of them, a second.", "cps",
                      query("sum by (query, rule, outcome) "
                            f"(rate(millpond_expectation_rows_total{{{of}}}[$__rate_interval]))",
                            "{{query}} {{rule}} {{outcome}}")),
                lines("Rows that break a rule", "As a part of all, over five minutes.", "percentunit",
                      query("max by (query, rule) (pipeline_query_rule:"
                            f"millpond_expectation_broken_rows:ratio_rate5m{{{of}}})",
                            "{{query}} {{rule}}")),
                collapsed=True,
            ),
            row(
                "Faults",
                lines("Restarts", "By the actor that failed first, and why.", "short",
                      query(f"sum by (actor, cause) (increase(millpond_pipeline_restarts_total{{{of}}}"
                            "[$__rate_interval])) > 0 or vector(0)", "{{actor}} {{cause}}"), w=8,
                      bars=True),
                lines("Dead letters", "Records that could not be decoded, by reason, a second.",
                      "cps",
                      query(f"sum by (source, reason) (rate(millpond_codec_dead_letter_records_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}} {{reason}}"), w=8, stacked=True),
                lines("Rows left out", "Rows without an event time and duplicates, a second.", "cps",
                      query(f"sum by (query) (rate(millpond_query_null_event_time_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}} without a time"),
                      query(f"sum by (query) (rate(millpond_query_duplicate_rows_total{{{of}}}"
                            "[$__rate_interval]))", "{{query}} duplicates"), w=8),
                lines("Sinks retrying", "Attempts that failed, by sink and reason.", "short",
                      query(f"sum by (sink, reason) (increase(millpond_sink_retries_total{{{of}}}"
                            "[$__rate_interval])) > 0 or vector(0)", "{{sink}} {{reason}}"), w=8,
                      bars=True),
                lines("Kafka errors", "That librdkafka reported, by code, a second.", "cps",
                      query(f"sum by (source, code) (rate(millpond_kafka_errors_total{{{of}}}"
                            "[$__rate_interval])) or vector(0)", "{{source}} {{code}}"), w=8),
                lines("Rebalances", "Partitions that came and went.", "short",
                      query(f"sum by (source, change) (increase(millpond_source_rebalances_total{{{of}}}"
                            "[$__rate_interval]))", "{{source}} {{change}}"), w=8, bars=True),
            ),
        ],
        [RESTARTS, ANOMALIES],
    )
