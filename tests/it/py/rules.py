"""Holds rules, their tests and the runbooks against each other.

Standard input, JSON: root: the repository
Standard output, JSON: alerts: how many there are; problems: what is wrong, in words
"""

import json
import re
import sys
from pathlib import Path

import yaml

problems = []
SECTIONS = ["## Meaning", "## What it does to users", "## What to look at", "## What to do"]


def load(path):
    return yaml.safe_load(path.read_text())


def main():
    root = Path(json.load(sys.stdin)["root"])
    metrics = set(re.findall(r"^\| `(\w+)` \|", (root / "docs/METRICS.md").read_text(), re.M))
    alerts, recorded, expressions = {}, set(), []
    for path in sorted((root / "prometheus/rules").glob("*.yml")):
        for group in load(path)["groups"]:
            for rule in group["rules"]:
                expressions.append((path.name, rule["expr"]))
                if "record" in rule:
                    recorded.add(rule["record"])
                    continue
                name = rule["alert"]
                if name in alerts:
                    problems.append(f"{name} is there twice")
                alerts[name] = (path.name, rule)
    for name, (_, rule) in alerts.items():
        labels, notes = rule.get("labels", {}), rule.get("annotations", {})
        if "for" not in rule:
            problems.append(f"{name} has no `for`")
        # One alert has the severity of what it is about.
        if name != "MillpondAnomalyOpen" and labels.get("severity") not in ("info", "warning", "critical"):
            problems.append(f"{name} has no severity")
        for note in ("summary", "description", "runbook_url"):
            if not notes.get(note):
                problems.append(f"{name} has no {note}")
        if not notes.get("runbook_url", "").endswith(f"docs/runbooks/{name}.md"):
            problems.append(f"{name} leads to another runbook: {notes.get('runbook_url')}")
        page = root / f"docs/runbooks/{name}.md"
        text = page.read_text() if page.exists() else ""
        for section in [f"# {name}", *SECTIONS]:
            if f"{section}\n" not in text:
                problems.append(f"docs/runbooks/{name}.md lacks {section!r}")
        index = root / "docs/runbooks/README.md"
        if not index.exists() or f"({name}.md)" not in index.read_text():
            problems.append(f"docs/runbooks/README.md does not list {name}")
    for page in (root / "docs/runbooks").glob("*.md"):
        if page.stem not in alerts and page.stem != "README":
            problems.append(f"{page.name} belongs to no alert")

    # Every name of ours in an expression is that of a metric or of a recorded series.
    parts = r"(?:_(?:bucket|sum|count))?"
    for where, expression in expressions:
        for name in re.findall(r"\bmillpond_\w+", re.sub(r"\b\w+:millpond_[\w:]+", "", expression)):
            if name not in metrics and re.sub(parts + "$", "", name) not in metrics:
                problems.append(f"{where}: no metric {name}")
        for name in re.findall(r"\b\w+:[\w:]+", expression):
            if name not in recorded and not re.fullmatch(r"\d+\w:\d+\w", name):
                problems.append(f"{where}: nothing records {name}")

    fires, silent = set(), set()
    for path in sorted((root / "prometheus/tests").glob("*.yml")):
        for test in load(path)["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    for name in alerts:
        if name not in fires:
            problems.append(f"{name} fires in no test")
        if name not in silent:
            problems.append(f"{name} stays silent in no test")
    json.dump({"alerts": len(alerts), "problems": problems}, sys.stdout)


main()
