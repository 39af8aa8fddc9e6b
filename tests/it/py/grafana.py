"""Holds Grafana's provisioning against docker-compose.yml.

Standard input, JSON: root: the repository
Standard output, JSON: problems: what is wrong, in words
"""

import json
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
    json.dump({"problems": problems}, sys.stdout)


main()
