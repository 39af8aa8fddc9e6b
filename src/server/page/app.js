// The page: asks the daemon how it is, every two seconds, and draws that.

import { byId, el, rebuild, show, text } from "./dom.js";
import { Gone, Refused, health, keepToken, of, pipelines, token } from "./api.js";
import { clock, count, duration, moment, rate, whole } from "./format.js";
import * as checkpoints from "./checkpoints.js";
import * as graph from "./graph.js";
import * as letters from "./letters.js";
import * as sql from "./sql.js";
import * as timeline from "./timeline.js";
import * as windows from "./windows.js";

const EVERY = 2000;
/** What moves slowly is asked for every so many rounds. */
const SLOW = 3;
const TABLES = 15;
/** The longest pause between two attempts while the daemon is gone. */
const PATIENCE = 15000;

let current = null;
let reports = [];
let round = 0;
let goneSince = null;
let attempts = 0;
let paused = false;
let timer = null;
let asking = false;
let known = null;
let gate = false;

function stored(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function store(key, value) {
  try { localStorage.setItem(key, value); } catch { /* it is not kept then */ }
}

async function tick() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  let pause = EVERY;
  try {
    await look();
    if (goneSince !== null) {
      goneSince = null;
      round = 0;
      known = null;
    }
    attempts = 0;
    byId("gone").hidden = true;
    document.body.classList.remove("stale");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) askForToken(error);
    else {
      gone(error);
      attempts += 1;
      pause = Math.min(PATIENCE, EVERY * 1.5 ** Math.min(attempts, 10));
    }
  } finally {
    asking = false;
  }
  if (!paused && !gate && !document.hidden) timer = setTimeout(tick, pause);
}

async function look() {
  const found = (await pipelines()).pipelines;
  reports = found;
  choose();
  enter();
  const report = reports.find((one) => one.name === current);
  if (!report) {
    setState("starting", "no pipeline");
    return;
  }
  const name = report.name;
  setState(report.state, report.state === "running" && !report.readiness.ready ? "running, not ready" : report.state);
  if (known !== name) {
    const topology = await of(name, "graph");
    graph.setTopology(topology);
    windows.setTopology(topology);
    known = name;
    round = 0;
    const alive = await health();
    text(byId("version"), `Millpond ${alive.version}.`);
  }
  figures(report);
  graph.update(report);
  windows.update(report);
  const rank = ["info", "warning", "critical"];
  const open = [...report.openAnomalies].sort((a, b) => rank.indexOf(b.severity) - rank.indexOf(a.severity));
  const closed = report.recentAnomalies.filter((one) => one.state === "closed");
  timeline.update(open, closed);
  windows.setIncidents([...open, ...closed]);
  await windows.refresh();
  if (round % SLOW === 0) {
    checkpoints.updateEpochs(await of(name, "checkpoints"));
    checkpoints.updateRestarts(await of(name, "restarts"));
    letters.update(await of(name, "dead-letters"));
  }
  // Tables may be far away; nothing else waits for them.
  if (round % TABLES === 0) sql.refresh().catch(() => { /* the next round asks again */ });
  round += 1;
}

function choose() {
  const names = reports.map((report) => report.name);
  if (!names.includes(current)) current = names[0] ?? null;
  byId("pipeline-pick").hidden = names.length < 2;
  rebuild(byId("pipeline"), names, () => names.map((name) => el("option", { selected: name === current }, name)));
  document.title = current ? `${current} · Millpond` : "Millpond";
}

function setState(state, words) {
  byId("state").dataset.state = state;
  text(byId("state-text"), current ? `${current}: ${words}` : words);
}

const FIGURES = ["Input", "Lag", "Watermark", "Checkpoint", "Anomalies", "Dead letters", "Late rows", "Restarts"];

/** The figures' places, so that nothing moves when the figures come. */
function frame() {
  show(byId("figures"), FIGURES.map((name) => el("div", null, el("dt", null, name), el("dd", null, el("span", null, "–"), el("small")))));
}

function figures(report) {
  const checkpoint = report.checkpoint;
  const dead = report.sources.reduce((sum, source) => sum + source.numDeadLetters, 0);
  const late = report.queries.reduce((sum, query) => sum + query.numLateRows, 0);
  const list = [
    [rate(report.inputRowsPerSecond), `${count(report.numInputRows)} rows since ${clock(report.startedAt)}`],
    [report.lag === null ? "not known" : count(report.lag), "records not read yet"],
    [clock(report.eventTime.watermark), report.watermarkLagMs === null ? "no event yet" : report.eventTime.watermark === "infinity" ? "all input is read" : `${duration(report.watermarkLagMs)} behind the clock`],
    [checkpoint.epoch === null ? "none yet" : `epoch ${whole(checkpoint.epoch)}`, checkpoint.error ?? (checkpoint.ageMs === null ? "" : `${duration(checkpoint.ageMs)} ago`), Boolean(checkpoint.error)],
    [`${whole(report.openAnomalies.length)} open`, `${whole(report.recentAnomalies.length)} lately`, report.openAnomalies.length > 0],
    [count(dead), "could not be read"],
    [count(late), "after their windows had closed"],
    [whole(report.restarts), `up for ${duration(report.uptimeMs)}`, report.state === "failed"],
  ];
  const box = byId("figures");
  list.forEach(([value, more, bad], i) => {
    const item = box.children[i];
    item.classList.toggle("bad", Boolean(bad));
    text(item.querySelector("span"), value);
    text(item.querySelector("small"), more);
  });
  const reasons = Object.values(report.readiness.checks ?? {}).filter((check) => !check.ok).map((check) => check.reason);
  const causes = [
    ...(report.state !== "running" && report.rootCause ? [`${report.rootCause.actor} failed at ${moment(report.rootCause.at)}: ${report.rootCause.error}`] : []),
    ...reasons,
  ];
  const cause = byId("root-cause");
  cause.hidden = !causes.length;
  rebuild(cause, causes, () => el("div", { class: "note", role: "status" }, causes.map((words) => el("p", null, words))));
}

function gone(error) {
  goneSince ??= Date.now();
  document.body.classList.add("stale");
  setState("gone", error instanceof Gone ? "no answer" : "trouble");
  byId("gone").hidden = false;
  const what = error instanceof Gone ? `The daemon has not answered since ${clock(goneSince)}: ${error.message}.` : `Something went wrong: ${error.message}.`;
  text(byId("gone"), `${what} What is below is from before; this page goes on trying.`);
}

function askForToken(error) {
  gate = true;
  const tried = Boolean(token());
  keepToken(null);
  byId("login").hidden = false;
  byId("parts").hidden = true;
  byId("forget").hidden = true;
  setState("gone", "a token is wanted");
  text(byId("login-error"), tried ? error.message : "");
  byId("token").focus();
}

function enter() {
  byId("login").hidden = true;
  byId("parts").hidden = false;
  byId("forget").hidden = !token();
}

const THEMES = ["automatic", "light", "dark"];
function theme(next) {
  if (next === "automatic") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  store("millpond.theme", next);
  text(byId("theme"), `Theme: ${next}`);
}

function pause(on) {
  paused = on;
  byId("pause").setAttribute("aria-pressed", String(on));
  text(byId("pause"), on ? "Continue" : "Pause");
  if (!on) tick();
}

function jump(part) {
  const section = byId(part);
  section.scrollIntoView({ block: "start" });
  section.focus({ preventScroll: true });
}

const SHORTCUTS = [
  ["?", "this list", () => help()],
  ["a", "anomalies", () => jump("anomalies")],
  ["g", "graph", () => jump("graph")],
  ["w", "windows", () => jump("windows")],
  ["c", "checkpoints and restarts", () => jump("checkpoints")],
  ["d", "dead letters", () => jump("letters")],
  ["s", "write a statement", () => { jump("sql"); byId("statement").focus(); }],
  ["t", "change the theme", () => byId("theme").click()],
  ["p", "pause and continue", () => pause(!paused)],
];

function help() {
  if (!byId("help").open) byId("help").showModal();
}

function keyboard(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  if (!byId("shortcuts").checked || gate) return;
  const found = SHORTCUTS.find(([key]) => key === event.key);
  if (!found) return;
  event.preventDefault();
  found[2]();
}

function begin() {
  frame();
  graph.start();
  windows.start();
  timeline.start();
  checkpoints.start();
  sql.start();
  const chosen = stored("millpond.theme");
  theme(THEMES.includes(chosen) ? chosen : "automatic");
  byId("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "automatic";
    theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
  byId("pause").addEventListener("click", () => pause(!paused));
  byId("help-open").addEventListener("click", help);
  show(byId("help-keys"), [...SHORTCUTS.map(([key, what]) => [key, what]),
    ["← →", "in a chart: from window to window; in the graph: along the rows"],
    ["↑ ↓", "in the graph: from node to node; Enter shows all that is known of one"],
    ["Ctrl Enter", "run the statement"]].map(([key, what]) => el("tr", null, el("th", { scope: "row" }, el("kbd", null, key)), el("td", null, what))));
  byId("shortcuts").checked = stored("millpond.shortcuts") !== "off";
  byId("shortcuts").addEventListener("change", (event) => store("millpond.shortcuts", event.target.checked ? "on" : "off"));
  byId("pipeline").addEventListener("change", (event) => { current = event.target.value; known = null; tick(); });
  byId("login-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(byId("token").value.trim());
    byId("token").value = "";
    gate = false;
    tick();
  });
  byId("forget").addEventListener("click", () => { keepToken(null); known = null; tick(); });
  for (const id of ["metrics-link", "api-link"]) {
    // With a token a plain link would not get in: it is fetched, and shown as a text.
    byId(id).addEventListener("click", async (event) => {
      if (!token()) return;
      event.preventDefault();
      const answer = await fetch(byId(id).getAttribute("href"), { headers: { authorization: `Bearer ${token()}` }, credentials: "omit" });
      const url = URL.createObjectURL(new Blob([await answer.text()], { type: "text/plain;charset=utf-8" }));
      window.open(url, "_blank", "noopener");
      setTimeout(() => URL.revokeObjectURL(url), 60000);
    });
  }
  document.addEventListener("keydown", keyboard);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused && !gate) tick(); });
  tick();
}

begin();
