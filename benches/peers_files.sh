#!/bin/bash
# Events per CPU-second of the whole daemon from files: one-minute windows by endpoint (q1) and
# windows of ten minutes every ten seconds by client (q2, twice as many rows out as events in).
#
#   PEERS=DIR PEERS_KIT=DIR benches/peers_files.sh [w1|w1s] [REPEATS] [q1|q2 ...]
#
# PEERS, PEERS_KIT and MILLPOND as for benches/peers.sh. CPU seconds are user + sys of the daemon
# with all its threads, from its start to its end (--available-now); the table is checked by the
# kit's check.py.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
: "${PEERS:?a folder with the prepared data}" "${PEERS_KIT:?the folder of the peers scripts}"
workload=${1:-w1} repeats=${2:-3}
shift $(($# < 2 ? $# : 2))
queries=("$@")
((${#queries[@]})) || queries=(q1 q2)
millpond=${MILLPOND:-$here/target/release/millpond}
python=$PEERS/venv/core/bin/python
events=$(cat "$PEERS/$workload/events")
work=$(mktemp -d "${TMPDIR:-/tmp}/millpond-files.XXXXXX")
trap 'rm -rf "$work"' EXIT

configuration() { # QUERY
    cat <<TOML
name = "files-$1"
data_dir = "$work/data"

[server]
enabled = false

[logging]
level = "warn"

[sources.events]
type = "files"
path = "$PEERS/$workload/data"
schema = """
timestamp TIMESTAMP NOT NULL, ip STRING, method STRING, endpoint STRING, status_code INT,
response_time_ms DOUBLE, bytes BIGINT, user_agent STRING
"""

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
TOML
    q2) cat <<'TOML' ;;

[queries.q2]
sql = '''
SELECT window.start AS window_start, ip, count(*) AS cnt
FROM events
GROUP BY window(timestamp, '10 minutes', '10 seconds'), ip
'''
TOML
    esac
    printf '\n[queries.%s.sink]\ntype = "delta"\npath = "%s"\n' "$1" "$work/data/$1"
}

for query in "${queries[@]}"; do
    configuration "$query" >"$work/$query.toml"
    for _ in $(seq "$repeats"); do
        rm -rf "$work/data"
        "$python" - "$millpond" "$work/$query.toml" "$query" "$events" <<'PYTHON'
import os, resource, subprocess, sys
millpond, config, query, events = sys.argv[1:]
subprocess.run([millpond, "run", config, "--available-now"], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(f"{query}: {cpu:.2f} CPU s, {int(events) / cpu / 1000:.0f} k events/CPU-s, {used.ru_maxrss / 1024:.0f} MiB", flush=True)
PYTHON
    done
    "$python" "$PEERS_KIT/check.py" "$query" "$PEERS/$workload" "$work/data/$query" --format delta
done
