// The list of all runs: filtered, sorted by any column, a page at a time.

const PER_PAGE = 50;
const COLUMNS = [
  ["model", "model", null], ["epochs", "epochs", "rate"], ["peak_lr", "peak lr", "rate"], ["seed", "seed", "rate"],
  ["loss", "held-out loss", "loss"], ["core_hours", "core-hours", "core_hours"], ["flops", "FLOPs", "flops"],
  ["status", "status", null], ["note", "note", null], ["page", "", null],
];

class RunList {
  constructor(section, page, state) {
    Object.assign(this, { section, page, state, shown: PER_PAGE, by: null, down: false });
    this.table = page.tables.runs;
    this.columns = COLUMNS.filter(([key]) => key === "model" || key === "note" || this.table[key]);
    this.body = section.querySelector("tbody");
    this.filter = section.querySelector("input");
    this.more = section.querySelector(".more");
    this.count = section.querySelector(".count");
    const row = section.querySelector("thead tr");
    for (const [key, name] of this.columns) row.append(this.heading(key, name));
    this.filter.addEventListener("input", () => { this.shown = PER_PAGE; this.draw(); });
    this.more.addEventListener("click", () => { this.shown += PER_PAGE; this.draw(); });
  }

  heading(key, name) {
    const cell = document.createElement(name ? "th" : "td");
    if (!name) return cell;
    cell.scope = "col";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      this.down = this.by === key && !this.down;
      this.by = key;
      for (const other of cell.parentNode.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      this.draw();
    });
    cell.append(button);
    return cell;
  }

  value(key, row) {
    if (key === "model") return this.page.series[this.table.series[row]]?.title ?? "";
    if (key === "note") return this.table.taint?.[row] ?? this.table.error?.[row] ?? null;
    return this.table[key]?.[row] ?? null;
  }

  rows() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const told = this.columns.filter(([key]) => key !== "page"), found = [];
    for (let row = 0; row < this.table.series.length; row += 1) {
      if (!this.state.shows(this.table, row)) continue;
      const text = words.length
        ? told.map(([key]) => this.value(key, row) ?? "").join(" ").toLowerCase() : "";
      if (words.every((word) => text.includes(word))) found.push(row);
    }
    if (this.by === null) return found;
    const keys = new Map(found.map((row) => [row, this.value(this.by, row)]));
    return found.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what is missing stays last
      return (this.down ? -1 : 1) * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
    });
  }

  draw() {
    const rows = this.rows();
    const shown = rows.slice(0, this.shown);
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
    this.more.hidden = shown.length === rows.length;
    this.count.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} runs`;
  }

  row(row) {
    const line = document.createElement("tr");
    for (const [key, , unit] of this.columns) {
      const cell = document.createElement("td");
      const value = this.value(key, row);
      if (key === "page") {
        if (value) {
          const link = mlflowLink(this.page, value);
          const [model, epochs, rate, seed] = ["model", "epochs", "peak_lr", "seed"].map((name) => this.value(name, row));
          link.setAttribute("aria-label", `open ${model}, ${epochs} epochs, peak lr ${rate}, seed ${seed} in MLflow`);
          link.textContent = "MLflow";
          cell.append(link);
        }
      } else if (unit) {
        cell.className = "number";
        cell.textContent = written(value, unit);
      } else cell.textContent = value ?? "";
      if (key === "status" && value !== "finished" && value !== "recorded") cell.className = "bad";
      line.append(cell);
    }
    return line;
  }
}
