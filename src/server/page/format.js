// Numbers and times as people read them.

const UNITS = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]];

/** 12345 -> "12.3 k"; null -> a dash. */
export function count(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  for (const [size, unit] of UNITS) {
    if (Math.abs(value) >= size) return trim(value / size) + unit;
  }
  return trim(value);
}

function trim(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

export const rate = (value) => `${count(value)}/s`;

/** Any number, short, with four digits that count. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e5) return count(value);
  if (size !== 0 && size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

export const whole = (value) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en-GB");

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [size, unit] of [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"]]) {
    if (value >= size) return trim(value / size) + unit;
  }
  return `${value} B`;
}

/** Milliseconds -> "1.2 s", "3 min 20 s", "2 h 5 min". */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${trim(s)} s`;
  const total = Math.round(s);
  const [d, h, m] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  return total % 60 ? `${m} min ${total % 60} s` : `${m} min`;
}

const pad = (value) => String(value).padStart(2, "0");

/** An RFC 3339 time or milliseconds -> "12:03:05". */
export function clock(time) {
  if (time === "infinity") return "end of input";
  const at = new Date(time);
  if (time === null || time === undefined || Number.isNaN(at.getTime())) return "–";
  return `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}:${pad(at.getUTCSeconds())}`;
}

/** The same with the date. */
export function moment(time) {
  if (time === "infinity") return "end of input";
  const at = new Date(time);
  if (time === null || time === undefined || Number.isNaN(at.getTime())) return "–";
  return `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())} ${clock(time)}`;
}

/** At most so many characters. */
export const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** "1 row", "2 rows". */
export const plural = (n, word, words = `${word}s`) => `${whole(n)} ${n === 1 ? word : words}`;
