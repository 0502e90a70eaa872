// Charts whose numbers stand on the page. <figure data-chart='{"x": [...], "lines": [[...], ...]}'> has a .plot, whose space is
// reserved by the style sheet; its key names the lines, which differ in dashes or filling as in colour. "days": x are days of UTC, in
// seconds; "bars": the lines are bars that stand on each other; "share": from 0 to 1, told in per cent; "lowest": where their axis begins; "band": the ends of an interval, filled.

import { axisOf, inks, numbers, range } from "./plots.js";

const DAY_SECONDS = 86400;
const DAYS = [1, 2, 7, 14, 28, 91, 182, 365, 730].map((days) => days * DAY_SECONDS);

const EDGE = { stroke: "transparent", spanGaps: true, points: { show: false } };

const plots = new Map();
const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.clientWidth) plots.get(target.parentElement)?.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});

start();
// What is newly measured brings a new figure.
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
  for (const figure of document.querySelectorAll("[data-chart]")) {
    if (!plots.has(figure)) plots.set(figure, draw(figure));
  }
}

function draw(figure) {
  const { x, lines, days, bars, share, lowest = 0, band = [] } = JSON.parse(figure.dataset.chart);
  const target = figure.querySelector(".plot");
  const ink = inks();
  const columns = bars ? stacked(lines) : lines;
  const styles = bars ? barStyles(ink) : lineStyles(ink);
  const values = writer(numbers());
  const along = days ? { values: writer(calendar()), incrs: DAYS, space: 72 } : { values, space: 56 };
  const series = columns.map((line, index) => ({ spanGaps: true, points: { show: !bars, size: 5 }, ...styles[index] }));
  const options = {
    width: target.clientWidth, height: target.clientHeight,
    padding: [8, days ? 28 : 16, 0, 0], // half of the last day's name
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    legend: { show: false },
    tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: {
      x: { time: Boolean(days), range: (plot, low, high) => (days ? [x[0] - DAY_SECONDS, x.at(-1) + DAY_SECONDS] : [low, high]) },
      y: { range: (plot, low, high) => (share ? [lowest, 1] : range(low, high, true, null)) },
    },
    axes: [
      { ...axisOf(ink, figure.dataset.axis), grid: { show: false }, size: 28, ...along },
      { ...axisOf(ink), size: 52, space: 36, values: share ? writer(percents()) : values },
    ],
    // The highest bars first, so that those below stand before them.
    // A band first, so that lines lie on top of it.
    series: [{}, ...band.map(() => EDGE), ...(bars ? series.reverse() : series)],
    bands: band.length ? [{ series: [2, 1], fill: ink.band }] : [],
  };
  target.replaceChildren();
  resizes.observe(target);
  return new window.uPlot(options, [x, ...band, ...(bars ? columns.reverse() : columns)], target);
}

// Each line on top of those before it; nothing where it has nothing of its own.
function stacked(lines) {
  const height = new Array(lines[0].length).fill(0);
  return lines.map((line) => line.map((value, index) => {
    height[index] += value ?? 0;
    return value ? height[index] : null;
  }));
}

function lineStyles(ink) {
  return [
    { stroke: ink.line, width: 2 },
    { stroke: ink.strong, width: 1.75, dash: [8, 5] },
    { stroke: ink.strong, width: 1.75, dash: [2, 4] },
  ];
}

function barStyles(ink) {
  const paths = window.uPlot.paths.bars({ size: [0.7, 48] });
  return [
    { stroke: ink.line, fill: ink.line, width: 1, paths },
    { stroke: ink.quiet, fill: ink.band, width: 1, paths },
  ];
}

function writer(format) {
  return (plot, ticks) => ticks.map((tick) => format.format(tick));
}

function percents() {
  return new Intl.NumberFormat(document.documentElement.lang || "en", { style: "percent" });
}

function calendar() {
  const format = new Intl.DateTimeFormat(document.documentElement.lang || "en", { day: "numeric", month: "short", timeZone: "UTC" });
  return { format: (seconds) => format.format(seconds * 1000) };
}
