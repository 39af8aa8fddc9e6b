// Epochs, and why the pipeline was started again.

import { byId, el, onWidth, rebuild, show } from "./dom.js";
import { bytes, duration, moment, plural, whole } from "./format.js";
import { bars } from "./chart.js";

const NAMES = ["barriers meet", "snapshots", "checkpoint written", "sinks commit"];
const SHOWN = 8;

let epochs = [];

export function start() {
  onWidth(byId("epochs-chart"), draw);
}

/** How long each phase took. */
const parts = ({ durationMs: of }) => [of.align ?? 0, of.snapshot ?? 0, of.write ?? 0, of.commit ?? 0];

const total = (epoch) => parts(epoch).reduce((sum, n) => sum + n, 0);

let drawn = "";
function draw() {
  const box = byId("epochs-chart");
  const key = JSON.stringify([box.clientWidth, epochs]);
  if (key === drawn) return;
  drawn = key;
  if (!epochs.length) {
    show(box, el("p", { class: "empty" }, "How long each epoch took would be drawn here; none has become durable yet."));
    return;
  }
  const items = [...epochs].reverse().slice(-60).map((epoch) => ({
    parts: epoch.error ? [1, 0, 0, 0] : parts(epoch), bad: Boolean(epoch.error),
    label: epoch.error ? `failed at ${moment(epoch.at)}: ${epoch.error}` : `epoch ${epoch.number}, ${moment(epoch.at)}: ${duration(total(epoch))}`,
  }));
  const newest = epochs.find((epoch) => !epoch.error);
  show(box, bars(box, 160, NAMES, items, `Durations of the last ${plural(items.length, "epoch")}${newest ? `; the newest took ${duration(total(newest))}` : ""}`));
}

export function updateEpochs(report) {
  epochs = report.epochs;
  draw();
  const recent = epochs.slice(0, SHOWN);
  rebuild(byId("epochs"), recent, () => recent.length ? el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The last epochs" },
    el("table", null,
      el("thead", null, el("tr", null, el("th", { scope: "col", class: "number" }, "Epoch"), el("th", { scope: "col" }, "Durable"), el("th", { scope: "col", class: "number" }, "Took"), el("th", { scope: "col", class: "number" }, "Size"), el("th", { scope: "col" }, "Sinks"))),
      el("tbody", null, recent.map((epoch) => el("tr", null,
        el("td", { class: "number" }, epoch.number === null ? "–" : whole(epoch.number)),
        el("td", null, moment(epoch.at).slice(11)),
        el("td", { class: "number" }, epoch.error ? "–" : duration(total(epoch))),
        el("td", { class: "number" }, epoch.error ? "–" : bytes(epoch.bytes)),
        el("td", null, epoch.error ? [el("span", { class: "tag critical" }, "failed"), " ", epoch.error]
          : epoch.committed ? el("span", { class: "tag good" }, "committed") : el("span", { class: "tag plain" }, "committing"))))))) : null);
}

export function updateRestarts(report) {
  rebuild(byId("restarts"), report.faults, () => report.faults.length
    ? el("ul", { class: "incidents" }, report.faults.map((fault) => el("li", { class: fault.runningAt ? "warning" : "critical" },
      el("span", { class: "words" }, `${fault.actor}: ${fault.error}`),
      el("div", { class: "when" }, `${moment(fault.at)}; ${fault.runningAt ? `ran again after ${duration(Date.parse(fault.runningAt) - Date.parse(fault.at))}` : "not running again"}`))))
    : el("p", { class: "empty" }, "The pipeline has not been restarted. What it was restarted for would be here: the first fault, and how long it took."));
}

