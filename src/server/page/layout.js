// Where the nodes of the graph go. Sugiyama's method in its simplest form: layers by the longest
// path from a source, edges that skip layers cut into pieces, a few sweeps that put every node
// near the middle of its neighbours.

export const NODE = { width: 208, height: 88 };
const GAP = { across: 84, down: 16 };
const SWEEPS = 6;

/** The layer of every node: one more than the deepest of those before it. */
export function layers(nodes, edges) {
  const into = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of edges) into.get(edge.to)?.push(edge.from);
  const depth = new Map();
  const visit = (id, path) => {
    if (depth.has(id)) return depth.get(id);
    // A pipeline has no cycles; should one appear, it is cut here.
    if (path.has(id)) return 0;
    path.add(id);
    const before = (into.get(id) ?? []).filter((from) => into.has(from));
    const found = before.length ? 1 + Math.max(...before.map((from) => visit(from, path))) : 0;
    path.delete(id);
    depth.set(id, found);
    return found;
  };
  for (const node of nodes) visit(node.id, new Set());
  // A table that is only joined with stands next to its query, not at the far left.
  for (const node of nodes.filter((n) => n.kind === "table")) {
    const after = edges.filter((e) => e.from === node.id).map((e) => depth.get(e.to) ?? 1);
    if (after.length) depth.set(node.id, Math.max(0, Math.min(...after) - 1));
  }
  return depth;
}

/** Left to right: positions of nodes, and the points that each edge goes through. */
export function layered(nodes, edges) {
  const depth = layers(nodes, edges);
  const deepest = Math.max(0, ...depth.values());
  const columns = Array.from({ length: deepest + 1 }, () => []);
  const after = new Map();
  const before = new Map();
  const link = (a, b) => {
    (after.get(a) ?? after.set(a, []).get(a)).push(b);
    (before.get(b) ?? before.set(b, []).get(b)).push(a);
  };
  for (const node of nodes) columns[depth.get(node.id)].push({ id: node.id, height: NODE.height });
  const paths = [];
  edges.forEach((edge, index) => {
    if (!depth.has(edge.from) || !depth.has(edge.to)) return;
    const path = [edge.from];
    for (let layer = depth.get(edge.from) + 1; layer < depth.get(edge.to); layer += 1) {
      const id = `${index}@${layer}`;
      columns[layer].push({ id, height: 10, bend: true });
      path.push(id);
    }
    path.push(edge.to);
    for (let i = 1; i < path.length; i += 1) link(path[i - 1], path[i]);
    paths.push({ edge, path });
  });
  const place = new Map();
  const number = () => columns.forEach((column) => column.forEach((item, i) => place.set(item.id, i)));
  number();
  const middle = (ids, otherwise) => {
    const known = (ids ?? []).map((id) => place.get(id)).sort((a, b) => a - b);
    return known.length ? known.reduce((sum, at) => sum + at, 0) / known.length : otherwise;
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forward = sweep % 2 === 0;
    const order = forward ? columns : [...columns].reverse();
    for (const column of order.slice(1)) {
      const rank = new Map(column.map((item, i) =>
        [item.id, middle((forward ? before : after).get(item.id), i)]));
      column.sort((a, b) => rank.get(a.id) - rank.get(b.id));
      number();
    }
  }
  const heightOf = (column) =>
    column.reduce((sum, item) => sum + item.height, 0) + GAP.down * Math.max(0, column.length - 1);
  const height = Math.max(NODE.height, ...columns.map(heightOf));
  const at = new Map();
  columns.forEach((column, layer) => {
    let y = (height - heightOf(column)) / 2;
    for (const item of column) {
      at.set(item.id, { x: layer * (NODE.width + GAP.across), y, height: item.height, bend: item.bend });
      y += item.height + GAP.down;
    }
  });
  return {
    width: (deepest + 1) * NODE.width + deepest * GAP.across,
    height, at,
    edges: paths.map(({ edge, path }) => ({ edge, d: curve(path.map((id) => at.get(id))), mid: mid(path.map((id) => at.get(id))) })),
  };
}

const centre = (box) => box.y + box.height / 2;

function curve(boxes) {
  let d = "";
  for (let i = 1; i < boxes.length; i += 1) {
    const [a, b] = [boxes[i - 1], boxes[i]];
    const [x1, y1, x2, y2] = [a.x + NODE.width, centre(a), b.x, centre(b)];
    const half = (x2 - x1) / 2;
    d += `${i === 1 ? `M${x1} ${y1}` : `L${x1} ${y1}`}C${x1 + half} ${y1} ${x2 - half} ${y2} ${x2} ${y2}`;
  }
  return d;
}

function mid(boxes) {
  const [a, b] = boxes;
  return { x: (a.x + NODE.width + b.x) / 2, y: (centre(a) + centre(b)) / 2 };
}

/** One below the other, for narrow screens: every node below the first that feeds it. */
export function stacked(nodes, edges, width) {
  const depth = layers(nodes, edges);
  const known = new Map(nodes.map((node) => [node.id, node]));
  const order = [];
  const waiting = new Map(nodes.map((node) =>
    [node.id, edges.filter((e) => e.to === node.id && known.has(e.from)).length]));
  const visit = (id) => {
    order.push(id);
    for (const edge of edges.filter((e) => e.from === id && known.has(e.to))) {
      waiting.set(edge.to, waiting.get(edge.to) - 1);
      if (waiting.get(edge.to) === 0) visit(edge.to);
    }
  };
  for (const node of nodes) if (waiting.get(node.id) === 0 && !order.includes(node.id)) visit(node.id);
  for (const node of nodes) if (!order.includes(node.id)) order.push(node.id);
  const step = 16;
  const at = new Map();
  let y = 2;
  for (const id of order) {
    const x = 2 + depth.get(id) * step;
    at.set(id, { x, y, height: NODE.height, width: width - x - 4 });
    y += NODE.height + 12;
  }
  return {
    width, height: y, at,
    edges: edges.filter((e) => at.has(e.from) && at.has(e.to)).map((edge) => {
      const [a, b] = [at.get(edge.from), at.get(edge.to)];
      // Two lines that go the same way stand beside each other.
      const x = a.x + (edge.carries === "deadLetters" ? 3 : 8);
      return { edge, d: `M${x} ${a.y + a.height}V${centre(b)}H${b.x}`, mid: null };
    }),
  };
}
