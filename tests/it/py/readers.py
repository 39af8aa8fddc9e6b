"""Reads Delta tables with every reader there is, and says where they disagree.

The readers: Millpond's own SQL (`millpond sql`), DuckDB's Delta extension, the Python deltalake
package, Polars. Each reads the newest version of a table and some versions before it; schemas,
counts and all rows have to be the same.

Standard input, JSON:
  millpond the executable
  tables   name -> path or URL of a Delta table
  storage  variables of the tables' object store (AWS_...), or absent
  versions how many versions of each table are looked at; absent: all that the log has

Standard output, JSON:
  checked   name -> list of [version, rows]
  disagree  list of sentences; empty if all is well
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import duckdb
import duckdb_extension_delta
import polars
from deltalake import DeltaTable


def main():
    job = json.load(sys.stdin)
    storage = job.get("storage") or {}
    os.environ.update(storage)
    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    con.execute("SET TimeZone = 'UTC'; SET threads = 2")
    extensions = os.path.join(os.path.dirname(duckdb_extension_delta.__file__), "extensions")
    con.execute(f"LOAD '{extensions}/v{duckdb.__version__}/delta.duckdb_extension'")
    checked, disagree = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in job["tables"].items():
            local = path if "://" not in path else fetch(path, os.path.join(scratch, name))
            checked[name] = []
            for version in chosen(local, job):
                found = {}
                own = os.path.join(scratch, "own.parquet")
                reads = {
                    "millpond": lambda: millpond(con, job, path, version, own),
                    "duckdb": lambda: con.sql(f"FROM delta_scan({literal(local)}, version => {version})"),
                    "deltalake": lambda: dataset(con, path, version, storage),
                    "polars": lambda: frame(con, path, version, storage),
                }
                for reader, read in reads.items():
                    try:
                        found[reader] = read()
                    except Exception as error:
                        disagree.append(f"{name}@{version}: {reader} cannot read it: {error}")
                rows, differences = compare(con, found)
                checked[name].append([version, rows])
                disagree += [f"{name}@{version}: {difference}" for difference in differences]
    json.dump({"checked": checked, "disagree": disagree}, sys.stdout)


def chosen(local, job):
    """The versions to look at: the oldest that can be put together, the newest, some between."""
    log = os.listdir(os.path.join(local, "_delta_log"))
    commits = sorted(int(f[:20]) for f in log if re.fullmatch(r"\d{20}\.json", f))
    checkpoints = [int(f[:20]) for f in log if re.match(r"\d{20}\.checkpoint\.", f)]
    newest = max(commits + checkpoints)
    oldest = 0 if 0 in commits else min(checkpoints)
    versions = [v for v in range(oldest, newest + 1)]
    count = job.get("versions")
    if not count or len(versions) <= count:
        return versions
    if count == 1:
        return versions[-1:]
    return sorted({versions[round(i * (len(versions) - 1) / (count - 1))] for i in range(count)})


def fetch(url, to):
    """A copy of a table in S3: DuckDB's extension would need another one to reach it."""
    import boto3

    bucket, prefix = re.fullmatch(r"s3a?://([^/]+)/(.*?)/?", url).groups()
    s3 = boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL"],
        region_name=os.environ.get("AWS_REGION"),
    )
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
        for entry in page.get("Contents", []):
            file = os.path.join(to, entry["Key"][len(prefix) + 1 :])
            os.makedirs(os.path.dirname(file), exist_ok=True)
            s3.download_file(bucket, entry["Key"], file)
    return to


def millpond(con, job, path, version, own):
    sql = f"SELECT * FROM delta.`{path}` VERSION AS OF {version}"
    command = [job["millpond"], "sql", "--quiet", "--format", "parquet", "--output", own, sql]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    con.execute(f"CREATE OR REPLACE TABLE own AS FROM read_parquet({literal(own)}, hive_partitioning => false)")
    return con.sql("FROM own")


def dataset(con, path, version, storage):
    table = DeltaTable(path, version=version, storage_options=storage or None)
    return con.from_arrow(table.to_pyarrow_dataset().to_table())


def frame(con, path, version, storage):
    lazy = polars.scan_delta(path, version=version, storage_options=storage or None)
    return con.from_arrow(lazy.collect().to_arrow())


def compare(con, found):
    """The number of rows, and what differs from the first that could be read."""
    if not found:
        return None, ["no reader can read it"]
    first, *others = found
    texts, kinds = {}, {}
    for reader, relation in found.items():
        kinds[reader] = dict(zip(relation.columns, map(str, relation.types)))
    names = sorted(kinds[first])
    differences = []
    for reader in others:
        mine, theirs = kinds[first], {n: as_map(t) for n, t in kinds[reader].items()}
        wanted = {n: as_map(t) for n, t in mine.items()}
        if theirs != wanted:
            differences.append(f"{reader} has the columns {theirs}, {first} {wanted}")
    if differences:
        return None, differences
    for reader, relation in found.items():
        columns = []
        for name in names:
            column = '"' + name.replace('"', '""') + '"'
            # Polars has no maps; their entries are the same text in all.
            if kinds[reader][name].startswith("MAP("):
                column = f"map_entries({column})"
            columns.append(f"CAST({column} AS VARCHAR) AS c{len(columns)}")
        view = f"rows_{reader}"
        con.execute(f"DROP TABLE IF EXISTS {view}")
        relation.project(", ".join(columns)).create(view)
        texts[reader] = con.execute(
            f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {view} AS t"
        ).fetchone()
    for reader in others:
        if texts[reader] != texts[first]:
            examples = {}
            for one, other in [(reader, first), (first, reader)]:
                examples[one] = con.execute(
                    f"SELECT * FROM (FROM rows_{one} EXCEPT ALL FROM rows_{other}) LIMIT 3"
                ).fetchall()
            differences.append(
                f"{reader} has {texts[reader][0]} rows, {first} {texts[first][0]}; only in {reader}: "
                f"{examples[reader]}; only in {first}: {examples[first]} (columns {names})"
            )
    return texts[first][0], differences


def as_map(kind):
    """Polars gives a map as a list of its entries."""
    match = re.fullmatch(r'STRUCT\("?key"? (.*), "?value"? (.*)\)\[\]', kind)
    return f"MAP({match[1]}, {match[2]})" if match else kind


def literal(text):
    return "'" + text.replace("'", "''") + "'"


main()
