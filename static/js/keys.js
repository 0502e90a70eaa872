// The keys of the page, and which of them mean what. A thing to be done is named by the key that it has by default, in data-key and
// kbd as the server sends them; people can give it another. A keyboard that writes neither our letters nor our digits is read by
// the places of its keys.

import { keep } from "./shelf.js";

const SHELF = "keys";
const DIGITS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"]; // segments of the scale, and ranks
// In this order: where somebody gave a key of the last ones to another thing, it means that.
const ACTIONS = ["Enter", "u", "Escape", "h", "m", "q", "w", "s", "p", "r", "d", "l", "g", "?", "c", "v", "b", ...DIGITS];
const TURNED = { q: "acceptable_a", w: "acceptable_b", c: "safe_a", v: "safe_b", b: "less_harmful" };
const UNTOLD = ["Dead", "Process", "Unidentified"]; // an accent to come, or an input method between, and no sign yet
const SILENT = ["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Tab"];
const TEXT_FIELDS = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]";

const $ = (id) => document.getElementById(id);
const kept = () => JSON.parse(localStorage.getItem(SHELF) ?? "{}");
let chosen = kept();
let armed = null; // the button of the key that is being changed

const keyOf = (action) => chosen[action] ?? action;
const actionOf = (key) => ACTIONS.find((action) => keyOf(action) === key);
const labelOf = (key) => (key === "Escape" ? "Esc" : key);

// What a pressed key stands for: the sign that it writes, if that is a letter or digit of ours or has a meaning here; else a digit of
// another script for its value, and what another layout writes for its place on a keyboard of the United States.
function keyIn({ key, code, shiftKey }) {
  const sign = [...key].length === 1 ? key.toLowerCase() : key;
  if (/^[a-z0-9]$/.test(sign) || actionOf(sign)) return sign;
  return valueOf(sign) ?? placeOf(sign, code, shiftKey) ?? sign;
}

function valueOf(sign) {
  const isDigit = (point) => /^\p{Nd}$/u.test(String.fromCodePoint(point));
  const point = sign.codePointAt(0);
  if (!/^\p{Nd}$/u.test(sign)) return null;
  let value = 0; // digits stand in rows of ten from zero on
  while (isDigit(point - value - 1)) value += 1;
  return String(value % 10);
}

function placeOf(sign, code = "", shiftKey) {
  const isUntold = UNTOLD.includes(sign);
  const [, digit] = /^Digit(\d)$/.exec(code) ?? [];
  if (digit && !shiftKey && ([...sign].length === 1 || isUntold)) return digit;
  const [, letter] = /^Key([A-Z])$/.exec(code) ?? [];
  return letter && (isUntold || /^\P{ASCII}+$/u.test(sign)) ? letter.toLowerCase() : null;
}

// page: act(), rank(key, target), choose(value), confirm(), turn(question); rank says whether the key meant something.
export function listenToKeys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    page.act();
    if (armed) return assign(event);
    if (isForOthers(event) || !respond(page, event)) return;
    event.preventDefault();
  });
}

// The open popover that lies over the page. What is docked beside it covers nothing.
function covering() {
  const isDocked = (popover) => getComputedStyle(popover).getPropertyValue("--docked");
  return [...document.querySelectorAll(".popover:popover-open")].find((popover) => !isDocked(popover));
}

// Keys that are the browser's, a field's or an open popover's.
function isForOthers({ key, target }) {
  const popover = covering();
  if (key === "Escape" && popover) {
    popover.hidePopover();
    return true;
  }
  if (target.matches(TEXT_FIELDS)) {
    if (key === "Escape") target.blur();
    return true;
  }
  if (popover?.hasAttribute("data-changing")) return true;
  return popover && !(key.length === 1 && popover.id !== "skip" && popover.id !== "menu");
}

function respond(page, event) {
  const isCovered = Boolean(covering());
  const key = keyIn(event);
  const action = actionOf(key);
  if (!isCovered && page.rank(action ?? (key.length > 1 ? key : ""), event.target)) return true;
  if (!isCovered && /^[1-8]$/.test(action)) {
    page.choose(action);
    return true;
  }
  if (event.key === "Enter" && event.target.matches("a, button, summary")) return false;
  if (action === "Enter") {
    page.confirm();
    return true;
  }
  if (!isCovered && action in TURNED) return page.turn(TURNED[action]);
  const control = action && document.querySelector(`[data-key][data-action="${action}"]`);
  if (action === "Escape" && !control) document.querySelector(".dock:popover-open")?.hidePopover();
  control?.click();
  return Boolean(control) || event.key === "Enter"; // a form would take an Enter that has been given away
}

// Everything that shows a key shows the one that holds.
export function showKeys() {
  for (const control of document.querySelectorAll("[data-key]")) {
    control.dataset.action ??= control.dataset.key;
    control.dataset.key = keyOf(control.dataset.action);
  }
  for (const kbd of document.querySelectorAll("kbd, .segment-digit")) {
    kbd.dataset.action ??= ACTIONS.find((action) => labelOf(action) === kbd.textContent) ?? "";
    if (kbd.dataset.action) kbd.textContent = labelOf(keyOf(kbd.dataset.action));
  }
}

addEventListener("storage", ({ key }) => {
  if (key !== SHELF) return;
  chosen = kept();
  showKeys();
});

$("change-keys").addEventListener("click", () => change(!$("help").hasAttribute("data-changing")));
// Before, not after: what is closed and opened again at once tells of neither.
$("help").addEventListener("beforetoggle", ({ newState }) => newState === "closed" && change(false));
$("default-keys").addEventListener("click", () => {
  localStorage.removeItem(SHELF);
  chosen = {};
  showKeys();
  say("defaults");
});
$("help").addEventListener("click", ({ target }) => {
  const button = target.closest(".key-change");
  if (!button) return;
  arm(button);
  say("press", purposeOf(button));
});
$("help").addEventListener("focusout", ({ target }) => target === armed && arm(null));

function change(isChanging) {
  const help = $("help");
  arm(null);
  say("");
  help.toggleAttribute("data-changing", isChanging);
  $("change-keys").setAttribute("aria-pressed", String(isChanging));
  $("default-keys").hidden = !isChanging;
  for (const button of help.querySelectorAll(".key-change")) button.replaceWith(...button.childNodes);
  if (isChanging) for (const kbd of help.querySelectorAll("kbd:not([data-action=''])")) kbd.replaceWith(buttonAround(kbd));
}

function buttonAround(kbd) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "key-change" });
  button.append(kbd.cloneNode(true));
  button.ariaLabel = `${kbd.textContent}: ${purposeOf(kbd)}`;
  return button;
}

function arm(button) {
  armed?.setAttribute("aria-pressed", "false");
  armed = button;
  armed?.setAttribute("aria-pressed", "true");
  armed?.focus();
}

function assign(event) {
  if (SILENT.includes(event.key)) return;
  event.preventDefault();
  const { action } = armed.firstElementChild.dataset;
  const key = keyIn(event);
  const owner = actionOf(key);
  if (key !== action && key === "Escape") return leave("");
  if (key !== action && !/^\S$/u.test(key)) return say("unfit");
  if (owner && owner !== action) return say("taken", purposeOf($("help").querySelector(`dt [data-action="${owner}"]`)));
  chosen = { ...chosen, [action]: key };
  keep(SHELF, JSON.stringify(chosen));
  showKeys();
  leave("changed");
}

function leave(said) {
  const purpose = purposeOf(armed);
  armed.ariaLabel = `${armed.textContent}: ${purpose}`;
  arm(null);
  say(said, purpose);
}

function purposeOf(element) {
  return element.closest("dt")?.nextElementSibling.textContent;
}

function say(name, filled) {
  $("keys-said").textContent = name && $("keys-said").dataset[name].replace("%", filled);
}
