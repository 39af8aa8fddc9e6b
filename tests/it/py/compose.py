"""Checks docker-compose.yml and the Dockerfile.

The schema is that of the Compose specification, https://github.com/compose-spec/compose-spec,
schema/compose-spec.json, licensed under the Apache License 2.0; compose-spec.json is a copy.

Standard input, JSON: root: the repository
Standard output, JSON: services: their names; commands: what Millpond's are called with;
problems: what is wrong, in words
"""

import base64
import json
import re
import sys
from pathlib import Path

import jsonschema
import yaml

problems = []

# The properties of a broker that we set (https://kafka.apache.org/documentation/#brokerconfigs),
# and the variables that the image's scripts read themselves
# (https://github.com/apache/kafka/blob/trunk/docker/examples/README.md).
BROKER = {
    "node.id", "process.roles", "controller.quorum.voters", "controller.listener.names",
    "inter.broker.listener.name", "listener.security.protocol.map", "listeners",
    "advertised.listeners", "log.dirs", "num.partitions", "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
    "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr",
    "group.initial.rebalance.delay.ms", "log.retention.hours", "log.retention.bytes",
}
IMAGE = {"KAFKA_HEAP_OPTS", "CLUSTER_ID", "LOG_DIR"}


def expect(condition, problem):
    if not condition:
        problems.append(problem)


def property_of(variable):
    """`KAFKA_LOG_DIRS` is log.dirs; two underscores are one, three a dash."""
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def kafka(service):
    environment = service["environment"]
    for variable in environment:
        expect(variable in IMAGE or property_of(variable) in BROKER, f"kafka: unknown {variable}")
    number = base64.urlsafe_b64decode(environment["CLUSTER_ID"] + "==")
    expect(len(number) == 16, "kafka: CLUSTER_ID is no UUID in base64")
    named = lambda text: dict(part.split("://") for part in text.split(","))
    listeners = named(environment["KAFKA_LISTENERS"])
    advertised = named(environment["KAFKA_ADVERTISED_LISTENERS"])
    protocols = dict(p.split(":") for p in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    expect(set(listeners) == set(protocols), f"kafka: {set(listeners)} and {set(protocols)}")
    expect(set(advertised) == set(listeners) - {environment["KAFKA_CONTROLLER_LISTENER_NAMES"]},
           "kafka: every listener but the controller's is advertised")
    expect(environment["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised, "kafka: inter-broker listener")
    expect(environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]
           == f"{environment['KAFKA_NODE_ID']}@{service['hostname']}:{listeners['CONTROLLER'].split(':')[1]}",
           "kafka: it votes for itself")
    for name, address in advertised.items():
        expect(address.split(":")[1] == listeners[name].split(":")[1], f"kafka: port of {name}")
    expect(environment["KAFKA_LOG_DIRS"] in [v.split(":")[1] for v in service["volumes"]],
           "kafka: its data are in a volume")
    # What the scripts of the image write to (docker/resources/common-scripts/configure).
    for path in ("/opt/kafka/config", "/tmp"):
        expect(any(entry.split(":")[0] == path for entry in service["tmpfs"]), f"kafka: {path}")


def check(name, service, document, root):
    of = f"{name}: "
    image = service.get("image", "")
    expect(re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*(@sha256:[0-9a-f]{64})?", image),
           f"{of}the image {image!r} is not pinned")
    expect(service.get("read_only") is True, f"{of}its root file system can be written")
    expect(service.get("cap_drop") == ["ALL"], f"{of}it has capabilities")
    expect(service.get("security_opt") == ["no-new-privileges:true"], f"{of}it may gain privileges")
    expect(not service.get("privileged"), f"{of}it is privileged")
    user = str(service.get("user", "0")).split(":")[0]
    expect(user.isdigit() and int(user) > 0, f"{of}it runs as {user}")
    expect(service.get("restart") == "unless-stopped", f"{of}restart")
    test = service.get("healthcheck", {}).get("test", [])
    expect(test and test[0] == "CMD" and len(test) > 1, f"{of}it has no health check without a shell")
    for key in ("interval", "timeout", "retries", "start_period"):
        expect(key in service.get("healthcheck", {}), f"{of}healthcheck {key}")
    depends = service.get("depends_on", {})
    for other, how in depends.items():
        expect(other in document["services"], f"{of}there is no service {other}")
        expect(how.get("condition") == "service_healthy", f"{of}it does not wait until {other} is well")
    for port in service.get("ports", []):
        expect(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{of}{port} is open to others")
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            expect((root / source).exists(), f"{of}there is no {source}")
            expect(mode == ["ro"], f"{of}{source} can be written")
        else:
            expect(source in document["volumes"], f"{of}there is no volume {source}")
    for key, value in (service.get("environment") or {}).items():
        expect(isinstance(value, str), f"{of}{key} is not text: {value!r}")
        secret = re.search(r"PASSWORD|SECRET|TOKEN", key)
        expect(not secret or value.startswith("${"), f"{of}{key} is in the file")


def main():
    root = Path(json.load(sys.stdin)["root"])
    document = yaml.safe_load((root / "docker-compose.yml").read_text())
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    # The schema knows nothing of YAML's merge keys, which the parser has resolved.
    validator = jsonschema.Draft7Validator(schema)
    for error in validator.iter_errors(document):
        problems.append(f"{'.'.join(map(str, error.absolute_path))}: {error.message}")

    services = document["services"]
    for name, service in services.items():
        check(name, service, document, root)
    kafka(services["kafka"])

    ports = [port for service in services.values() for port in service.get("ports", [])]
    published = [port.split(":")[1] for port in ports]
    expect(len(published) == len(set(published)), f"a port is published twice: {published}")
    used = {v.split(":")[0] for s in services.values() for v in s.get("volumes", [])}
    for volume in document["volumes"]:
        expect(volume in used, f"nothing uses the volume {volume}")

    # One after the other: no circle, and Kafka first.
    order, waiting = [], dict(services)
    while waiting:
        free = [n for n, s in waiting.items() if set(s.get("depends_on", {})) <= set(order)]
        if not free:
            problems.append(f"these wait for each other: {sorted(waiting)}")
            break
        order += free
        for name in free:
            del waiting[name]
    expect(order.index("kafka") < order.index("generator") < order.index("millpond"), f"order {order}")
    expect(order.index("millpond") < order.index("prometheus") < order.index("grafana"), f"order {order}")

    # Prometheus' targets are services that listen there.
    prometheus = yaml.safe_load((root / "prometheus/prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
    targets += [t for a in prometheus["alerting"]["alertmanagers"] for c in a["static_configs"] for t in c["targets"]]
    for target in targets:
        host, port = target.split(":")
        host = "prometheus" if host == "localhost" else host
        inside = [p.split(":")[2] for p in services.get(host, {}).get("ports", [])]
        expect(port in inside, f"prometheus.yml: {target}: {host} listens on {inside}")
    jobs = {job["job_name"] for job in prometheus["scrape_configs"]}
    expect("millpond" in jobs, "the rules are about the job millpond")

    dockerfile = (root / "Dockerfile").read_text()
    for line in re.findall(r"^FROM (\S+)", dockerfile, re.M):
        expect(re.search(r":\d+\.\d+(\.\d+)?-", line), f"Dockerfile: {line} is not pinned")
    user = re.search(r"^USER (\d+:\d+)$", dockerfile, re.M)
    expect(user and user.group(1) == services["millpond"]["user"], "the image's user is the service's")
    for word in ("HEALTHCHECK", "STOPSIGNAL SIGTERM", "org.opencontainers.image.licenses"):
        expect(word in dockerfile, f"Dockerfile: {word}")
    version = re.search(r'^version = "(.+)"$', (root / "Cargo.toml").read_text(), re.M).group(1)
    expect(services["millpond"]["image"] == f"millpond:{version}", "the image has the version's tag")
    # A substitution as Compose makes it, for the words that Millpond is called with.
    plain = lambda word: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(word))
    commands = {name: [plain(word) for word in services[name]["command"]] for name in ("millpond", "generator")}
    commands["millpond-health"] = services["millpond"]["healthcheck"]["test"][1:]
    json.dump({"services": list(services), "commands": commands, "problems": problems}, sys.stdout)


main()
