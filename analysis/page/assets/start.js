// The page's switches, and everything that is drawn when they change.

const SHEET_PX = 660, PAIRED_PX = 322; // of A4 between its margins

class State {
  constructor(page) {
    this.axis = page.axes[0];
    this.hidden = new Set();
    this.hiddenBudgets = new Set();
  }

  showsSeries(series) {
    return series < 0 || !this.hidden.has(series);
  }

  shows(table, row) {
    return this.showsSeries(table.series ? table.series[row] : -1)
      && !(this.hiddenBudgets.size && table.budget && this.hiddenBudgets.has(table.budget[row]));
  }
}

function start() {
  const page = JSON.parse(document.getElementById("data").textContent);
  const state = new State(page);
  const live = document.getElementById("live");
  const drawings = [];
  for (const chart of page.charts) {
    const figure = document.querySelector(`figure[data-chart="${chart.name}"]`);
    const drawing = new Chart(figure, chart, page);
    new Pointer(drawing, page, live);
    drawings.push(drawing);
  }
  const list = page.tables.runs && document.getElementById("runs") ? new RunList(document.getElementById("runs"), page, state) : null;
  const draw = () => drawings.forEach((drawing) => drawing.draw(state));
  const print = () => drawings.forEach((one) => one.draw(state, one.figure.closest(".pair")?.children.length > 1 ? PAIRED_PX : SHEET_PX));
  const change = () => { draw(); list?.draw(); };

  for (const radio of document.querySelectorAll('input[name="axis"]')) {
    radio.checked = radio.value === state.axis; // a reloaded page would keep the last choice and draw the first
    radio.addEventListener("change", () => { state.axis = radio.value; change(); });
  }
  const buttons = [...document.querySelectorAll("button[data-series]")];
  const press = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", !state.hidden.has(Number(button.dataset.series)));
    for (const button of document.querySelectorAll("button[data-family]")) {
      const own = page.series.flatMap((one, i) => (one.family === button.dataset.family ? [i] : []));
      button.setAttribute("aria-pressed", own.some((i) => !state.hidden.has(i)));
    }
  };
  const toggle = (items, hidden) => {
    const isShown = items.some((item) => !hidden.has(item));
    for (const item of items) if (isShown) hidden.add(item); else hidden.delete(item);
  };
  for (const button of buttons) {
    button.addEventListener("click", () => { toggle([Number(button.dataset.series)], state.hidden); press(); change(); });
  }
  for (const button of document.querySelectorAll("button[data-family]")) {
    const own = page.series.flatMap((one, i) => (one.family === button.dataset.family ? [i] : []));
    button.addEventListener("click", () => { toggle(own, state.hidden); press(); change(); });
  }
  for (const button of document.querySelectorAll("button[data-budget]")) {
    const budget = Number(button.dataset.budget);
    button.addEventListener("click", () => {
      toggle([budget], state.hiddenBudgets);
      button.setAttribute("aria-pressed", !state.hiddenBudgets.has(budget));
      change();
    });
  }
  let width = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth !== width) {
      width = document.body.clientWidth;
      draw();
    }
  }).observe(document.body);
  // On paper every chart has the same width, whatever the window had.
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", draw);
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      live.textContent = "copied";
    });
  }
  change();
  document.documentElement.dataset.ready = "true";
}

start();
