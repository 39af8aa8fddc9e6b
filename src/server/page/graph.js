// The pipeline as a living graph.

import { byId, el, onWidth, show, svg, text } from "./dom.js";
import { bytes, clock, count, duration, moment, plural, rate, short, whole } from "./format.js";
import { NODE, layered, stacked } from "./layout.js";

/** Below this width nodes stand one below the other. */
const NARROW = 620;

let topology = null;
let drawn = null;
let selected = null;
let report = null;

export function setTopology(graph) {
  topology = graph;
  drawn = null;
  draw();
}

export function update(pipeline) {
  report = pipeline;
  if (!drawn) draw();
  refresh();
}

export function start() {
  onWidth(byId("graph-box"), () => {
    const narrow = byId("graph-box").clientWidth < NARROW;
    if (!drawn || narrow !== drawn.narrow || (narrow && byId("graph-box").clientWidth !== drawn.width)) {
      drawn = null;
      draw();
      refresh();
    }
  });
}

function draw() {
  const box = byId("graph-box");
  if (!topology) return;
  if (!topology.nodes.length) {
    show(box, el("p", { class: "empty" }, "The sources, queries and sinks of the pipeline would be here; it has none."));
    return;
  }
  const width = box.clientWidth || 900;
  const narrow = width < NARROW;
  // Room for strokes and focus rings at the edges.
  const margin = 5;
  const plan = narrow ? stacked(topology.nodes, topology.edges, width - 2 * margin) : layered(topology.nodes, topology.edges);
  const nodes = new Map();
  const edges = [];
  const picture = svg("svg", {
    width: plan.width + 2 * margin, height: plan.height + 2 * margin,
    viewBox: `${-margin} ${-margin} ${plan.width + 2 * margin} ${plan.height + 2 * margin}`,
    role: "group", "aria-label": describe(),
  });
  for (const { edge, d, mid } of plan.edges) {
    const path = svg("path", { class: `edge ${edge.carries}`, d, "data-from": edge.from, "data-to": edge.to });
    const label = mid && svg("text", { class: "edge-rate", x: mid.x, y: mid.y - 4 });
    picture.append(path, ...(label ? [label] : []));
    edges.push({ edge, path, label });
  }
  for (const node of topology.nodes) {
    const at = plan.at.get(node.id);
    const w = at.width ?? NODE.width;
    const most = Math.floor((w - 24) / 7.6);
    const line = (y, kind) => svg("text", { x: 16, y, class: kind });
    const [kind, first, second] = [line(37, "kind"), line(56, "main"), line(75, "more")];
    const title = svg("title");
    const group = svg("g", {
      class: `node ${node.kind}`, transform: `translate(${at.x} ${at.y})`, tabindex: 0, role: "button",
      "aria-pressed": String(selected === node.id), "data-node": node.id,
      onclick: () => select(node.id),
      onkeydown: (event) => keys(event, node.id),
    },
    title,
    svg("rect", { class: "body", width: w, height: NODE.height, rx: 9 }),
    svg("rect", { class: "bar", width: 6, height: NODE.height - 16, x: 0, y: 8, rx: 3 }),
    svg("text", { x: 16, y: 20, class: "name" }, short(node.name, most)),
    kind, first, second);
    text(kind, short(`${node.kind} · ${[node.label, ...node.operators?.slice(0, -1) ?? []].join(" · ")}`, most + 2));
    picture.append(group);
    nodes.set(node.id, { node, group, title, first, second, most });
  }
  show(box, picture);
  drawn = { nodes, edges, narrow, width };
}

function describe() {
  const of = (kind, word, words) => {
    const n = topology.nodes.filter((node) => node.kind === kind).length;
    return n ? plural(n, word, words) : null;
  };
  return `The pipeline: ${[
    of("source", "source"), of("table", "static table"), of("query", "query", "queries"), of("detector", "detector"), of("sink", "sink"),
  ].filter(Boolean).join(", ")}`;
}

function find(list, name) {
  return list?.find((item) => item.name === name);
}

/** The two lines of a node, what is wrong with it, and all that is known of it. */
function figures(node) {
  const none = { first: "not started yet", second: "", rows: [] };
  if (!report) return none;
  switch (node.kind) {
    case "source": {
      const of = find(report.sources, node.name);
      if (!of) return none;
      return {
        first: `${rate(of.inputRowsPerSecond)}${of.lag === null ? "" : ` · lag ${count(of.lag)}`}`,
        second: `watermark ${clock(of.eventTime.watermark)}`,
        flow: of.processedRowsPerSecond,
        rows: [
          ["Reads", of.description], ["Connected", of.assigned ? "yes" : "not yet"],
          ["Records read", whole(of.numInputRows)], ["Bytes read", bytes(of.numInputBytes)],
          ["Rows", rate(of.inputRowsPerSecond)], ["Lag", of.lag === null ? "not known" : plural(of.lag, "record")],
          ["Newest event", moment(of.eventTime.max)], ["Watermark", moment(of.eventTime.watermark)],
          ["Dead letters", whole(of.numDeadLetters)],
          ["Partitions", of.partitions.map((p) => `${p.partition}${p.idle ? " (idle)" : ""}${p.lag ? `: lag ${count(p.lag)}` : ""}`).join(", ") || "none"],
        ],
      };
    }
    case "query": {
      const of = find(report.queries, node.name);
      if (!of) return none;
      const state = of.stateOperators[0];
      return {
        first: `${rate(of.outputRowsPerSecond)} out${of.numLateRows ? ` · ${count(of.numLateRows)} late` : ""}`,
        second: node.operators?.length ? `watermark ${clock(of.eventTime.watermark)}` : plural(of.numOutputRows, "row"),
        flow: of.outputRowsPerSecond,
        rows: [
          ["Output mode", of.outputMode], ["Rows put out", whole(of.numOutputRows)],
          ["Watermark", node.operators?.length ? moment(of.eventTime.watermark) : "keeps no state"],
          ["Windows closed", whole(of.numWindowsClosed)], ["Late rows", whole(of.numLateRows)],
          ["Rows without a time", whole(of.numNullEventTimeRows)],
          ...(state ? [["State", `${plural(state.numOpenWindows, "open window")}, ${plural(state.numRowsTotal, "group")}, ${bytes(state.memoryUsedBytes)}, ${plural(state.numShards, "shard")}`]] : []),
          ["SQL", el("pre", { tabindex: 0 }, of.sql.trim())],
        ],
      };
    }
    case "sink": {
      const of = find(report.sinks, node.name);
      if (!of) return none;
      return {
        first: `${plural(of.numOutputRows, "row")}`.length > 20 ? `${count(of.numOutputRows)} rows` : plural(of.numOutputRows, "row"),
        second: of.retrying ? `retrying since ${clock(of.retrying.since)}`
          : of.lastCommitAt ? `committed ${clock(of.lastCommitAt)}` : "nothing committed yet",
        trouble: of.retrying?.error,
        rows: [
          ["Writes to", of.description], ["Rows committed", whole(of.numOutputRows)],
          ["Commits", whole(of.numCommits)], ["Files", `${whole(of.numFiles)}, ${bytes(of.numBytes)}`],
          ["Version", of.version === null ? "has none" : whole(of.version)],
          ["Last commit", of.lastCommitAt ? `${moment(of.lastCommitAt)}, in ${duration(of.lastCommitMs)}` : "none yet"],
          ...(of.retrying ? [["Retrying", `${of.retrying.error} (${plural(of.retrying.attempt, "attempt")} since ${moment(of.retrying.since)})`]] : []),
        ],
      };
    }
    case "detector": {
      const of = find(report.detectors, node.name);
      if (!of) return none;
      const found = Object.values(of.anomalies).reduce((sum, n) => sum + n, 0);
      return {
        first: plural(of.series, "series", "series"),
        second: `${found ? plural(found, "anomalous window") : "nothing found yet"}`,
        rows: [["Series watched", whole(of.series)],
          ...Object.entries(of.anomalies).map(([severity, n]) => [`Windows, ${severity}`, whole(n)])],
      };
    }
    default: {
      const of = find(report.tables, node.name);
      if (!of) return none;
      return {
        first: plural(of.numRows, "row"),
        second: of.error ? "could not be read again" : `read ${clock(of.loadedAt)}`,
        trouble: of.error,
        rows: [["Read from", of.description], ["Rows", whole(of.numRows)], ["Memory", bytes(of.memoryUsedBytes)],
          ["Last read", moment(of.loadedAt)], ["Problem", of.error ?? "none"]],
      };
    }
  }
}

function refresh() {
  if (!drawn || !report) return;
  const flows = new Map();
  for (const { node, group, title, first, second, most } of drawn.nodes.values()) {
    const found = figures(node);
    flows.set(node.id, found.flow ?? 0);
    text(first, short(found.first, most + 2));
    text(second, short(found.second, most + 2));
    second.classList.toggle("alarm", Boolean(found.trouble));
    group.classList.toggle("trouble", Boolean(found.trouble));
    text(title, `${node.kind} ${node.name}: ${found.first}, ${found.second}`);
    group.setAttribute("aria-label", `${node.kind} ${node.name}: ${found.first}, ${found.second}`);
  }
  const dead = new Map(report.sources.map((source) => [`source/${source.name}`, source.numDeadLetters]));
  for (const { edge, path, label } of drawn.edges) {
    const rows = edge.carries === "rows" ? flows.get(edge.from) ?? 0 : 0;
    path.classList.toggle("flows", rows > 0 && report.state === "running");
    if (label) text(label, edge.carries === "rows" ? (rows > 0 ? rate(rows) : "") : edge.carries === "deadLetters" ? count(dead.get(edge.from) ?? 0) : "");
  }
  detail();
}

function select(id) {
  selected = selected === id ? null : id;
  for (const [key, { group }] of drawn.nodes) group.setAttribute("aria-pressed", String(key === selected));
  detail();
}

let detailed = "";
function detail() {
  const box = byId("graph-detail");
  const found = drawn?.nodes.get(selected);
  if (!found) {
    if (detailed !== "") show(box);
    detailed = "";
    return;
  }
  const { rows } = figures(found.node);
  const key = JSON.stringify([selected, rows.map(([name, value]) => [name, value instanceof Node ? value.textContent : value])]);
  if (key === detailed) return;
  // Read out once, when it is chosen, not at every change of a figure.
  const same = detailed.startsWith(JSON.stringify([selected]).slice(0, -1));
  box.setAttribute("aria-live", same ? "off" : "polite");
  detailed = key;
  const scroll = box.querySelector("pre")?.scrollTop ?? 0;
  show(box, el("h3", null, `${found.node.kind} ${found.node.name}`),
    el("dl", null, rows.map(([name, value]) => [el("dt", null, name), el("dd", null, value)])));
  const pre = box.querySelector("pre");
  if (pre) pre.scrollTop = scroll;
}

/** Enter and space choose; arrows go along edges, and up and down within a layer. */
function keys(event, id) {
  const go = (to) => {
    const group = drawn.nodes.get(to)?.group;
    if (group) {
      event.preventDefault();
      group.focus();
    }
  };
  const order = [...drawn.nodes.keys()];
  switch (event.key) {
    case "Enter": case " ": event.preventDefault(); select(id); break;
    case "ArrowRight": go(topology.edges.find((edge) => edge.from === id)?.to); break;
    case "ArrowLeft": go(topology.edges.find((edge) => edge.to === id)?.from); break;
    case "ArrowDown": go(order[order.indexOf(id) + 1]); break;
    case "ArrowUp": go(order[order.indexOf(id) - 1]); break;
    case "Escape": if (selected) select(selected); break;
    default:
  }
}
