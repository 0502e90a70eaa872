// What all charts share: colours of the theme, axes, and how far the vertical one goes.

import { colour } from "./app.js";

// A canvas does not follow custom properties by itself.
export function inks() {
  return {
    line: colour("accent"), band: colour("accent-wash"), rule: colour("line"), quiet: colour("ink-faint"), strong: colour("ink"),
    face: getComputedStyle(document.body).fontFamily,
  };
}

export function axisOf(ink, text) {
  const label = text ? { label: text, labelSize: 20, labelGap: 0, labelFont: `12px ${ink.face}` } : {};
  return { stroke: ink.quiet, font: `12px ${ink.face}`, grid: { stroke: ink.rule, width: 1 }, ticks: { show: false }, ...label };
}

export function range(low, high, fromZero, line) {
  if (low === null || high === null) return [0, 1];
  const bottom = Math.min(fromZero ? 0 : low, low, line ?? low);
  const top = Math.max(high, line ?? high);
  const air = (top - bottom) * 0.08 || Math.abs(top) * 0.1 || 1;
  return [fromZero && bottom === 0 ? 0 : bottom - air, top + air];
}

export function numbers() {
  return new Intl.NumberFormat(document.documentElement.lang || "en", { maximumSignificantDigits: 3 });
}
