// What every page does beyond plain HTML. Nothing here is needed for a page to work.

import "./copy.js";
import { typeset } from "./tex.js";

const root = document.documentElement;
const YEAR_SECONDS = 365 * 24 * 3600;

// “Today” goes by the clock of whoever reads it.
document.cookie = `utc_offset=${-new Date().getTimezoneOffset()}; path=/; max-age=${YEAR_SECONDS}; samesite=lax`;

// On a phone the row of pages scrolls: where one is has to be seen.
const here = document.querySelector(".views [aria-current]");
if (here) {
  const [row, place] = [here.parentElement, here].map((element) => element.getBoundingClientRect());
  here.parentElement.scrollBy(place.left + place.width / 2 - row.left - row.width / 2, 0);
}

// Preferences take effect at once; the form alone would load the page again. A language needs that anyway.
document.addEventListener("submit", async (event) => {
  const { name, value } = event.submitter ?? {};
  if (event.target.getAttribute("action") !== "/preferences" || (name !== "theme" && name !== "reading")) return;
  event.preventDefault();
  root.toggleAttribute(`data-${name}`, true);
  if (value === "auto" || value === "sans") root.removeAttribute(`data-${name}`);
  else root.setAttribute(`data-${name}`, value);
  for (const button of event.submitter.parentElement.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button === event.submitter));
  }
  document.dispatchEvent(new CustomEvent("plumbline:theme"));
  await fetch("/preferences", { method: "POST", body: new URLSearchParams([[name, value]]), redirect: "manual" });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.dispatchEvent(new CustomEvent("plumbline:theme")),
);

// Toasts: errors stay until dismissed, the rest for some seconds.
const TOAST_MS = 6000;
document.addEventListener("click", (event) => event.target.closest("[data-dismiss]")?.closest("[data-toast]")?.remove());
new MutationObserver((changes) => {
  for (const toast of changes.flatMap((change) => [...change.addedNodes])) {
    if (toast.matches?.("[data-toast]:not(.toast-error)")) setTimeout(() => toast.remove(), TOAST_MS);
  }
}).observe(document.getElementById("toasts"), { childList: true });

// link: { href, textContent }, a way on from what is said.
export function toast(message, { error = false, link = null } = {}) {
  const element = document.createElement("div");
  element.className = error ? "toast toast-error" : "toast";
  element.dataset.toast = "";
  element.append(Object.assign(document.createElement("p"), { textContent: message }));
  if (link) element.lastChild.append(" ", Object.assign(document.createElement("a"), link));
  if (error) element.append(dismissal());
  document.getElementById("toasts").replaceChildren(element);
}

function dismissal() {
  const ariaLabel = document.getElementById("toasts").dataset.dismissal;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "×", ariaLabel });
  button.dataset.dismiss = "";
  return button;
}

// A request that got no answer, or one of a broken server. Elements with data-quiet ask again by themselves; a page that deals
// with it itself prevents the default.
for (const name of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(name, (event) => {
    const { ctx } = event.detail;
    const unanswered = name === "htmx:error" || ctx?.response?.status >= 500;
    if (!ctx || !unanswered || ctx.sourceElement?.closest("[data-quiet]") || event.defaultPrevented) return;
    const id = ctx.response?.headers.get("x-request-id");
    const { lost, broken } = document.getElementById("toasts").dataset;
    toast(id ? `${broken} ${id}` : lost, { error: true });
  });
}

// The colour of a token as the current theme has it, for charts.
export function colour(token) {
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  probe.style.color = `var(--${token})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// Code and tables that are wider than their column scroll by themselves; the keyboard must reach them to do so. They are called
// what the part of the page is called that they stand in.
const blocks = new ResizeObserver((entries) => entries.forEach(({ target }) => reach(target)));

function reachable(root) {
  for (const block of root.querySelectorAll(".table, .model-text table, pre:not([tabindex])")) blocks.observe(block);
}

function reach(block) {
  if (block.scrollWidth <= block.clientWidth) return block.removeAttribute("tabindex");
  block.tabIndex = 0;
  if (block.tagName !== "TABLE") block.setAttribute("role", "group");
  const part = block.parentElement.closest("[aria-labelledby], [aria-label]");
  for (const name of ["aria-labelledby", "aria-label"]) {
    if (part?.hasAttribute(name)) block.setAttribute(name, part.getAttribute(name));
  }
}

export function finish(root) {
  typeset(root);
  reachable(root);
}

finish(document.body);
document.addEventListener("htmx:after:swap", (event) => finish(event.target.isConnected ? event.target : document.body));
