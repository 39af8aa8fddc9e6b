"""Reads a page of metrics as OpenMetrics with the parser of Prometheus' Python client.

Standard input, JSON: openmetrics, text: the two forms of a page, taken one after the other
Standard output, JSON: families: how many there are; problems: what is wrong, in words
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

problems = []


def series(families):
    """The names and labels of all samples."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families for sample in family.samples
    }


def main():
    job = json.load(sys.stdin)
    families = list(openmetrics(job["openmetrics"]))
    for family in families:
        name = family.name
        if not family.documentation:
            problems.append(f"{name} has no help")
        if family.type not in ("counter", "gauge", "histogram", "info"):
            problems.append(f"{name} is of type {family.type}")
        if family.type == "counter" and not all(s.name == f"{name}_total" for s in family.samples):
            problems.append(f"{name} is a counter without _total")
        for unit in ("seconds", "bytes"):
            if name.endswith(f"_{unit}") and family.unit != unit:
                problems.append(f"{name} has the unit {family.unit!r}")
    old = list(text(job["text"]))
    for family in old:
        if not family.documentation:
            problems.append(f"{family.name} has no help in the text format")
    # Counters of the server itself may have appeared between the two.
    lost = {s for s in series(old) - series(families) if not s[0].startswith("millpond_http_")}
    if lost:
        problems.append(f"not in OpenMetrics: {sorted(lost)[:5]}")
    json.dump({"families": len(families), "problems": problems}, sys.stdout)


main()
