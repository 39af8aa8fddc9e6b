// Each query's windows over time.

import { byId, el, show } from "./dom.js";
import { windows } from "./api.js";
import { lineChart } from "./chart.js";

let chart = null;
let pipeline = null;
let queries = [];
let detectors = new Map();
let incidents = [];
let shown = null;

export function start() {
  chart = lineChart(byId("windows-chart"), 280);
  byId("windows-query").addEventListener("change", () => { columns(); refresh(); });
  byId("windows-column").addEventListener("change", refresh);
}

/** What a detector watches tells where its marks go. */
export function setTopology(graph) {
  detectors = new Map(graph.edges.filter((e) => e.carries === "windows").map((e) => [e.to.slice("detector/".length), e.from.slice("query/".length)]));
}

export function setIncidents(list) {
  incidents = list;
}

export function update(report) {
  const found = report.queries.filter((query) => query.windowColumns.length);
  const key = JSON.stringify(found.map((q) => [q.name, q.windowColumns]));
  if (pipeline !== report.name || key !== JSON.stringify(queries.map((q) => [q.name, q.windowColumns]))) {
    pipeline = report.name;
    queries = found;
    const select = byId("windows-query");
    const before = select.value;
    show(select, queries.map((query) => el("option", null, query.name)));
    if (queries.some((query) => query.name === before)) select.value = before;
    columns();
  }
}

function columns() {
  const query = queries.find((q) => q.name === byId("windows-query").value);
  const select = byId("windows-column");
  const before = select.value;
  show(select, (query?.windowColumns ?? []).map((column) => el("option", null, column)));
  if (query?.windowColumns.includes(before)) select.value = before;
}

function nothing(words) {
  shown = null;
  show(byId("windows-chart"), el("p", { class: "empty" }, words));
}

export async function refresh() {
  const query = byId("windows-query").value;
  const column = byId("windows-column").value;
  byId("windows").querySelector(".controls").hidden = !queries.length;
  if (!queries.length) {
    nothing("The windows of each query would be drawn here over time. No query of this pipeline groups by windows with numbers in them.");
    return;
  }
  const report = await windows(pipeline, query, column);
  if (query !== byId("windows-query").value || column !== byId("windows-column").value) return;
  if (!report.starts.length) {
    nothing("No window has closed yet. A window closes, and is drawn here, when the watermark has passed its end.");
    return;
  }
  const times = report.starts.map((at) => Date.parse(at));
  const marks = [];
  for (const incident of incidents) {
    if (detectors.get(incident.detector) !== query) continue;
    const series = report.series.findIndex((one) => one.key === incident.key);
    if (series < 0) continue;
    const [from, to] = [Date.parse(incident.startedAt), Date.parse(incident.endedAt ?? incident.windowEnd)];
    times.forEach((time, index) => {
      if (time >= from && time < to && !marks.some((m) => m.series === series && m.index === index)) {
        marks.push({ series, index, severity: incident.severity, words: incident.reason });
      }
    });
  }
  if (shown === null) {
    chart.mount();
    shown = true;
  }
  chart.update({ name: column, times, series: report.series, marks });
  let note = byId("windows-note");
  const words = [
    report.knownSeries > report.series.length ? `The ${report.series.length} largest of ${report.knownSeries} series.` : "",
    report.sampled ? "Rows come faster than they are drawn: windows may be missing here; none are in the tables." : "",
  ].filter(Boolean).join(" ");
  if (!note) {
    note = el("p", { class: "hint", id: "windows-note" });
    byId("windows").append(note);
  }
  if (note.textContent !== words) note.textContent = words;
}
