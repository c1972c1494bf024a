// Draws one chart as SVG. All dots of a layer and a series are one path, so that ten thousand cost no more than ten.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 26, right: 66, bottom: 44, left: 62 };
const NARROW_MARGIN = { right: 18, rightOfLabels: 40, left: 52 };
const CIRCLE = (r) => `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
const SQUARE = (r) => `m${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`;
const UP = (r) => `m0 ${-r}l${r} ${1.8 * r}h${-2 * r}z`;
const DOWN = (r) => `m0 ${r}l${r} ${-1.8 * r}h${-2 * r}z`;
const DIAMOND = (r) => `m0 ${-1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}z`;
const CROSS = (r) => `m${-r} ${-r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;
// Of the families in turn: shape tells what colour alone would not.
const OF_FAMILY = [CIRCLE, SQUARE, UP, DIAMOND];
const LABELS_AT_MOST = 14;
const WIDE_PX = 480, LAW_LABEL_FROM_PX = 800, SHORT_NAME = 4;

function node(name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function scaleOf(values, isLog, from, to) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null || value === undefined || (isLog && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return null;
  const [forth, back] = isLog ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  let [first, last] = [forth(low), forth(high)];
  const room = Math.max(0.05 * (last - first), isLog ? 0.004 : 1e-3 * Math.abs(last) || 1);
  [first, last] = [first - room, last + room];
  const place = (value) => from + ((forth(value) - first) / (last - first)) * (to - from);
  return { place, low: back(first), high: back(last), isLog };
}

// Keeps texts at one side apart: returns their heights, in their order, each at least `gap` from the next.
function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const placed = [...wanted];
  for (let k = 1; k < order.length; k += 1) {
    placed[order[k]] = Math.max(placed[order[k]], placed[order[k - 1]] + gap);
  }
  let limit = high;
  for (let k = order.length - 1; k >= 0; k -= 1) {
    placed[order[k]] = Math.min(placed[order[k]], limit);
    limit = placed[order[k]] - gap;
  }
  return placed.map((value) => Math.max(value, low));
}

class Chart {
  constructor(figure, chart, page) {
    Object.assign(this, { figure, chart, page, plot: figure.querySelector(".plot"), points: [] });
  }

  // What a dot layer has on both axes, of the rows that the switches show.
  *rowsOf(layer, axis, state) {
    const table = this.page.tables[layer.table];
    const xs = table[axis.key], ys = table[this.chart.y.key];
    if (!xs || !ys) return;
    const count = layer.rows ? layer.rows.length : xs.length;
    for (let i = 0; i < count; i += 1) {
      const row = layer.rows ? layer.rows[i] : i;
      if (xs[row] === null || ys[row] === null || !state.shows(table, row)) continue;
      yield [row, xs[row], ys[row], table.series ? table.series[row] : -1];
    }
  }

  // Numbers that must lie within the frame. Single runs need not: a rate that was far too high would flatten the rest.
  *extent(axis, which) {
    const all = { shows: () => true };
    const framing = this.chart.layers.filter((layer) => layer.mark !== "dot");
    for (const layer of framing.length ? framing : this.chart.layers) {
      if (layer.kind === "dots") {
        const table = this.page.tables[layer.table];
        for (const [row, x, y] of this.rowsOf(layer, axis, all)) {
          yield which === "x" ? x : y;
          if (which === "y" && layer.bars) yield* layer.bars.map((column) => table[column]?.[row] ?? y);
        }
      } else if (layer.xs[axis.key]) {
        yield* which === "x" ? layer.xs[axis.key] : layer.kind === "line" ? layer.ys : [...layer.low, ...layer.high];
      }
    }
  }

  draw(state, width = this.plot.clientWidth) {
    if (width < 120) return; // the page is not laid out yet, or no more
    const { chart } = this;
    const axis = chart.x.find((one) => one.key === state.axis) ?? chart.x[0];
    const height = Math.min(chart.height, Math.max(260, 0.75 * width));
    const isWide = width >= WIDE_PX, isLabelled = isWide || this.page.series.every((one) => one.title.length <= SHORT_NAME);
    const right = width - (isWide ? MARGIN.right : isLabelled ? NARROW_MARGIN.rightOfLabels : NARROW_MARGIN.right);
    const left = isWide ? MARGIN.left : NARROW_MARGIN.left;
    this.axis = axis;
    this.x = scaleOf(this.extent(axis, "x"), axis.is_log, left, right);
    this.y = scaleOf(this.extent(axis, "y"), chart.y.is_log, height - MARGIN.bottom, MARGIN.top);
    this.points = [];
    this.frame = { left, right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    this.plot.querySelector("svg")?.remove();
    this.plot.prepend(svg);
    this.svg = svg;
    if (!this.x || !this.y) return;
    this.drawAxes(svg, axis, width, height);
    const clip = `clip-${chart.name}`;
    const { top, bottom } = this.frame;
    const area = node("clipPath", { id: clip });
    area.append(node("rect", { x: left, y: top - 6, width: right - left + 6, height: bottom - top + 12 }));
    const inside = node("g", { "clip-path": `url(#${clip})` });
    svg.append(area, inside);
    const ends = [];
    for (const kind of ["band", "line", "dots"]) {
      for (const layer of chart.layers.filter((one) => one.kind === kind)) {
        if (kind === "dots") this.drawDots(inside, layer, axis, state);
        else if (layer.xs[axis.key] && state.showsSeries(layer.series)) this.drawPath(inside, layer, axis, ends);
      }
    }
    if (isLabelled) this.drawLabels(svg, ends, width);
    this.ring = node("circle", { r: 8, class: "ring", visibility: "hidden" });
    svg.append(this.ring);
    this.points.sort((a, b) => a.px - b.px || a.py - b.py);
  }

  drawAxes(svg, axis, width, height) {
    const { left, right, top, bottom } = this.frame;
    const grid = node("g", { class: "grid" }), words = node("g", { class: "ticks" });
    const along = Math.max(3, Math.floor((right - left) / 74)), up = Math.max(3, Math.floor((bottom - top) / 42));
    for (const value of axis.ticks ?? ticks(this.x.low, this.x.high, axis.is_log, along)) {
      const at = this.x.place(value);
      grid.append(node("path", { d: `M${at} ${top}V${bottom}` }));
      words.append(node("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, written(value, axis.unit)));
    }
    for (const value of this.chart.y.ticks ?? ticks(this.y.low, this.y.high, this.chart.y.is_log, up)) {
      const at = this.y.place(value);
      grid.append(node("path", { d: `M${left} ${at}H${right}` }));
      words.append(node("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, written(value, this.chart.y.unit)));
    }
    words.append(node("text", { class: "axis", x: right, y: height - 6, "text-anchor": "end" }, axis.label));
    words.append(node("text", { class: "axis", x: 4, y: 13 }, this.chart.y.label));
    svg.append(grid, words);
  }

  drawPath(parent, layer, axis, ends) {
    const xs = layer.xs[axis.key];
    const colour = layer.series >= 0 ? { style: `--c: ${this.page.series[layer.series].colour}` } : {};
    const along = (ys, order) => order.filter((i) => xs[i] !== null && ys[i] !== null)
      .map((i) => `${this.x.place(xs[i]).toFixed(1)} ${this.y.place(ys[i]).toFixed(1)}`).join("L");
    const forth = xs.map((_, i) => i);
    if (layer.kind === "band") {
      const d = `M${along(layer.high, forth)}L${along(layer.low, [...forth].reverse())}Z`;
      parent.append(node("path", { d, class: "band" }));
      return;
    }
    const points = along(layer.ys, forth);
    if (!points) return;
    const name = layer.series >= 0 ? "series" : layer.label && this.chart.name === "valleys" ? "valley" : "law";
    parent.append(node("path", { d: `M${points}`, class: `line ${name} ${layer.style}`, ...colour }));
    const text = layer.series >= 0 ? this.page.series[layer.series].title : layer.label;
    const last = xs.length - 1;
    if (text && xs[last] !== null && layer.ys[last] !== null) {
      ends.push({ x: this.x.place(xs[last]), y: this.y.place(layer.ys[last]), text, series: layer.series, isLaw: name === "law" });
    }
  }

  drawLabels(svg, ends, width) {
    // A series of many lines has no end of its own; the law's name needs room.
    const lines = (series) => ends.filter((end) => end.series === series).length;
    const named = ends.filter(({ series, isLaw }) => (series < 0 ? !isLaw || width >= LAW_LABEL_FROM_PX : lines(series) === 1));
    if (named.length > LABELS_AT_MOST) return;
    // Only labels that lie side by side push one another apart.
    const near = named.filter((end) => end.x > this.frame.right - 90);
    const heights = spread(near.map((end) => end.y), 13, this.frame.top, this.frame.bottom);
    near.forEach((end, i) => { end.y = heights[i]; });
    for (const end of named) {
      const colour = end.series >= 0 ? `--c: ${this.page.series[end.series].colour}` : "";
      svg.append(node("text", { class: "end", x: end.x + 9, y: end.y + 4, style: colour }, end.text));
    }
  }

  drawDots(parent, layer, axis, state) {
    const paths = new Map(), bars = [];
    const table = this.page.tables[layer.table];
    for (const [row, x, y, series] of this.rowsOf(layer, axis, state)) {
      const px = this.x.place(x), py = this.y.place(y);
      this.points.push({ px, py, layer, row, series });
      if (!paths.has(series)) paths.set(series, []);
      paths.get(series).push(`M${px.toFixed(1)} ${py.toFixed(1)}${this.shape(layer.mark, series)}`);
      if (layer.bars) {
        const [low, high] = layer.bars.map((column) => table[column]?.[row] ?? null);
        if (low !== null && high !== null) {
          bars.push(`M${px.toFixed(1)} ${this.y.place(low).toFixed(1)}V${this.y.place(high).toFixed(1)}`);
        }
      }
    }
    if (bars.length) parent.append(node("path", { d: bars.join(""), class: "bars" }));
    for (const [series, parts] of paths) {
      const colour = series >= 0 ? `--c: ${this.page.series[series].colour}` : "";
      parent.append(node("path", { d: parts.join(""), class: `dots ${layer.mark}`, style: colour }));
    }
  }

  shape(mark, series) {
    const family = series >= 0 ? this.page.families.indexOf(this.page.series[series].family) : 0;
    const own = OF_FAMILY[Math.max(0, family) % OF_FAMILY.length];
    switch (mark) {
      case "dot": return "h0";
      case "cross": return CROSS(3.5);
      case "diamond": return DIAMOND(5);
      case "up": return UP(5.5);
      case "down": return DOWN(5.5);
      default: return own(4.3);
    }
  }
}
