// Records that could not be read.

import { byId, el, rebuild } from "./dom.js";
import { count, moment, plural, whole } from "./format.js";

/** Letters shown at first: a phone's screen holds no more. */
const FIRST = 8;

let chosen = null;
let all = false;
let last = null;

function payload(bytes, what) {
  if (!bytes) return el("p", { class: "hint" }, `no ${what}`);
  const words = `${plural(bytes.bytes, "byte")}${bytes.encoding === "hex" ? ", in hexadecimal: it is not text" : ""}${bytes.cut ? "; only the beginning is shown" : ""}`;
  return [el("p", { class: "hint" }, `${what}: ${words}`), el("pre", { tabindex: 0 }, bytes.encoding === "hex" ? bytes.shown.replace(/(..)/g, "$1 ").trimEnd() : bytes.shown)];
}

export function update(report) {
  last = report;
  const reasons = new Map();
  for (const source of report.sources) {
    for (const [reason, n] of Object.entries(source.reasons)) reasons.set(reason, (reasons.get(reason) ?? 0) + n);
  }
  const list = [...reasons].sort((a, b) => b[1] - a[1]);
  if (chosen && !reasons.has(chosen)) chosen = null;
  rebuild(byId("letters-summary"), [list, chosen], () => list.length ? [
    el("p", { class: "hint" }, `${plural(report.total, "record")} could not be read since the daemon started; all of them are in the table of dead letters, the last are below.`),
    el("ul", { class: "chips", "aria-label": "Reasons" }, list.map(([reason, n]) => el("li", null,
      el("button", { type: "button", "data-key": `reason-${reason}`, "aria-pressed": String(chosen === reason), onclick: () => { chosen = chosen === reason ? null : reason; update(last); } },
        `${reason} ${count(n)}`))))] : null);
  const fitting = report.recent.filter((letter) => !chosen || letter.reason === chosen);
  const shown = all ? fitting : fitting.slice(0, FIRST);
  rebuild(byId("letters-list"), [shown, fitting.length], () => shown.length ? [shown.map((letter) =>
    el("details", { class: "letter", "data-key": `${letter.source}|${letter.split}|${letter.offset}` },
      el("summary", null,
        el("span", { class: "tag warning" }, letter.reason),
        el("span", null, letter.error),
        el("span", { class: "where" }, `${letter.source}, ${letter.split}, offset ${whole(letter.offset)}${letter.file ? `, ${letter.file}` : ""}${letter.line ? `, line ${whole(letter.line)}` : ""}, ${moment(letter.at)}`)),
      letter.key ? payload(letter.key, "key") : null,
      payload(letter.payload, "payload"))),
  fitting.length > FIRST ? el("button", { type: "button", "data-key": "more", onclick: () => { all = !all; update(last); } },
    all ? "Show fewer" : `Show ${fitting.length - FIRST} more`) : null]
    : el("p", { class: "empty" }, "Records that cannot be read would be here with their payloads, and why. All could be read so far."));
}
