#!/usr/bin/env python3
"""Records what Spark gives for the cases in cases/*.json.

    record.py [--check] [--new] [NAME...]

Each case file is read, run on Spark, and written back with what Spark gave: the rows of each
micro-batch, its late rows and watermark, or the error of a query that Spark refuses. What a person
wrote (sources, SQL, inputs, what differs and why) stays as it is. README.md describes the format.

    NAME      only these cases [all]
    --new     only cases that were never recorded
    --check   write nothing; fail if Spark gives something else than what is recorded

One Spark session serves all cases. Determinism: one thread, one shuffle partition, one file for each
source and micro-batch, and the next batch only when the last one has had all its consequences.
"""
import argparse
import datetime
import decimal
import json
import logging
import math
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

# Before the JVM and the first conversion: PySpark converts timestamps by the process's time zone.
os.environ["TZ"] = "UTC"
time.tzset()
# Python's collector and the JVM both resolve the host's name, which need not be resolvable.
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")

# A micro-batch at each tick at most: long enough that the files of several sources appear between two.
TRIGGER = "100 milliseconds"
CASES = pathlib.Path(__file__).resolve().parent / "cases"
# The order of keys in a case file; rows are written one to a line.
KEYS = ["name", "about", "seed", "differs", "sources", "tables", "views", "sql", "drop_duplicates", "state_ttl",
        "mode", "ordered", "output_schema", "batches", "error", "millpond"]
BATCH_KEYS = ["inputs", "output", "late", "watermark"]


# ---- case files -------------------------------------------------------------------------------

def in_order(mapping, keys):
    unknown = set(mapping) - set(keys)
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; known are {keys}")
    return {key: mapping[key] for key in keys if key in mapping}


def write_json(value, indent=0, per_line=False):
    """JSON with one row to a line. `per_line`: write this value on one line."""
    pad = "  " * (indent + 1)
    if per_line or not value or not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        flat = all(not isinstance(v, (dict, list)) for v in value.values()) or set(value) <= {"columns", "within"}
        if flat and len(json.dumps(value, ensure_ascii=False)) < 120:
            return json.dumps(value, ensure_ascii=False)
        parts = []
        for key, v in value.items():
            one_line = key == "watermark"
            parts.append(f"{pad}{json.dumps(key)}: {write_json(v, indent + 1, one_line)}")
        return "{\n" + ",\n".join(parts) + "\n" + "  " * indent + "}"
    # Lists of rows: each on a line of its own. Other lists hold objects that deserve several.
    rows = not any(isinstance(v, dict) and ({"schema", "inputs", "sql", "output"} & set(v)) and
                   any(isinstance(w, (dict, list)) for w in v.values()) for v in value)
    parts = [pad + write_json(v, indent + 1, rows) for v in value]
    return "[\n" + ",\n".join(parts) + "\n" + "  " * indent + "]"


def case_text(case):
    case = in_order(case, KEYS)
    case["batches"] = [in_order(batch, BATCH_KEYS) for batch in case.get("batches", [])]
    return write_json(case) + "\n"


def sql_text(sql):
    return sql if isinstance(sql, str) else "\n".join(sql)


# ---- values -----------------------------------------------------------------------------------

def plain(value):
    """A value that Spark returned, as the case files write it."""
    from pyspark.sql import Row
    if isinstance(value, Row):
        return {name: plain(v) for name, v in zip(value.__fields__, value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(plain(key)): plain(v)
                for key, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        import base64
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def microseconds(milliseconds):
    if milliseconds <= 0:
        return None
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


# ---- Spark ------------------------------------------------------------------------------------

def session(scratch):
    from pyspark.sql import SparkSession
    spark = (
        SparkSession.builder.master("local[1]").appName("conformance")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        # The C1 compiler alone: the cases are small and starting is what costs.
        .config("spark.driver.extraJavaOptions", "-Duser.timezone=UTC -XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .config("spark.local.dir", scratch)
        .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", "false")
        .config("spark.sql.streaming.multipleWatermarkPolicy", "min")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("OFF")
    # PySpark's own: each refused query with its whole stack.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
    return spark


class Refused(Exception):
    """Spark's own refusal of a query."""

    def __init__(self, error):
        name = None
        for ask in ("getCondition", "getErrorClass"):
            if name is None and hasattr(error, ask):
                name = getattr(error, ask)()
        text = str(error.getMessage()) if hasattr(error, "getMessage") else str(error)
        # The plan that follows the reason has ids in it that change from run to run.
        text = re.split(r";\n|\n\n|\n'|\nJVM stacktrace|\nProject|\nAggregate", text)[0].strip()
        text = re.sub(r"#\d+L?", "", text)
        text = re.sub(r"Query \[id = [-0-9a-f]+, runId = [-0-9a-f]+\]", "Query", text)
        self.error = {"class": name, "message": text}
        super().__init__(text)


def frame(df, duplicates):
    if not duplicates:
        return df
    columns = duplicates["columns"]
    if duplicates.get("within"):
        return df.dropDuplicatesWithinWatermark(columns) if columns else df.dropDuplicatesWithinWatermark()
    return df.dropDuplicates(columns) if columns else df.dropDuplicates()


def quoted(name):
    return name if re.fullmatch(r"\w+", name) else f"`{name}`"


def type_text(kind):
    """The type in Spark's DDL. Nullability is left out: it is an estimate of Spark's planner."""
    name = kind.typeName()
    if name == "array":
        return f"ARRAY<{type_text(kind.elementType)}>"
    if name == "map":
        return f"MAP<{type_text(kind.keyType)}, {type_text(kind.valueType)}>"
    if name == "struct":
        return "STRUCT<" + ", ".join(f"{quoted(f.name)}: {type_text(f.dataType)}" for f in kind.fields) + ">"
    return kind.simpleString().upper()


def write_rows(paths_and_rows):
    """NDJSON files, one a source. All appear at nearly the same moment, and none half written."""
    ready = []
    for path, rows in paths_and_rows:
        hidden = path.with_name("." + path.name)
        hidden.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        ready.append((hidden, path))
    for hidden, path in ready:
        hidden.rename(path)


def query_of(spark, case, root):
    """The streaming DataFrame of a case, over file sources in `root`."""
    for source in case["sources"]:
        folder = root / source["name"]
        folder.mkdir()
        df = spark.readStream.schema(source["schema"]).option("maxFilesPerTrigger", 1).json(str(folder))
        if source.get("watermark"):
            df = df.withWatermark(source["watermark"]["column"], source["watermark"]["delay"])
        df.createOrReplaceTempView(source["name"])
    for table in case.get("tables", []):
        path = root / f"table-{table['name']}.json"
        write_rows([(path, table["rows"])])
        spark.read.schema(table["schema"]).json(str(path)).createOrReplaceTempView(table["name"])
    for view in case.get("views", []):
        frame(spark.sql(sql_text(view["sql"])), view.get("drop_duplicates")).createOrReplaceTempView(view["name"])
    return frame(spark.sql(sql_text(case["sql"])), case.get("drop_duplicates"))


def next_watermark(checkpoint):
    """The watermark that the last committed micro-batch left, out of the checkpoint."""
    commits = [p for p in (checkpoint / "commits").iterdir() if p.name.isdigit()]
    if not commits:
        return None
    last = max(commits, key=lambda p: int(p.name)).read_text()
    found = re.search(r'"nextBatchWatermarkMs":(-?\d+)', last)
    return microseconds(int(found.group(1))) if found else None


class Torn(Exception):
    """The files of one batch were seen by two micro-batches: sources are listed one after the other."""


def feed(query, case, batch, number, root):
    """Gives the query the rows of a batch and waits until nothing is left to do. Returns the progress of
    the micro-batches that ran for it."""
    def done():
        # Several entries for a micro-batch that took long are the same micro-batch.
        return {p["batchId"]: p for p in map(lambda p: json.loads(p.json), query.recentProgress)
                if p["stateOperators"] or any(s["endOffset"] != s["startOffset"] for s in p["sources"])}

    before = set(done())
    write_rows([(root / source["name"] / f"{number:04}.json", batch["inputs"].get(source["name"], []))
                for source in case["sources"]])
    for _ in range(100):
        # Returns too early if it was called while a trigger was looking at the sources already.
        query.processAllAvailable()
        progress = [p for id, p in sorted(done().items()) if id not in before]
        data = [p for p in progress if any(s["endOffset"] != s["startOffset"] for s in p["sources"])]
        if data:
            break
    moved = sum(s["endOffset"] != s["startOffset"] for p in data for s in p["sources"])
    if len(data) != 1 or moved < len(case["sources"]):
        raise Torn(f"batch {number}: {len(data)} micro-batches with rows, {moved} sources")
    return progress


def run(spark, case, root):
    """The case as Spark sees it: (schema of the output, per batch rows, late, watermark)."""
    from pyspark.errors import PySparkException
    checkpoint = root / "checkpoint"
    results, emitted, broken, query = [], [], [], None

    def collect(rows, _):
        try:
            emitted.append([plain(row) for row in rows.collect()])
        except PySparkException:
            raise  # Spark's own failure of the query
        except Exception as error:
            broken.append(error)
            raise

    try:
        df = query_of(spark, case, root)
        schema = ", ".join(f"{quoted(f.name)} {type_text(f.dataType)}" for f in df.schema.fields)
        query = (df.writeStream.outputMode(case["mode"]).foreachBatch(collect)
                 .option("checkpointLocation", str(checkpoint)).trigger(processingTime=TRIGGER).start())
        query.processAllAvailable()
        for number, batch in enumerate(case["batches"]):
            emitted.clear()
            progress = feed(query, case, batch, number, root)
            if case["mode"] == "complete" and len(emitted) != 1:
                raise RuntimeError(f"batch {number}: {len(emitted)} results in complete mode")
            rows = [row for part in emitted for row in part]
            if not case.get("ordered"):
                rows.sort(key=lambda row: json.dumps(row, ensure_ascii=False))
            operators = [operator for p in progress for operator in p["stateOperators"]]
            results.append({
                "output": rows,
                "late": sum(o["numRowsDroppedByWatermark"] for o in operators) if operators else None,
                "watermark": next_watermark(checkpoint),
            })
    except PySparkException as error:
        if broken:
            raise broken[0]
        raise Refused(error) from error
    finally:
        if query is not None:
            query.stop()
    return schema, results


def record(spark, case, scratch):
    """A copy of the case with what Spark gave."""
    case = json.loads(json.dumps(case))
    for key in ("output_schema", "error"):
        case.pop(key, None)
    for batch in case["batches"]:
        for key in ("output", "late", "watermark"):
            batch.pop(key, None)
    for attempt in range(10):
        root = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        try:
            case["output_schema"], results = run(spark, case, root)
            for batch, result in zip(case["batches"], results):
                batch.update(result)
            break
        except Torn:
            if attempt == 9:
                raise
        except Refused as refused:
            case["error"] = refused.error
            break
        finally:
            for view in [*case["sources"], *case.get("tables", []), *case.get("views", [])]:
                spark.catalog.dropTempView(view["name"])
            shutil.rmtree(root, ignore_errors=True)
    return case


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="NAME")
    arguments.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments.add_argument("--new", action="store_true", help="only cases that were never recorded")
    arguments = arguments.parse_args()
    paths = [CASES / f"{name}.json" for name in arguments.names] or sorted(CASES.glob("*.json"))
    cases = {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    for path, case in cases.items():
        if case["name"] != path.stem:
            sys.exit(f"{path.name}: its name is {case['name']!r}")
    if arguments.new:
        cases = {p: c for p, c in cases.items() if "error" not in c and "output_schema" not in c}
    scratch = tempfile.mkdtemp(prefix="conformance-")
    failed = []
    try:
        spark = session(scratch)
        for path, case in cases.items():
            started = time.time()
            try:
                recorded = record(spark, case, scratch)
            except Exception as error:  # one broken case must not cost the others
                failed.append(path.stem)
                print(f"{path.stem}: not recorded: {type(error).__name__}: {error}", flush=True)
                continue
            seconds = time.time() - started
            said = f"{len(case['batches'])} batches"
            if "error" in recorded:
                said = recorded["error"]["class"] or "refused"
            if arguments.check:
                if case_text(recorded) != case_text(case):
                    failed.append(path.stem)
                    said = "DIFFERENT\n" + case_text(recorded)
            else:
                path.write_text(case_text(recorded), encoding="utf-8")
            print(f"{path.stem}: {said} ({seconds:.1f} s)", flush=True)
        spark.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if failed:
        sys.exit(f"{len(failed)} of {len(cases)} cases: {', '.join(failed)}")


if __name__ == "__main__":
    main()
