// Gains of one run over the root of its KL. <figure data-frontier='{"x": [...], "lines": [[...], ...]}'> has a .plot, whose space is
// reserved by the style sheet; its key names the lines, which differ in dashes as in colour.

import { axisOf, inks, numbers, range } from "./plots.js";

const plots = new Map();
const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.clientWidth) plots.get(target.parentElement)?.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});

start();
// A new evaluation brings a new figure.
document.addEventListener("htmx:after:swap", start);
document.addEventListener("plumbline:theme", () => {
  for (const plot of plots.values()) plot.destroy();
  plots.clear();
  start();
});

function start() {
  for (const [figure, plot] of plots) {
    if (figure.isConnected) continue;
    plot.destroy();
    plots.delete(figure);
  }
  for (const figure of document.querySelectorAll("[data-frontier]")) {
    if (!plots.has(figure)) plots.set(figure, draw(figure));
  }
}

function draw(figure) {
  const { x, lines } = JSON.parse(figure.dataset.frontier);
  const target = figure.querySelector(".plot");
  const ink = inks();
  const number = numbers();
  const styles = [
    { stroke: ink.line, width: 2 },
    { stroke: ink.strong, width: 1.75, dash: [8, 5] },
    { stroke: ink.strong, width: 1.75, dash: [2, 4] },
  ];
  const values = (plot, ticks) => ticks.map((tick) => number.format(tick));
  const options = {
    width: target.clientWidth, height: target.clientHeight,
    padding: [8, 16, 0, 0],
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    legend: { show: false },
    scales: { x: { time: false }, y: { range: (plot, low, high) => range(low, high, true, null) } },
    axes: [
      { ...axisOf(ink, figure.dataset.axis), grid: { show: false }, size: 28, space: 56, values },
      { ...axisOf(ink), size: 52, space: 36, values },
    ],
    series: [{}, ...lines.map((line, index) => ({ ...styles[index], spanGaps: true, points: { show: true, size: 5 } }))],
  };
  target.replaceChildren();
  resizes.observe(target);
  return new window.uPlot(options, [x, ...lines], target);
}
