// Curves of a run. <section data-curves="URL"> holds figures; each <figure data-figure="kl" data-from-zero data-line="0.5">
// has a .plot, whose space is reserved by the style sheet, and an <output> for the value under the pointer, else the latest.
// The URL answers {steps: [...], figures: {name: [...]}} and takes ?after=STEP; `plumbline:changed` asks for what is new.

import { axisOf, inks, numbers, range } from "./plots.js";

let drawn = null;
let leave = () => {};
start();
// A figure that is measured for the first time brings a new section.
document.addEventListener("htmx:after:swap", start);

function start() {
  const section = document.querySelector("[data-curves]");
  if (section === drawn) return;
  leave();
  drawn = section;
  if (section) leave = draw(section);
}

// The same numbers as a table, one key away.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [popover]");
  const table = document.getElementById("numbers-table");
  if (event.key !== "t" || event.ctrlKey || event.metaKey || event.altKey || typing || !table) return;
  table.open = !table.open;
  if (table.open) table.querySelector("summary").focus();
});

function draw(section) {
  const data = { steps: [], figures: {} };
  const plots = new Map();
  const watched = new WeakMap();
  const resizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.clientWidth) watched.get(target).setSize({ width: target.clientWidth, height: target.clientHeight });
    }
  });
  const sync = window.uPlot.sync("steps");
  const number = numbers();
  let asking = false;
  let askAgain = false;

  async function refresh() {
    if (asking) { askAgain = true; return; }
    asking = true;
    try {
      const after = data.steps.length ? data.steps.at(-1) : -1;
      const response = await fetch(`${section.dataset.curves}?after=${after}`, { headers: { Accept: "application/json" } });
      if (response.ok) append(await response.json());
    } catch {
      // The network is away; the next change asks again.
    } finally {
      asking = false;
    }
    if (askAgain) { askAgain = false; refresh(); }
  }

  function append(fresh) {
    if (!fresh.steps.length) return;
    const before = data.steps.length;
    data.steps.push(...fresh.steps);
    for (const name of new Set([...Object.keys(data.figures), ...Object.keys(fresh.figures)])) {
      const column = (data.figures[name] ??= new Array(before).fill(null));
      column.push(...(fresh.figures[name] ?? new Array(fresh.steps.length).fill(null)));
    }
    for (const figure of section.querySelectorAll("[data-figure]")) show(figure);
  }

  function show(figure) {
    const name = figure.dataset.figure;
    const measured = data.figures[name];
    figure.classList.toggle("is-empty", !measured);
    if (!measured) return;
    const low = data.figures[`${name}_low`];
    const high = data.figures[`${name}_high`];
    const table = [data.steps, ...(low && high ? [low, high] : []), measured];
    const plot = plots.get(name) ?? create(figure, Boolean(low && high));
    plots.set(name, plot);
    plot.setData(table);
    read(figure, null);
  }

  function read(figure, index) {
    const values = data.figures[figure.dataset.figure] ?? [];
    const at = index ?? values.findLastIndex((value) => value !== null);
    const output = figure.querySelector("output");
    const value = values[at];
    output.textContent = value === null || value === undefined ? "" : number.format(value);
    output.dataset.step = data.steps[at] ?? "";
  }

  function create(figure, hasBand) {
    const target = figure.querySelector(".plot");
    const ink = inks();
    const fromZero = "fromZero" in figure.dataset;
    const line = figure.dataset.line ? Number(figure.dataset.line) : null;
    // The band first, so that the curve lies on top of it.
    const edge = { stroke: "transparent", spanGaps: true, points: { show: false } };
    const options = {
      width: target.clientWidth, height: target.clientHeight,
      padding: [8, 16, 0, 0],
      cursor: { sync: { key: sync.key }, drag: { x: false, y: false }, points: { size: 6 } },
      legend: { show: false },
      scales: { x: { time: false }, y: { range: (plot, low, high) => range(low, high, fromZero, line) } },
      axes: [
        { ...axisOf(ink, figure.dataset.axis), grid: { show: false }, size: 28, space: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 5e4, 1e5] },
        { ...axisOf(ink), size: 52, space: 36, values: (plot, ticks) => ticks.map((tick) => number.format(tick)) },
      ],
      series: [
        {},
        ...(hasBand ? [edge, edge] : []),
        { stroke: ink.line, width: 1.75, spanGaps: true, points: { show: false } },
      ],
      bands: hasBand ? [{ series: [2, 1], fill: ink.band }] : [],
      hooks: {
        draw: [(plot) => { if (line !== null) drawLine(plot, line, ink.quiet); }],
        setCursor: [(plot) => read(figure, plot.cursor.idx ?? null)],
      },
    };
    target.replaceChildren();
    const plot = new window.uPlot(options, [[], [], ...(hasBand ? [[], []] : [])], target);
    watched.set(target, plot);
    resizes.observe(target);
    return plot;
  }

  function recolour() {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    for (const figure of section.querySelectorAll("[data-figure]")) show(figure);
  }

  const gone = new AbortController();
  document.addEventListener("plumbline:theme", recolour, { signal: gone.signal });
  document.body.addEventListener("plumbline:changed", refresh, { signal: gone.signal });
  refresh();
  return () => {
    gone.abort();
    resizes.disconnect();
    for (const plot of plots.values()) plot.destroy();
  };
}

function drawLine(plot, value, stroke) {
  const y = plot.valToPos(value, "y", true);
  const { left, width } = plot.bbox;
  plot.ctx.save();
  plot.ctx.strokeStyle = stroke;
  plot.ctx.lineWidth = devicePixelRatio;
  plot.ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  plot.ctx.beginPath();
  plot.ctx.moveTo(left, y);
  plot.ctx.lineTo(left + width, y);
  plot.ctx.stroke();
  plot.ctx.restore();
}
