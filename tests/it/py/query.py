"""Reads Delta tables with the Python deltalake package and asks DuckDB about them.

Standard input, JSON:
  tables   name -> path of a Delta table; a table that does not exist is an error
  optional the same, but a table that does not exist is left out, and every query that fails for
           want of it gives null
  events   glob of NDJSON files of events, or absent; becomes the view `events`
  columns  name -> DuckDB type, of those events
  letters  path of a CSV file (split, offset) of records that must be dead letters, or absent
  queries  name -> SQL
  storage  options of the tables' object store, or absent

Standard output, JSON: name -> list of rows. Ask for times with epoch_us(). It shares no code with
Millpond: what it finds in a table is what any other reader would find.
"""

import json
import sys

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError


def main():
    job = json.load(sys.stdin)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'; SET threads = 2; SET preserve_insertion_order = false")
    keep = []
    for name, path in {**job.get("tables", {}), **job.get("optional", {})}.items():
        try:
            table = DeltaTable(path, storage_options=job.get("storage"))
        except TableNotFoundError:
            if name in job.get("optional", {}):
                continue
            raise
        dataset = table.to_pyarrow_dataset()
        keep.append(dataset)
        con.register(f"{name}_dataset", dataset)
        # A copy, so that each file is read once however many queries there are.
        con.execute(f'CREATE TABLE "{name}" AS SELECT * FROM "{name}_dataset"')
        con.unregister(f"{name}_dataset")
    if job.get("events"):
        columns = ", ".join(f"'{n}': '{t}'" for n, t in job["columns"].items())
        con.execute(
            f"CREATE TABLE events AS SELECT * FROM read_ndjson('{job['events']}', columns={{{columns}}})"
        )
    if job.get("letters"):
        con.execute(
            "CREATE TABLE letters AS SELECT * FROM read_csv("
            f"'{job['letters']}', header=false, auto_detect=false, delim=',', columns={{'split': 'VARCHAR', 'offset': 'BIGINT'}})"
        )
    answers = {}
    for name, sql in job["queries"].items():
        try:
            answers[name] = con.execute(sql).fetchall()
        except duckdb.CatalogException:
            if not job.get("optional"):
                raise
            answers[name] = None
    json.dump(answers, sys.stdout, default=plain)


def plain(value):
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return str(value)


main()
