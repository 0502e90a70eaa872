// How the texts are shown: formatted, as plain text or as they were written, which is remembered; and for one pair at a time as plain
// text in which the words that differ are marked. What is shown changes no answer.

import { toast } from "./app.js";
import { differences, mark, unmark } from "./diff.js";
import { keep } from "./shelf.js";

const SHELF = "view";
const LINES = "p, h3, h4, h5, h6, pre, blockquote, ul, ol, li, table, tr, hr, br, [data-display=display]";
const $ = (id) => document.getElementById(id);
const buttons = document.querySelectorAll("#views [data-view]");
const isKnown = (name) => [...buttons].some((button) => button.dataset.view === name);

let view = isKnown(localStorage.getItem(SHELF)) ? localStorage.getItem(SHELF) : "rendered";

for (const button of buttons) {
  button.addEventListener("click", () => {
    const isOff = button.dataset.view === view && !$("differences").checked;
    view = isOff ? "rendered" : button.dataset.view;
    keep(SHELF, view);
    $("differences").checked = false;
    show();
  });
}
$("differences").addEventListener("change", show);

export function arriveAtViews() {
  $("differences").checked = false;
  $("differences").disabled = document.querySelectorAll("#pair .pane").length !== 2;
  show();
}

function show() {
  const areMarked = $("differences").checked;
  const shown = areMarked ? "plain" : view;
  document.body.dataset.view = shown;
  if (shown === "plain") layPlain();
  const plains = [...document.querySelectorAll("#pair .pane .plain")];
  plains.forEach(unmark);
  if (areMarked && !markDifferences(plains)) return;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.view === shown));
  const { plain, raw, differences: marked } = $("view-sign").dataset;
  $("view-sign").textContent = areMarked ? marked : { plain, raw }[view] ?? "";
}

function markDifferences(plains) {
  const found = differences(...plains.map((plain) => plain.textContent));
  if (found) plains.forEach((plain, side) => mark(plain, found[side]));
  else {
    toast($("view-sign").dataset.long);
    $("differences").checked = false;
    show();
  }
  return Boolean(found);
}

function layPlain() {
  for (const rendered of document.querySelectorAll("#pair .rendered")) {
    if (rendered.parentElement.querySelector(":scope > .plain")) continue;
    const plain = Object.assign(document.createElement("div"), { className: "plain", dir: "auto", textContent: plainText(rendered) });
    rendered.after(plain);
  }
}

// The words of a formatted text and nothing of its form: a line for each line, a blank one between blocks.
export function plainText(rendered) {
  return [...rendered.children].map((block) => linesOf(block).join("\n")).filter(Boolean).join("\n\n");
}

function linesOf(block) {
  if (block.matches("pre")) return block.textContent.trimEnd().split("\n");
  const lines = [""];
  const write = (text) => {
    const line = lines.pop();
    lines.push(line + (/\S$/.test(line) ? text : text.trimStart()));
  };
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return write(node.data.replace(/\s+/g, " "));
    const isLine = node.matches(LINES);
    if (isLine) lines.push("");
    if (node.matches(".tex")) write(node.dataset.source ?? node.textContent);
    else if (node !== block && node.matches("pre")) lines.push(...linesOf(node));
    else node.childNodes.forEach(walk);
    if (node.matches("th, td")) write("\t");
    if (isLine) lines.push("");
  };
  walk(block);
  return lines.map((line) => line.trimEnd()).filter(Boolean);
}
