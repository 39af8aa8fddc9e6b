#!/usr/bin/env python3
"""Writes grafana/dashboards/*.json from what is described here. Needs nothing but Python.

    grafana/generate.py            writes the files
    grafana/generate.py --check    says whether they are what this would write; exit status 1 if not
"""

import json
import sys
from pathlib import Path

import boards

DIRECTORY = Path(__file__).resolve().parent / "dashboards"


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: generate.py [--check]")
    made = {f"{board['uid']}.json": json.dumps(board, indent=2) + "\n" for board in boards.ALL}
    there = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
    if check:
        wrong = sorted(name for name in made | there if made.get(name) != there.get(name))
        if wrong:
            sys.exit(f"not what grafana/generate.py writes: {', '.join(wrong)}")
        return
    DIRECTORY.mkdir(exist_ok=True)
    for name in there.keys() - made.keys():
        (DIRECTORY / name).unlink()
    for name, text in made.items():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
