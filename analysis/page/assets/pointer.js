// What a dot says when it is pointed at, with a mouse, a finger or the arrow keys.

const REACH_PX = 24;
const SHOWN = [
  ["model", "model", null], ["epochs", "epochs", "rate"], ["peak_lr", "peak lr", "rate"], ["seed", "seed", "rate"],
  ["seeds", "seeds", "rate"], ["loss", "held-out loss", "loss"], ["seed_sd", "sd over seeds", "loss"],
  ["predicted", "predicted loss", "loss"], ["low", "interval from", "loss"], ["high", "interval to", "loss"],
  ["selection_loss", "loss for choosing", "loss"], ["error_percent", "predicted above by", "percent"],
  ["error", "top-1 error [%]", "count"],
  ["at_budget", "at budget [FLOPs]", null], ["core_hours", "core-hours", "core_hours"], ["flops", "FLOPs", "flops"],
  ["params", "parameters", "params"], ["edge", "best rate is at edge", null], ["status", "status", null],
  ["taint", "tainted", null], ["refused", "refused", null],
];

// Returns [name, value] of all that is known of a row.
function described(page, table, row) {
  const columns = page.tables[table];
  const series = columns.series?.[row] ?? -1;
  const found = [];
  for (const [key, name, unit] of SHOWN) {
    let value = columns[key]?.[row] ?? null;
    if (key === "model" && value === null && series >= 0) value = page.series[series].title;
    if (value !== null && !(key === "status" && value === "recorded")) {
      found.push([name, unit ? written(value, unit) : String(value)]);
    }
  }
  return found;
}

class Pointer {
  constructor(drawing, page, live) {
    Object.assign(this, { drawing, page, live, at: null, pinned: false });
    this.plot = drawing.plot;
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.plot.append(this.tip);
    this.plot.addEventListener("pointermove", (event) => this.move(event));
    this.plot.addEventListener("pointerleave", () => this.pinned || this.hide());
    this.plot.addEventListener("click", (event) => this.click(event));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("blur", () => this.pinned || this.hide());
  }

  nearest(event) {
    const box = this.drawing.svg.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = REACH_PX ** 2;
    for (const point of this.drawing.points) {
      // A cell lies among its own runs, and says more.
      const distance = (point.px - x) ** 2 + (point.py - y) ** 2 + (point.layer.mark === "dot" ? 30 : 0);
      if (distance < least && this.isInside(point)) [best, least] = [point, distance];
    }
    return best;
  }

  isInside({ px, py }) {
    const { left, right, top, bottom } = this.drawing.frame;
    return px >= left - 1 && px <= right + 6 && py >= top - 6 && py <= bottom + 6;
  }

  move(event) {
    if (this.pinned || event.target.closest(".tip")) return;
    const point = this.nearest(event);
    if (point) this.show(point); else this.hide();
  }

  click(event) {
    if (event.target.closest("a")) return;
    const point = this.nearest(event);
    this.pinned = point !== null;
    if (point) this.show(point, true); else this.hide();
  }

  key(event) {
    const points = this.drawing.points.filter((point) => this.isInside(point));
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      this.pinned = false;
      this.hide();
    } else if (event.key === "Enter" && this.at) {
      this.tip.querySelector("a")?.click();
    } else if (points.length && (step || event.key === "Home" || event.key === "End")) {
      const from = points.indexOf(this.at);
      const first = step > 0 || event.key === "Home" ? 0 : points.length - 1;
      const to = !step || from < 0 ? first : (from + step + points.length) % points.length;
      this.show(points[to], true);
      const words = described(this.page, points[to].layer.table, points[to].row);
      this.live.textContent = words.map(([name, value]) => `${name} ${value}`).join(", ");
    } else return;
    event.preventDefault();
  }

  show(point, isFirm = false) {
    if (point === this.at && !isFirm) return;
    this.at = point;
    const { table } = point.layer;
    const list = document.createElement("dl");
    for (const [name, value] of described(this.page, table, point.row)) {
      const term = document.createElement("dt"), said = document.createElement("dd");
      term.textContent = name;
      said.textContent = value;
      list.append(term, said);
    }
    this.tip.replaceChildren(list);
    const address = this.page.tables[table].page?.[point.row];
    if (address) this.tip.append(mlflowLink(this.page, address));
    const ring = this.drawing.ring;
    ring.setAttribute("cx", point.px);
    ring.setAttribute("cy", point.py);
    ring.setAttribute("visibility", "visible");
    this.tip.hidden = false;
    const room = this.plot.clientWidth - this.tip.offsetWidth - 4;
    const beside = point.px + 14 > room ? point.px - this.tip.offsetWidth - 14 : point.px + 14;
    this.tip.style.left = `${Math.max(2, Math.min(room, beside))}px`;
    this.tip.style.top = `${Math.max(0, point.py - this.tip.offsetHeight / 2)}px`;
  }

  hide() {
    this.at = null;
    this.tip.hidden = true;
    this.drawing.ring?.setAttribute("visibility", "hidden");
  }
}

function mlflowLink(page, address) {
  const link = document.createElement("a");
  link.href = `${page.mlflow}/#/${address}`;
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = "open in MLflow";
  return link;
}
