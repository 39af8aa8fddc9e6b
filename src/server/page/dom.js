// Making elements. Whatever comes from outside goes into text nodes and attributes of its own;
// nothing here or elsewhere in the page parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

/** Appends text, elements, or lists of them; what is null is left out. */
export function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An HTML element. */
export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

/** Replaces what an element holds. */
export function show(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

/** Sets text only where it changed: a screen reader is not told what it knows. */
export function text(node, value) {
  const wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Rebuilds `node` by `make` if `data` is not what it was built from last. */
const built = new WeakMap();
export function rebuild(node, data, make) {
  const key = JSON.stringify(data);
  if (built.get(node) === key) return false;
  built.set(node, key);
  // What a person has opened or focused in it stays so.
  const open = new Set([...node.querySelectorAll("details[open][data-key]")].map((d) => d.dataset.key));
  const focused = document.activeElement?.closest?.("[data-key]");
  const focusKey = node.contains(focused) ? focused.dataset.key : null;
  const inside = focusKey ? document.activeElement.tagName : null;
  const scroll = [...node.querySelectorAll(".scroll")].map((s) => [s.scrollLeft, s.scrollTop]);
  show(node, make());
  for (const details of node.querySelectorAll("details[data-key]")) {
    if (open.has(details.dataset.key)) details.open = true;
  }
  [...node.querySelectorAll(".scroll")].forEach((s, i) => {
    if (scroll[i]) [s.scrollLeft, s.scrollTop] = scroll[i];
  });
  if (focusKey !== null) {
    const again = [...node.querySelectorAll("[data-key]")].find((n) => n.dataset.key === focusKey);
    (again?.matches(inside) ? again : again?.querySelector(inside.toLowerCase()))?.focus({ preventScroll: true });
  }
  return true;
}

/** Whether a person is choosing something in it just now. */
export const isBusy = (node) => node.contains(document.activeElement) && node.matches(":focus-within") && document.activeElement.tagName === "SELECT";

/** Calls `then` when an element has another width, at the next picture: never within a layout. */
export function onWidth(node, then) {
  let width = null;
  let waiting = false;
  new ResizeObserver(() => {
    if (waiting || node.clientWidth === width) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      width = node.clientWidth;
      then();
    });
  }).observe(node);
}
