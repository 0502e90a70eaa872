// The annotator's page at the keyboard: keys, focus, times, and a submission that is never lost and never sent twice.
// The server's part arrives as #pair; without this file the same forms and links load whole pages.

import { PairClock } from "./clock.js";

const RETRY_MS = [1000, 2000, 4000, 8000, 15000];

const $ = (id) => document.getElementById(id);
const pair = () => $("pair");
const form = () => $("judgement");
const chosen = () => form()?.querySelector("[name=choice]:checked");

let clock = new PairClock();
let sending = null; // what is on its way: { answered: the status of the response, if one came }
let failures = 0;
let retry = 0;

// ——— Keys ———

function openPopover() {
  return document.querySelector(".popover:popover-open");
}

function choose(value) {
  const radio = form()?.querySelector(`[name=choice][value="${value}"]:enabled`);
  if (!radio || (sending && !failures)) return;
  radio.click();
}

function confirm() {
  if (!form() || sending) return;
  if (chosen()) form().requestSubmit();
  else form().classList.add("asks");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  clock.act();
  const popover = openPopover();
  const target = event.target;
  if (event.key === "Escape" && popover) return;
  if (target.matches("input:not([type=radio]), textarea, select, [contenteditable]")) return;
  if (popover && !(event.key.length === 1 && popover.id !== "skip" && popover.id !== "menu")) return;
  if (/^[1-7]$/.test(event.key) && !popover) {
    event.preventDefault();
    choose(event.key);
    return;
  }
  if (event.key === "Enter") {
    if (target.matches("a, button, summary")) return;
    event.preventDefault();
    if (form()) confirm();
    else document.querySelector('#pair [data-key="Enter"]')?.click();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = [...document.querySelectorAll("[data-key]")].find((element) => element.dataset.key === key);
  if (!control) return;
  event.preventDefault();
  control.click();
});

for (const name of ["pointerdown", "wheel", "touchmove"]) {
  document.addEventListener(name, () => clock.act(), { passive: true });
}

$("show-raw")?.addEventListener("click", () => showRaw(document.body.dataset.view !== "raw"));

function showRaw(isRaw) {
  document.body.dataset.view = isRaw ? "raw" : "rendered";
  $("show-raw").setAttribute("aria-pressed", String(isRaw));
  localStorage.setItem("view", document.body.dataset.view);
}
showRaw(localStorage.getItem("view") === "raw");

// ——— Submissions ———

// A retry must say the same under the same key, or it would be refused; a new choice is a new submission.
function renewKey() {
  form().elements.idempotency_key.value = crypto.randomUUID();
}

// The choice outlives a reload, a sign-in and a closed tab: one draft, of the pair that is leased.
const DRAFT = "draft";

function restoreDraft() {
  const [action, value] = JSON.parse(localStorage.getItem(DRAFT) ?? "[]");
  if (form() && action === form().getAttribute("action") && !chosen()) choose(value);
}

document.addEventListener("change", (event) => {
  if (event.target.name !== "choice") return;
  localStorage.setItem(DRAFT, JSON.stringify([form().getAttribute("action"), event.target.value]));
  form().classList.remove("asks");
  if (failures) renewKey();
});

document.addEventListener("htmx:config:request", (event) => {
  if (event.target !== form()) return;
  const { body } = event.detail.ctx.request;
  body.set("first_action_ms", clock.firstActionMs ?? "");
  body.set("active_ms", clock.activeMs());
});

document.addEventListener("htmx:before:request", (event) => {
  if (event.target !== form()) return;
  clearTimeout(retry);
  sending = event.detail.ctx;
  form().setAttribute("aria-busy", "true");
});

// No answer, or the answer of a broken server: the judgement may have been recorded or not. Sending it again under the same key
// is right in both cases.
for (const name of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(
    name,
    (event) => {
      const { ctx } = event.detail;
      if (!ctx || ctx.sourceElement !== form() || (name === "htmx:response:error" && !isBroken(ctx))) return;
      event.preventDefault();
      $("connection").hidden = false;
      retry = setTimeout(sendAgain, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
      failures += 1;
    },
    { capture: true },
  );
}

function endSending(event) {
  if (event.detail.ctx !== sending) return;
  sending = null;
  form()?.removeAttribute("aria-busy");
}

document.addEventListener("htmx:finally:request", endSending);

function isBroken(ctx) {
  return ctx.response?.status >= 500;
}

function sendAgain() {
  clearTimeout(retry);
  if (!sending && chosen()) form().requestSubmit();
}

window.addEventListener("online", () => failures && sendAgain());
$("try-now").addEventListener("click", sendAgain);
window.addEventListener("beforeunload", (event) => failures && event.preventDefault());

// ——— The next pair ———

document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail;
  if (ctx.sourceElement !== form() || isBroken(ctx)) return;
  // Not only when htmx has tidied up: keys count from the moment the next pair is there.
  endSending(event);
  failures = 0;
  $("connection").hidden = true;
  // A change counts already, and what the server refused does not.
  if (ctx.response.status === 200 && !pair().dataset.choice) countOne();
  localStorage.removeItem(DRAFT);
});

document.addEventListener("htmx:after:swap", (event) => {
  const { ctx } = event.detail;
  if (isBroken(ctx) || (ctx.target?.id !== "pair" && event.target.id !== "pair")) return;
  clock.stop();
  clock = new PairClock();
  arrive();
  const { next, none } = $("announcer").dataset;
  if (pair().querySelector("[data-done]")) $("announcer").textContent = form() ? next : none;
});

function countOne() {
  const count = $("today-count");
  const bar = $("today").querySelector("progress");
  count.textContent = Number(count.textContent) + 1;
  bar.value += 1;
}

// Focus goes to the scale as a whole, not to one of its ends: a ring around “A much better” would be a suggestion.
function arrive() {
  watchPanes();
  showLastTurn();
  restoreDraft();
  (form()?.querySelector(".scale") ?? pair()).focus({ preventScroll: true });
}

// Where the conversation doesn't fit, what is to be answered is what is seen.
function showLastTurn() {
  const scroll = document.querySelector(".conversation-scroll");
  const turns = scroll?.querySelectorAll(".conversation > .turn") ?? [];
  if (turns.length > 1) scroll.scrollTop = turns[turns.length - 1].offsetTop - turns[0].offsetTop;
}

// On a phone the panes lie side by side in one scroller; the tabs follow the one that is seen.
let observer;

function watchPanes() {
  observer?.disconnect();
  const panes = document.querySelector(".panes");
  if (!panes) return;
  observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((seen) => seen.isIntersecting)) {
        for (const tab of document.querySelectorAll(".pane-tabs a")) {
          if (tab.hash === `#${entry.target.id}`) tab.setAttribute("aria-current", "true");
          else tab.removeAttribute("aria-current");
        }
      }
    },
    { root: panes, threshold: 0.6 },
  );
  for (const pane of panes.children) observer.observe(pane);
}

// A tab scrolls its pane into view without leaving a step in the history.
document.addEventListener("click", (event) => {
  const tab = event.target.closest(".pane-tabs a");
  if (!tab) return;
  event.preventDefault();
  document.querySelector(tab.hash).scrollIntoView({ block: "nearest", inline: "start" });
});

arrive();
