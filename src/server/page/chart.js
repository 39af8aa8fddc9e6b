// Charts: lines over time with a cursor that mouse, finger and keyboard move, and stacked bars.

import { el, onWidth, show, svg } from "./dom.js";
import { clock, duration, moment, number, plural } from "./format.js";

const PAD = { left: 52, right: 12, top: 10, bottom: 24 };

/** Round numbers that cover the range, about so many. */
export function ticks(least, most, wanted) {
  if (!(most > least)) return [least];
  const raw = (most - least) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw) ?? raw;
  const found = [];
  for (let at = Math.ceil(least / step) * step; at <= most + step * 1e-9; at += step) {
    found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  }
  return found;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].map((s) => s * 1000);

export function timeTicks(from, to, wanted) {
  const step = STEPS.find((s) => (to - from) / s <= wanted) ?? STEPS.at(-1) * Math.ceil((to - from) / STEPS.at(-1) / Math.max(1, wanted));
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** A label below the axis that stays within the picture. */
export function tickLabel(x, y, words, width) {
  const half = words.length * 3.6;
  return svg("text", { x: Math.max(half, Math.min(width - half, x)), y, "text-anchor": "middle" }, words);
}

export const timeLabel = (at, span) =>
  span > 2 * 86400e3 ? moment(at).slice(5, 16) : span > 20 * 60e3 ? clock(at).slice(0, 5) : clock(at);

/**
 * A chart of lines in `box`. `update({ name, times, series: [{ key, values }], marks })`: times in
 * milliseconds; a mark is { series, index, severity, words }.
 */
export function lineChart(box, height) {
  const picture = svg("svg", { class: "chart", height, tabindex: 0, role: "slider" });
  const legend = el("ul", { class: "legend" });
  const readout = el("p", { class: "readout" });
  const hidden = new Set();
  let data = null;
  let at = null;
  let pinned = false;

  const index = () => (at === null || !data ? (data?.times.length ?? 1) - 1 : Math.min(at, data.times.length - 1));

  function update(next) {
    // The cursor stays at its window while new ones come in.
    if (pinned && at !== null && data) {
      const found = next.times.indexOf(data.times[index()]);
      at = found < 0 ? null : found;
      pinned = found >= 0;
    } else at = null;
    data = next;
    render();
  }

  function render() {
    if (!data) return;
    const width = Math.max(200, box.clientWidth);
    const { times, series } = data;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.replaceChildren();
    const shown = series.map((one, i) => ({ ...one, i })).filter((one) => !hidden.has(one.key));
    const all = shown.flatMap((one) => one.values.filter((v) => v !== null));
    const [low, high] = [Math.min(0, ...all), Math.max(...all, 0)];
    const top = high > low ? high + (high - low) * 0.05 : low + 1;
    const [from, to] = [times[0], times.at(-1)];
    const span = Math.max(1, to - from);
    const x = (time) => PAD.left + ((time - from) / span) * (width - PAD.left - PAD.right);
    const y = (value) => height - PAD.bottom - ((value - low) / (top - low)) * (height - PAD.top - PAD.bottom);
    const axis = svg("g", { class: "axis", "aria-hidden": "true" });
    for (const value of ticks(low, top, 5)) {
      axis.append(
        svg("line", { x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }),
        svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)),
      );
    }
    for (const time of timeTicks(from, to, Math.max(2, Math.floor(width / 110)))) {
      axis.append(tickLabel(x(time), height - 6, timeLabel(time, span), width));
    }
    picture.append(axis);
    const points = times.length <= 80;
    for (const one of shown) {
      let d = "";
      let pen = false;
      one.values.forEach((value, i) => {
        if (value === null) { pen = false; return; }
        d += `${pen ? "L" : "M"}${x(times[i]).toFixed(1)} ${y(value).toFixed(1)}`;
        const alone = !pen && (one.values[i + 1] ?? null) === null;
        if (points || alone) picture.append(svg("circle", { class: `point f${one.i}`, cx: x(times[i]), cy: y(value), r: points ? 2.6 : 3 }));
        pen = true;
      });
      picture.append(svg("path", { class: `line c${one.i}`, d, "data-series": one.key }));
    }
    for (const mark of data.marks ?? []) {
      const one = shown.find((s) => s.i === mark.series);
      const value = one?.values[mark.index];
      if (value === null || value === undefined) continue;
      picture.append(svg("circle", { class: `mark ${mark.severity}`, cx: x(times[mark.index]), cy: y(value), r: 7 }, svg("title", null, mark.words)));
    }
    if (at !== null) {
      const cx = x(times[index()]);
      picture.append(svg("line", { class: "cursor", x1: cx, x2: cx, y1: PAD.top, y2: height - PAD.bottom }));
    }
    say(x);
    drawLegend();
  }

  function say() {
    const i = index();
    const time = data.times[i];
    const values = data.series.filter((one) => !hidden.has(one.key)).map((one) => `${one.key || data.name} ${number(one.values[i])}`);
    const marks = (data.marks ?? []).filter((mark) => mark.index === i).map((mark) => mark.words);
    picture.setAttribute("aria-label", `${data.name}, ${plural(data.times.length, "window")} of ${plural(data.series.length, "series", "series")}; arrow keys read them`);
    picture.setAttribute("aria-valuemin", 0);
    picture.setAttribute("aria-valuemax", data.times.length - 1);
    picture.setAttribute("aria-valuenow", i);
    picture.setAttribute("aria-valuetext", [`window from ${moment(time)}`, ...values, ...marks].join("; "));
    show(readout, at === null ? `Newest window, from ${moment(time)}` : `Window from ${moment(time)}`, marks.length ? `: ${marks.join("; ")}` : "");
  }

  let listed = "";
  function drawLegend() {
    const i = index();
    const key = JSON.stringify([data.series.map((one) => [one.key, one.values[i]]), [...hidden]]);
    if (key === listed) return;
    const same = listed && JSON.stringify(data.series.map((one) => one.key)) === legend.dataset.keys;
    listed = key;
    if (same) {
      [...legend.querySelectorAll(".value")].forEach((node, place) => { node.textContent = number(data.series[place].values[i]); });
      return;
    }
    legend.dataset.keys = JSON.stringify(data.series.map((one) => one.key));
    show(legend, data.series.map((one, place) => el("li", null, el("label", null,
      el("input", {
        type: "checkbox", checked: !hidden.has(one.key),
        onchange: (event) => {
          if (event.target.checked) hidden.delete(one.key); else hidden.add(one.key);
          render();
        },
      }),
      svg("svg", { width: 22, height: 10, "aria-hidden": "true" }, svg("line", { class: `line c${place}`, x1: 1, x2: 21, y1: 5, y2: 5, "stroke-width": 3 })),
      el("span", { class: "key", title: one.key }, one.key || data.name),
      el("span", { class: "value" }, number(one.values[i]))))));
  }

  function move(to) {
    if (!data) return;
    at = Math.max(0, Math.min(data.times.length - 1, to));
    render();
  }
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: index() - 1, ArrowRight: index() + 1, ArrowDown: index() - 1, ArrowUp: index() + 1, PageDown: index() - 10, PageUp: index() + 10, Home: 0, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      pinned = true;
      move(steps[event.key]);
    } else if (event.key === "Escape") {
      pinned = false;
      at = null;
      render();
    }
  });
  const follow = (event) => {
    if (!data) return;
    const frame = picture.getBoundingClientRect();
    const width = Math.max(200, box.clientWidth);
    const px = ((event.clientX - frame.left) / frame.width) * width;
    const time = data.times[0] + ((px - PAD.left) / (width - PAD.left - PAD.right)) * (data.times.at(-1) - data.times[0]);
    let best = 0;
    data.times.forEach((t, i) => { if (Math.abs(t - time) < Math.abs(data.times[best] - time)) best = i; });
    move(best);
  };
  picture.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") { pinned = true; follow(event); } });
  picture.addEventListener("pointerdown", (event) => { pinned = true; follow(event); });
  picture.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "mouse" || document.activeElement === picture) return;
    pinned = false;
    at = null;
    if (data) render();
  });
  onWidth(box, render);
  return { update, mount: () => show(box, picture, readout, legend) };
}

/** Stacked bars: one for each of `bars` ({ label, parts: [ms], bad }), the newest at the right. */
export function bars(box, height, names, items, label) {
  const width = Math.max(200, box.clientWidth);
  const most = Math.max(1, ...items.map((item) => item.parts.reduce((sum, n) => sum + n, 0)));
  const step = Math.min(26, (width - PAD.left - PAD.right) / Math.max(1, items.length));
  const y = (value) => height - PAD.bottom - (value / most) * (height - PAD.top - PAD.bottom);
  const picture = svg("svg", { class: "chart", height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const value of ticks(0, most, 3)) {
    picture.append(svg("g", { class: "axis" },
      svg("line", { x1: PAD.left, x2: width - PAD.right, y1: y(value), y2: y(value) }),
      svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, duration(value))));
  }
  items.forEach((item, place) => {
    let sum = 0;
    const x = width - PAD.right - (items.length - place) * step;
    const bar = svg("g", null, svg("title", null, item.label));
    item.parts.forEach((part, i) => {
      bar.append(svg("rect", { class: item.bad ? "bar-critical" : `b${i}`, x, width: Math.max(1, step - 2), y: y(sum + part), height: Math.max(0, y(sum) - y(sum + part)) }));
      sum += part;
    });
    picture.append(bar);
  });
  return [picture, el("ul", { class: "legend" }, names.map((name, i) => el("li", null,
    svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, svg("rect", { class: `b${i}`, width: 12, height: 12, rx: 2 })), name)))];
}
