// Asking the daemon. The token, if there is one, lives in this tab only: no cookie, so no other
// site can make use of it.

const KEY = "millpond.token";

export function token() {
  try { return sessionStorage.getItem(KEY); } catch { return null; }
}

export function keepToken(value) {
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch { /* A browser that keeps nothing asks again next time. */ }
}

/** What the daemon said instead of an answer. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** No answer at all. */
export class Gone extends Error {}

export async function ask(path, { method = "GET", body, signal, timeout = 8000 } = {}) {
  const limit = AbortSignal.timeout(timeout);
  const headers = { accept: "application/json" };
  if (token()) headers.authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    const data = await response.json().catch(() => null);
    if (!response.ok) {
      throw new Refused(response.status, data?.error?.message ?? `the daemon answered ${response.status}`);
    }
    if (data === null) throw new Refused(response.status, "the daemon's answer is no JSON");
    return data;
  } catch (error) {
    if (error instanceof Refused || signal?.aborted) throw error;
    throw new Gone(error.name === "TimeoutError" ? "it does not answer in time" : "it cannot be reached");
  }
}

const part = encodeURIComponent;
export const pipelines = (options) => ask("api/v1/pipelines", options);
export const of = (pipeline, what) => ask(`api/v1/pipelines/${part(pipeline)}/${what}`);
export const windows = (pipeline, query, column) =>
  of(pipeline, `windows/${part(query)}?series=8${column ? `&column=${part(column)}` : ""}`);
export const tables = () => ask("api/v1/tables", { timeout: 30000 });
export const health = () => ask("healthz");
export const statement = (sql, signal, timeout) =>
  ask("api/v1/sql", { method: "POST", body: { sql }, signal, timeout });
