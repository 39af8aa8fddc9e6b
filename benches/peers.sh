#!/bin/bash
# Events per CPU-second of the whole daemon, beside a peer measured in the same run.
#
#   PEERS=DIR PEERS_KIT=DIR benches/peers.sh [w1|w1s] [REPEATS] [PEER...]
#
# PEERS      data and virtual environments, as the kit's README prepares them: setup.sh core mesh,
#            then gen.py and ref.py for the workload (w1: 5,000,000 events; w1s: 500,000)
# PEERS_KIT  the kit: bench.py, check.py, run.sh, kafka/
# MILLPOND   the executable [target/release/millpond]; `cargo build --release` makes it
# PROFILE    set: runs the daemon under `perf record`, one run a query, and measures nothing
#
# Q1: one-minute windows by endpoint. Q3: every row to a table partitioned by date and hour. Both
# from four partitions of a Kafka topic (Tansu, in memory, in a process of its own), until the
# input is at its end (--available-now), checked by the kit's check.py. CPU seconds are user + sys
# of the daemon with all its threads, start and stop included; the broker is not in them.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
: "${PEERS:?a folder with the prepared data}" "${PEERS_KIT:?the folder of the peers scripts}"
workload=${1:-w1} repeats=${2:-3}
shift $(($# < 2 ? $# : 2))
peers=("$@")
((${#peers[@]})) || peers=(duckdb)
millpond=${MILLPOND:-$here/target/release/millpond}
python=$PEERS/venv/core/bin/python
events=$(cat "$PEERS/$workload/events")
# A port of our own: a broker that somebody else runs is not ours to load.
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
work=$(mktemp -d "${TMPDIR:-/tmp}/millpond-peers.XXXXXX")
results=${RESULTS:-$work/results.jsonl}
tansu=
finish() {
    [ -z "$tansu" ] || kill "$tansu" 2>/dev/null || true
    rm -rf "$work/data" "$work"/*.toml
    echo "results: $results"
}
trap finish EXIT

tansu=$(PEERS=$PEERS "$PEERS_KIT/kafka/broker.sh" "$port")
sleep 1
kill -0 "$tansu" 2>/dev/null || { echo "the broker did not start: $PEERS/logs/tansu.$port.log"; exit 1; }
"$python" "$PEERS_KIT/kafka/load.py" "127.0.0.1:$port" "$workload" "$PEERS/$workload/data"

configuration() { # QUERY
    cat <<TOML
name = "peers-$1"
data_dir = "$work/data"

[server]
listen = "127.0.0.1:0"

[sources.events]
type = "kafka"
brokers = "127.0.0.1:$port"
topics = ["$workload"]
schema = """
timestamp TIMESTAMP NOT NULL, ip STRING, method STRING, endpoint STRING, status_code INT,
response_time_ms DOUBLE, bytes BIGINT, user_agent STRING
"""

[sources.events.options]
# The broker lets the first member of a group wait for half of this; it is no CPU time.
"session.timeout.ms" = 1000
"heartbeat.interval.ms" = 250

[sources.events.watermark]
column = "timestamp"
delay = "2 minutes"
TOML
    case $1 in
    q1) cat <<'TOML' ;;

[queries.q1]
sql = '''
SELECT window.start AS window_start, endpoint, count(*) AS cnt, avg(response_time_ms) AS avg_rt,
       max(response_time_ms) AS max_rt, count(*) FILTER (WHERE status_code >= 500) AS errors
FROM events
GROUP BY window(timestamp, '1 minute'), endpoint
'''
[queries.q1.sink]
type = "delta"
path = "${data_dir}/q1"
TOML
    q3) cat <<'TOML' ;;

[queries.q3]
sql = "SELECT *, CAST(timestamp AS DATE) AS date, hour(timestamp) AS hour FROM events"
[queries.q3.sink]
type = "delta"
path = "${data_dir}/q3"
partition_by = ["date", "hour"]
compression = "snappy"
TOML
    esac
}

for query in q1 q3; do
    configuration $query >"$work/$query.toml"
    command=("$millpond" run "$work/$query.toml" --available-now)
    if [ -n "${PROFILE:-}" ]; then
        rm -rf "$work/data"
        perf record -g -o "$work/$query.perf" -- "${command[@]}" 2>"$work/$query.log"
        echo "perf report -i $work/$query.perf"
        continue
    fi
    for repeat in $(seq "$repeats"); do
        rm -rf "$work/data"
        "$python" "$PEERS_KIT/bench.py" millpond $query "$events" --log "$results" -- "${command[@]}" \
            >"$work/$query.$repeat.log" 2>&1 || { tail -20 "$work/$query.$repeat.log"; exit 1; }
        tail -1 "$results"
        "$python" "$PEERS_KIT/check.py" $query "$PEERS/$workload" "$work/data/$query" --format delta
    done
    for peer in "${peers[@]}"; do
        # The peers' own script writes to $PEERS/results.jsonl.
        touch "$PEERS/results.jsonl"
        before=$(wc -l <"$PEERS/results.jsonl")
        PEERS=$PEERS bash "$PEERS_KIT/run.sh" "$peer" $query "$workload" "$repeats"
        tail -n +$((before + 1)) "$PEERS/results.jsonl" >>"$results"
    done
done
if [ -z "${PROFILE:-}" ]; then
    echo
    nproc | sed 's/$/ cores/'
    "$python" "$PEERS_KIT/table.py" "$results"
fi
