"""Holds Grafana's provisioning against docker-compose.yml, and the dashboards' queries against the
table of metrics.

Standard input, JSON: root: the repository
Standard output, JSON: problems: what is wrong, in words
"""

import json
import re
import sys
from pathlib import Path

import yaml

problems = []


def expect(condition, problem):
    if not condition:
        problems.append(problem)


def main():
    root = Path(json.load(sys.stdin)["root"])
    read = lambda path: yaml.safe_load((root / path).read_text())
    compose = read("docker-compose.yml")["services"]
    mounts = {}
    for volume in compose["grafana"]["volumes"]:
        source, target, *_ = volume.split(":") if isinstance(volume, str) else (volume["source"], volume["target"])
        mounts[target] = source
    expect(mounts.get("/etc/grafana/provisioning") == "./grafana/provisioning", f"provisioning: {mounts}")

    for path in sorted((root / "grafana/provisioning/datasources").glob("*.yml")):
        document = read(path)
        expect(document["apiVersion"] == 1, f"{path.name}: apiVersion")
        uids = [source["uid"] for source in document["datasources"]]
        expect(len(uids) == len(set(uids)), f"{path.name}: a uid is there twice")
        expect(sum(bool(s.get("isDefault")) for s in document["datasources"]) == 1, "one default source")
        for source in document["datasources"]:
            for key in ("name", "uid", "type", "url", "access"):
                expect(source.get(key), f"{path.name}: {key}")
            host, port = source["url"].removeprefix("http://").split(":")
            expect(host in compose, f"{path.name}: there is no service {host}")
            exposed = [str(p) for p in compose.get(host, {}).get("expose", [])]
            published = [str(p).rsplit(":", 1)[-1] for p in compose.get(host, {}).get("ports", [])]
            expect(port in exposed + published, f"{path.name}: {host} does not listen on {port}")
        interval = next(s for s in document["datasources"] if s["type"] == "prometheus")["jsonData"]["timeInterval"]
        scrape = read("prometheus/prometheus.yml")["global"]["scrape_interval"]
        expect(interval == scrape, f"timeInterval {interval}, scrape_interval {scrape}")

    for path in sorted((root / "grafana/provisioning/dashboards").glob("*.yml")):
        document = read(path)
        expect(document["apiVersion"] == 1, f"{path.name}: apiVersion")
        for provider in document["providers"]:
            expect(provider["type"] == "file", f"{path.name}: type")
            expect(mounts.get(provider["options"]["path"]) == "./grafana/dashboards",
                   f"{path.name}: {provider['options']['path']} is not mounted: {mounts}")

    rows = re.findall(r"^\| `(\w+)` \| \w+ \| [^|]+ \| ([^|]*) \|", (root / "docs/METRICS.md").read_text(), re.M)
    metrics = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    recorded = {
        rule["record"] for path in (root / "prometheus/rules").glob("*.yml")
        for group in read(path)["groups"] for rule in group["rules"] if "record" in rule
    }
    for path in sorted((root / "grafana/dashboards").glob("*.json")):
        for expr in re.findall(r'"(?:expr|definition)": "((?:[^"\\]|\\.)*)"', path.read_text()):
            expr = expr.replace('\\"', '"')
            for name in re.findall(r"\b[\w]+:millpond_[\w:]+", expr):
                expect(name in recorded, f"{path.name}: nothing records {name}")
            for name, selector in re.findall(r"(?<![:\w])(millpond_\w+)(?:\{([^}]*)\})?", expr):
                base = name if name in metrics else re.sub("_(bucket|sum|count)$", "", name)
                if base not in metrics:
                    expect("__name__" in expr, f"{path.name}: no metric {name}")
                    continue
                known = metrics[base] | {"job", "instance", "le"}
                for label in re.findall(r"(\w+)(?:=~|!~|!=|=)", selector):
                    expect(label in known, f"{path.name}: {name} has no label {label}")
    json.dump({"problems": problems}, sys.stdout)


main()
