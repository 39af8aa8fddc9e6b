#!/usr/bin/env python3
"""Deduplication and stream-stream joins: the workload, Spark's side of it, and the measure.

    spark_dedup_join.py generate DIR [--events N]       write the input and what has to come out
    spark_dedup_join.py spark QUERY DIR OUT             run a query in Spark (needs pyspark 4, Java 17)
    spark_dedup_join.py measure LABEL EVENTS -- CMD..   run a command, print its CPU seconds and memory
    spark_dedup_join.py check QUERY DIR GLOB            compare NDJSON output files with what has to come out

QUERY is dedup, dedup-within, join or join-left. A whole run, Spark and then another engine:

    ./spark_dedup_join.py generate /tmp/dj --events 1000000
    ./spark_dedup_join.py measure spark-dedup 1000000 -- ./spark_dedup_join.py spark dedup /tmp/dj /tmp/dj/out/spark-dedup
    ./spark_dedup_join.py check dedup /tmp/dj '/tmp/dj/out/spark-dedup/*.json'
    ./spark_dedup_join.py measure millpond-dedup 1000000 -- millpond run dedup.toml --available-now
    ./spark_dedup_join.py check dedup /tmp/dj '/tmp/dj/out/millpond-dedup/**/*.json'

The input is NDJSON, the same bytes for the same number of events everywhere, 1,000 events a second of
event time, each up to 10 s out of order:

events/       ts TIMESTAMP, id STRING, user STRING, value DOUBLE, seq BIGINT. One in ten is a redelivery of an
              earlier event, up to 60 s later in the stream: same ts and id, its own seq.
impressions/  ts TIMESTAMP, id STRING, campaign STRING, seq BIGINT
clicks/       ts TIMESTAMP, id STRING, user STRING, seq BIGINT. One in five impressions is clicked, 0 to 90 s after
              it; the join takes clicks up to 60 s after. EVENTS counts both sides.

dedup         dropDuplicates(id, ts), watermark 2 minutes
dedup-within  dropDuplicatesWithinWatermark(id), watermark 2 minutes
join          SELECT i.id, campaign, user, i.seq AS seq, c.ts AS clicked FROM impressions i JOIN clicks c
              ON i.id = c.id AND c.ts BETWEEN i.ts AND i.ts + INTERVAL 1 MINUTE, watermarks 30 seconds on both
join-left     the same as LEFT JOIN: impressions without a click, too, once the watermark is past them

All write NDJSON files, append mode. The input ends with rows an hour later, so that watermarks pass everything
else; those rows themselves (id "end..") may be missing in the output and are not counted.
"""
import argparse
import collections
import ctypes
import datetime
import glob
import gzip
import json
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import threading
import time

START = int(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).timestamp() * 1000)
RATE = 1_000             # events a second of event time
DISORDER_MS = 10_000
FILES = 20


def stamp(milliseconds):
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03}Z"


class Files:
    """Rows cut into files by their arrival time, so that file n of each source covers the same time."""

    def __init__(self, folder, span):
        self.folder, self.span = folder, span
        folder.mkdir(parents=True)
        self.rows = [[] for _ in range(FILES)]

    def add(self, arrival, line):
        self.rows[min(max(int(arrival * FILES / self.span), 0), FILES - 1)].append((arrival, line))

    def close(self, end):
        for number, rows in enumerate(self.rows):
            rows.sort()  # arrival, then the text: the same order everywhere
            with open(self.folder / f"{number:04}.json", "w") as f:
                f.writelines(line for _, line in rows)
        # The last two files move the watermark past all before them, in every source at once.
        for number, line in enumerate(end):
            (self.folder / f"{FILES + number:04}.json").write_text(line)
        # File sources go by modification time.
        for number, path in enumerate(sorted(self.folder.iterdir())):
            os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))


def generate(folder, events):
    folder = pathlib.Path(folder)
    rng = random.Random(20260101)
    expected = {}
    end = START + events * 1000 // RATE + 3_600_000

    out = Files(folder / "events", events)
    unique = seq_sum = 0
    pending = []             # redeliveries: (arrival, line without seq)
    seq = 0
    while seq < events:
        if pending and pending[0][0] <= seq:
            _, row = pending.pop(0)
            out.add(seq, row + f',"seq":{seq}}}\n')
        else:
            at = START + seq * 1000 // RATE - rng.randrange(DISORDER_MS)
            row = (f'{{"ts":"{stamp(at)}","id":"{rng.getrandbits(64):016x}","user":"user-{rng.randrange(20_000)}",'
                   f'"value":{rng.randrange(100_000) / 100}')
            out.add(seq, row + f',"seq":{seq}}}\n')
            unique += 1
            seq_sum += seq
            if rng.random() < 1 / 9:
                pending.append((seq + rng.randrange(60 * RATE), row))
                pending.sort()
        seq += 1
    out.close([f'{{"ts":"{stamp(end + n)}","id":"end{n}","user":"end","value":0.0,"seq":0}}\n' for n in range(2)])
    expected["dedup"] = expected["dedup-within"] = {"rows": unique, "seq_sum": seq_sum}

    impressions = events * 5 // 6
    span = impressions + 90 * RATE
    left, right = Files(folder / "impressions", span), Files(folder / "clicks", span)
    clicks = matches = match_sum = 0
    for seq in range(impressions):
        at = START + seq * 1000 // RATE - rng.randrange(DISORDER_MS)
        id = f"{rng.getrandbits(64):016x}"
        left.add(seq, f'{{"ts":"{stamp(at)}","id":"{id}","campaign":"campaign-{rng.randrange(500)}","seq":{seq}}}\n')
        if rng.random() < 0.2:
            after = rng.randrange(90_000)
            # A click arrives within the disorder after it happened.
            arrival = seq + after * RATE // 1000 + rng.randrange(DISORDER_MS) * RATE // 1000 / 2
            right.add(arrival, f'{{"ts":"{stamp(at + after)}","id":"{id}","user":"user-{rng.randrange(20_000)}",'
                               f'"seq":{clicks}}}\n')
            clicks += 1
            if after <= 60_000:
                matches += 1
                match_sum += seq
    for side, column in ((left, "campaign"), (right, "user")):
        side.close([f'{{"ts":"{stamp(end + n)}","id":"end{n}","{column}":"end","seq":0}}\n' for n in range(2)])
    expected["join"] = {"rows": matches, "seq_sum": match_sum}
    expected["join-left"] = {"rows": impressions, "seq_sum": impressions * (impressions - 1) // 2, "matched": matches}
    expected["events"] = {"events": events + 2, "impressions": impressions + 2, "clicks": clicks + 2}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(json.dumps(expected))


JOIN = """SELECT i.id, i.campaign, c.user, i.seq AS seq, c.ts AS clicked FROM impressions i {} clicks c
ON i.id = c.id AND c.ts BETWEEN i.ts AND i.ts + INTERVAL 1 MINUTE"""


def spark(query, folder, out):
    from pyspark.sql import SparkSession
    for old in (out, out + "-checkpoint"):
        shutil.rmtree(old, ignore_errors=True)
    session = (SparkSession.builder.master("local[2]").appName(query)
               .config("spark.driver.memory", "4g").config("spark.ui.enabled", "false")
               .config("spark.ui.showConsoleProgress", "false")
               .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
               .config("spark.sql.shuffle.partitions", "2").config("spark.sql.session.timeZone", "UTC").getOrCreate())
    session.sparkContext.setLogLevel("ERROR")
    if provider := os.environ.get("STATE_STORE"):
        session.conf.set("spark.sql.streaming.stateStore.providerClass", provider)

    def source(name, schema, delay):
        return (session.readStream.schema(schema).option("maxFilesPerTrigger", 2).json(f"{folder}/{name}")
                .withWatermark("ts", delay))

    if query.startswith("dedup"):
        events = source("events", "ts TIMESTAMP, id STRING, user STRING, value DOUBLE, seq BIGINT", "2 minutes")
        df = events.dropDuplicates(["id", "ts"]) if query == "dedup" else events.dropDuplicatesWithinWatermark(["id"])
    else:
        for name, column in (("impressions", "campaign"), ("clicks", "user")):
            source(name, f"ts TIMESTAMP, id STRING, {column} STRING, seq BIGINT", "30 seconds").createTempView(name)
        df = session.sql(JOIN.format("JOIN" if query == "join" else "LEFT JOIN"))
    running = (df.writeStream.format("json").option("path", out).option("checkpointLocation", out + "-checkpoint")
               .trigger(availableNow=True).start())
    running.awaitTermination()
    dropped = sum(o["numRowsDroppedByWatermark"] for p in running.recentProgress for o in p["stateOperators"])
    print(f"{len(running.recentProgress)} micro-batches, {dropped} rows late", file=sys.stderr)
    session.stop()


def tree_memory(root):
    """Resident bytes of a process and all below it."""
    parent, resident = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            resident[int(pid)] = int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            parent[int(pid)] = int(stat[1])
        except OSError:
            continue  # gone meanwhile
    below = collections.defaultdict(list)
    for pid, up in parent.items():
        below[up].append(pid)
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        total += resident.get(pid, 0)
        todo += below[pid]
    return total


def measure(label, events, command):
    # Whatever the command leaves behind becomes our child, so that its CPU time is counted.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    before, started, load = resource.getrusage(resource.RUSAGE_CHILDREN), time.time(), os.getloadavg()[0]
    child = subprocess.Popen(command)
    peak, over = [0], threading.Event()

    def sample():
        while not over.wait(0.2):
            peak[0] = max(peak[0], tree_memory(child.pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    code = child.wait()
    wall = time.time() - started
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    over.set()
    thread.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"label": label, "events": events, "exit": code, "wall_s": round(wall, 1), "cpu_s": round(cpu, 2),
                      "peak_rss_mib": peak[0] >> 20, "events_per_cpu_s": round(events / max(cpu, 0.001)),
                      "load_before": round(load, 1)}))
    return code


def check(query, folder, pattern):
    expected = json.loads((pathlib.Path(folder) / "expected.json").read_text())[query]
    seen, seq_sum, matched = collections.Counter(), 0, 0
    for path in glob.glob(pattern, recursive=True):
        with (gzip.open if path.endswith(".gz") else open)(path, "rt") as f:
            for line in f:
                row = json.loads(line)
                if row["id"].startswith("end"):
                    continue
                seen[row["id"]] += 1
                seq_sum += row["seq"]
                matched += row.get("clicked") is not None
    result = {"rows": sum(seen.values()), "seq_sum": seq_sum}
    if query == "join-left":
        result["matched"] = matched
    twice = sum(n > 1 for n in seen.values())
    # Which of two copies comes first differs where files are read in parallel.
    same = result == expected or (query.startswith("dedup") and result["rows"] == expected["rows"])
    print(f"{'correct' if same and not twice else 'WRONG'}: {result}, expected {expected}, {twice} keys twice")
    return 0 if same and not twice else 1


def main():
    if sys.argv[1:2] == ["measure"] and "--" in sys.argv:
        cut = sys.argv.index("--")
        label, events = sys.argv[2:cut]
        sys.exit(measure(label, int(events), sys.argv[cut + 1:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    queries = ["dedup", "dedup-within", "join", "join-left"]
    one = commands.add_parser("generate")
    one.add_argument("dir")
    one.add_argument("--events", type=int, default=1_000_000)
    one = commands.add_parser("spark")
    one.add_argument("query", choices=queries)
    one.add_argument("dir")
    one.add_argument("out")
    one = commands.add_parser("check")
    one.add_argument("query", choices=queries)
    one.add_argument("dir")
    one.add_argument("glob")
    arguments = parser.parse_args()
    if arguments.command == "generate":
        generate(arguments.dir, arguments.events)
    elif arguments.command == "spark":
        spark(arguments.query, os.path.abspath(arguments.dir), os.path.abspath(arguments.out))
    else:
        sys.exit(check(arguments.query, arguments.dir, arguments.glob))


if __name__ == "__main__":
    main()
