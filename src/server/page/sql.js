// Statements over the tables.

import { byId, el, show, text } from "./dom.js";
import { duration, plural, short, whole } from "./format.js";
import { Gone, Refused, statement, tables } from "./api.js";

const HISTORY = "millpond.statements";
const KEPT = 30;

let running = null;
let answer = null;
let timeout = 60000;

function history() {
  try {
    const kept = JSON.parse(localStorage.getItem(HISTORY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch { return []; }
}

function remember(sql) {
  const kept = [sql, ...history().filter((one) => one !== sql)].slice(0, KEPT);
  try { localStorage.setItem(HISTORY, JSON.stringify(kept)); } catch { /* then it is not kept */ }
  listHistory();
}

function listHistory() {
  const kept = history();
  show(byId("sql-history"),
    el("option", { value: "" }, kept.length ? "earlier statements" : "no statements yet"),
    kept.map((one, i) => el("option", { value: String(i) }, short(one.replace(/\s+/g, " "), 60))),
    kept.length ? el("option", { value: "clear" }, "clear this list") : null);
}

export function start() {
  listHistory();
  byId("sql-form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
  byId("statement").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  });
  byId("sql-cancel").addEventListener("click", () => running?.abort());
  byId("sql-csv").addEventListener("click", download);
  byId("sql-history").addEventListener("change", (event) => {
    const { value } = event.target;
    if (value === "clear") {
      try { localStorage.removeItem(HISTORY); } catch { /* nothing was kept */ }
    } else if (value !== "") byId("statement").value = history()[Number(value)] ?? "";
    listHistory();
    if (value !== "clear") byId("statement").focus();
  });
}

let listed = "";
export async function refresh() {
  let found;
  try {
    found = await tables();
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    byId("sql-on").hidden = true;
    byId("sql-off").hidden = false;
    show(byId("sql-off"), el("p", { class: "empty" }, `A box for statements over the tables would be here. ${error.message}.`));
    return;
  }
  byId("sql-on").hidden = false;
  byId("sql-off").hidden = true;
  timeout = found.limits.timeoutMs + 10000;
  text(byId("sql-limits"), `At most ${plural(found.limits.maxRows, "row")} and ${duration(found.limits.timeoutMs)}.`);
  const key = JSON.stringify(found.tables);
  if (key === listed) return;
  listed = key;
  const open = new Set([...byId("tables").querySelectorAll("details[open]")].map((one) => one.dataset.key));
  show(byId("tables"), found.tables.length ? found.tables.map((table) => el("details", { "data-key": table.name, open: open.has(table.name) },
    el("summary", null, table.name),
    el("p", { class: "about" }, [table.kind, table.writtenBy && `written by ${table.writtenBy}`, table.location].filter(Boolean).join("; ")),
    table.columns.length ? el("button", { type: "button", onclick: () => insert(table.name) }, "Select from it", el("span", { class: "unseen" }, ` ${table.name}`)) : el("p", { class: "about" }, table.problem ?? "It has no columns yet."),
    el("ul", null, table.columns.map((column) => el("li", null, el("code", null, column.name), ` ${column.type}`)))))
    : el("p", { class: "empty" }, "The tables that the pipeline writes and reads would be listed here with their columns; it has none."));
  if (!byId("statement").value) {
    const first = found.tables.find((table) => table.columns.length);
    if (first) byId("statement").value = select(first.name);
  }
}

const select = (name) => `SELECT * FROM ${name} LIMIT 20`;

function insert(name) {
  const area = byId("statement");
  area.value = select(name);
  area.focus();
}

async function run() {
  const sql = byId("statement").value.trim();
  if (!sql || running) return;
  running = new AbortController();
  const status = byId("sql-status");
  status.classList.remove("error");
  text(status, "Running");
  byId("sql-run").disabled = true;
  byId("sql-cancel").disabled = false;
  remember(sql);
  try {
    answer = await statement(sql, running.signal, timeout);
    const cut = answer.truncated ? "; there are more, which the limits cut off" : "";
    text(status, [`${plural(answer.rowCount, "row")} in ${duration(answer.elapsedMs)}${cut}`, ...answer.notices].join("; "));
    result();
  } catch (error) {
    const stopped = running.signal.aborted;
    if (!stopped) status.classList.add("error");
    text(status, stopped ? "Cancelled" : error instanceof Gone ? `No answer: ${error.message}` : error.message);
  } finally {
    running = null;
    byId("sql-run").disabled = false;
    byId("sql-cancel").disabled = true;
    byId("sql-csv").disabled = !answer?.rowCount;
  }
}

const NUMERIC = /^(TINYINT|SMALLINT|INT|BIGINT|FLOAT|DOUBLE|DECIMAL|U?INT\d*)/i;

const cell = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value));

function result() {
  const box = byId("sql-result");
  if (!answer.columns.length) {
    show(box);
    return;
  }
  const numeric = answer.columns.map((column) => NUMERIC.test(column.type));
  show(box, el("div", { class: "scroll result", tabindex: 0, role: "region", "aria-label": "Rows of the statement" },
    el("table", null,
      el("thead", null, el("tr", null, answer.columns.map((column, i) =>
        el("th", { scope: "col", class: numeric[i] ? "number" : null }, column.name, el("small", null, column.type))))),
      el("tbody", null, answer.rows.map((row) => el("tr", null, row.map((value, i) =>
        value === null ? el("td", { class: "null" }, "NULL") : el("td", { class: numeric[i] ? "number" : null }, cell(value)))))))),
  answer.rowCount === 0 ? el("p", { class: "empty" }, "The statement gave no rows.") : null);
}

/** As RFC 4180 has it; NULL is an empty field, empty text is "". */
export function csv({ columns, rows }) {
  const quote = (value) => {
    if (value === null) return "";
    const written = cell(value);
    return written === "" || /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
  };
  return [columns.map((column) => quote(column.name)), ...rows.map((row) => row.map(quote))].map((row) => row.join(",")).join("\r\n") + "\r\n";
}

function download() {
  if (!answer) return;
  const url = URL.createObjectURL(new Blob([csv(answer)], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: url, download: `millpond-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  text(byId("sql-status"), `${whole(answer.rowCount)} rows downloaded`);
}
