// Anomalies: open ones on top with their words, all of them on a timeline.

import { byId, el, onWidth, rebuild, show, svg } from "./dom.js";
import { clock, duration, moment, number, plural } from "./format.js";
import { tickLabel, timeLabel, timeTicks } from "./chart.js";

/** Anomalies that are over and shown at once; the others are one step away. */
const SHOWN = 3;
const LANE = 22;
const PAD = { left: 120, right: 12, bottom: 24, top: 6 };

let last = null;

export function start() {
  onWidth(byId("timeline"), () => { if (last) draw(last); });
}

/** The end of the last window out of line, so far. */
const until = (one) => one.endedAt ?? one.windowEnd;

/** "from 12:00:30 for 1 min 30 s" */
function when(one) {
  const length = duration(Date.parse(until(one)) - Date.parse(one.startedAt));
  return (one.state === "open") ? `since ${moment(one.startedAt)}, ${length} so far` : `${moment(one.startedAt)} to ${clock(until(one))}, ${length}`;
}

function item(one) {
  const band = one.lower !== null && one.upper !== null ? `; expected ${number(one.lower)} to ${number(one.upper)}`
    : one.expected !== null ? `; expected ${number(one.expected)}` : "";
  return el("li", { class: one.severity, "data-key": one.id, tabindex: -1 },
    el("span", { class: `tag ${one.severity}` }, one.severity), " ",
    el("span", { class: "words" }, one.reason),
    el("div", { class: "when" }, `${when(one)}; ${plural(one.windows, "window")}; ${one.detector} on ${one.key || "all rows"}; value ${number(one.value)}${band}`));
}

export function update(open, closed) {
  rebuild(byId("anomalies-open"), open, () => open.length
    ? [el("h3", null, `Open: ${open.length}`), el("ul", { class: "incidents", id: "open-list" }, open.map(item))]
    : el("p", { class: "empty" }, el("span", { class: "tag good" }, "quiet"), " No anomaly is open. One that is would stand here, with what was expected and what came."));
  rebuild(byId("anomalies-closed"), closed, () => closed.length
    ? [el("h3", null, `Over: ${closed.length}`), el("ul", { class: "incidents" }, closed.slice(0, SHOWN).map(item)),
      closed.length > SHOWN ? el("details", { "data-key": "closed" }, el("summary", null, "Earlier ones"), el("ul", { class: "incidents" }, closed.slice(SHOWN).map(item))) : null]
    : null);
  last = [...open, ...closed];
  draw(last);
}

let drawn = "";
function draw(all) {
  const box = byId("timeline");
  const width = Math.max(260, box.clientWidth);
  const key = JSON.stringify([width, all]);
  if (key === drawn) return;
  drawn = key;
  if (!all.length) {
    show(box, el("p", { class: "empty" }, "A timeline of what the detectors found would be here; they have found nothing yet."));
    return;
  }
  const left = width < 480 ? 8 : PAD.left;
  const lanes = [...new Set(all.map((one) => one.detector))].sort();
  const from = Math.min(...all.map((one) => Date.parse(one.startedAt)));
  const to = Math.max(...all.map((one) => Date.parse(until(one))));
  const margin = Math.max(30_000, (to - from) * 0.03);
  const [begin, end] = [from - margin, to + margin];
  // On a narrow screen a lane's name stands above it, not beside it.
  const lane = left === 8 ? LANE + 16 : LANE + 4;
  const height = PAD.top + lanes.length * lane + PAD.bottom;
  const x = (time) => left + ((time - begin) / (end - begin)) * (width - left - PAD.right);
  const picture = svg("svg", { class: "chart", height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Timeline of ${plural(all.length, "anomaly", "anomalies")}` });
  const axis = svg("g", { class: "axis", "aria-hidden": "true" });
  for (const at of timeTicks(begin, end, Math.max(2, Math.floor(width / 110)))) {
    axis.append(svg("line", { x1: x(at), x2: x(at), y1: PAD.top, y2: height - PAD.bottom }),
      tickLabel(x(at), height - 6, timeLabel(at, end - begin), width));
  }
  lanes.forEach((name, i) => {
    const y = PAD.top + i * lane;
    axis.append(left === 8
      ? svg("text", { x: 8, y: y + 12 }, name)
      : svg("text", { x: left - 8, y: y + LANE / 2 + 4, "text-anchor": "end" }, name));
  });
  picture.append(axis);
  for (const one of [...all].reverse()) {
    const y = PAD.top + lanes.indexOf(one.detector) * lane + (left === 8 ? 16 : 0);
    const words = `${one.severity}${(one.state === "open") ? ", open" : ""}: ${one.reason}; ${when(one)}`;
    const start = x(Date.parse(one.startedAt));
    const go = () => reveal(one);
    picture.append(svg("g", { class: `incident ${(one.state === "open") ? "open" : ""}`, tabindex: 0, role: "button", "aria-label": words, onclick: go, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } } },
      svg("title", null, words),
      svg("rect", { class: `bar-${one.severity}`, x: start, y: y + 3, height: LANE - 6, width: Math.max(7, x(Date.parse(until(one))) - start), rx: 3 })));
  }
  const focused = [...box.querySelectorAll(".incident")].findIndex((node) => node === document.activeElement);
  show(box, picture);
  if (focused >= 0) box.querySelectorAll(".incident")[focused]?.focus({ preventScroll: true });
}

/** Shows where an anomaly of the timeline is told in words. */
function reveal(one) {
  document.querySelectorAll(".incidents .marked").forEach((node) => node.classList.remove("marked"));
  const found = [...document.querySelectorAll(".incidents li")].find((node) => node.dataset.key === one.id);
  if (!found) return;
  found.closest("details")?.setAttribute("open", "");
  found.classList.add("marked");
  found.focus();
}

