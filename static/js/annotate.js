// The annotator's page: focus, times, the next task fetched ahead, and answers that are never lost and never
// sent twice. The server's part arrives as #pair; without this file the same forms and links load whole pages.

import { finish, toast } from "./app.js";
import { PairClock } from "./clock.js";
import { forgetDraft, keepDraft, restoreDraft } from "./drafts.js";
import { arriveAtHarm, isHarmSaid } from "./harm.js";
import { listenToKeys, showKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { arriveAtRanking, countRanked, keyOfRanking, saidOfRanking } from "./ranking.js";
import "./scrolling.js";
import { arriveAtViews } from "./views.js";

const $ = (id) => document.getElementById(id);
const pair = () => $("pair");
const form = () => $("judgement");
const words = () => $("announcer").dataset;

let clock = new PairClock();
let ahead = null; // the next task's region, ready to be shown
let awaited = null; // the key of the answer that this task waits for
let wasAskedWhetherMeant = false;

listenToKeys({
  act: () => clock.act(),
  rank: ({ key, target }) => !awaited && form() && !target.matches(".more *") && keyOfRanking(key),
  choose: (value) => awaited || form()?.querySelector(`[name=choice][value="${value}"]:enabled`)?.click(),
  confirm: () => (form() ? form().requestSubmit() : document.querySelector('#pair [data-action="Enter"]')?.click()),
  turn,
});

// The next answer to a question beside the verdict, after the last the first again.
function turn(name) {
  const radios = [...document.querySelectorAll(`#pair [name=${name}]:enabled`)];
  if (!radios.length) return false;
  if (radios[0].matches("#more *")) $("more").open = true;
  radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length].click();
  return true;
}

for (const name of ["pointerdown", "wheel", "touchmove"]) {
  document.addEventListener(name, () => clock.act(), { passive: true });
}

document.addEventListener(
  "toggle",
  (event) => event.target.id === "more" && localStorage.setItem("more", event.target.open ? "open" : ""),
  { capture: true },
);

document.addEventListener("change", (event) => {
  const { name, value } = event.target;
  if (name !== "response_of" || !form()) return;
  const { response } = form().elements;
  if (response.value !== (response.dataset.filled ?? "")) return; // what somebody wrote is never overwritten
  response.value = value ? document.querySelector(`#pane-${value} .raw`).textContent : "";
  response.dataset.filled = response.value;
});

// What is missing, in a word; the empty string when nothing is.
function missing() {
  const { elements } = form();
  const rationale = elements.rationale;
  if (elements.choice && !elements.choice.value) return words().choose;
  if (elements.best && !elements.best.value) return words().best;
  if ($("board") && countRanked() < 2) return words().rank;
  if (!isHarmSaid()) {
    document.querySelector("#pair .harm fieldset:not(:has(:checked)) input:enabled")?.focus();
    return words().harm;
  }
  if (rationale && !rationale.value.trim() && asksRationale(rationale)) {
    $("more").open = true;
    rationale.focus();
    return words().why;
  }
  return "";
}

function asksRationale({ dataset: { asked } }) {
  const segments = [...document.querySelectorAll("#pair [name=choice]")];
  return asked === "always" || (asked === "strong" && [segments.at(0), segments.at(-1)].some((end) => end?.checked));
}

function say(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

// Sooner than anybody reads: asked once whether it was meant.
function isTooFast() {
  const fastest = Number(pair().dataset.fastestMs);
  if (clock.activeMs() >= fastest || wasAskedWhetherMeant) return false;
  wasAskedWhetherMeant = true;
  return true;
}

const outbox = new Outbox({ answered, trouble: (isThere) => ($("connection").hidden = !isThere) });

document.addEventListener("submit", (event) => {
  if (event.target !== form()) return;
  event.preventDefault();
  if (awaited) return;
  const problem = missing();
  form().classList.toggle("asks", Boolean(problem));
  say(problem);
  if (problem) return;
  if (isTooFast()) return say(words().fast);
  hand(pair().hasAttribute("data-reopened") ? null : ahead);
});

// Keep the answer, put the next task on the desk if it is there, and send.
function hand(next) {
  const { elements } = form();
  const activeMs = clock.activeMs();
  elements.first_action_ms.value = clock.firstActionMs ?? "";
  elements.active_ms.value = activeMs;
  elements.visits.value = clock.visits;
  elements.hurried.value = wasAskedWhetherMeant;
  const body = [...new FormData(form()).entries()];
  if (next) body.push(["shown", next.dataset.assignment]);
  const item = {
    key: elements.idempotency_key.value,
    url: form().action,
    body,
    shown: next?.dataset.assignment,
    assignment: pair().dataset.assignment,
    isChange: pair().hasAttribute("data-answered"),
  };
  forgetDraft(form());
  if (next) {
    const done = saved();
    count(item, 1);
    prepare(null);
    show(next);
    form().closest(".verdict").querySelector(".verdict-start").append(done);
    announce();
  } else {
    awaited = item.key;
    form().setAttribute("aria-busy", "true");
  }
  outbox.push(item);
  suggestBreak(activeMs);
}

function saved() {
  const { choice, best } = form().elements;
  const radio = [...document.querySelectorAll("#pair :is([name=choice], [name=best]):checked")][0];
  const said = choice || best ? radio.getAttribute("aria-label") : saidOfRanking();
  const done = Object.assign(document.createElement("p"), { className: "done", textContent: words().saved.replace("%", said) });
  done.dataset.done = "";
  return done;
}

function answered(item, status, text) {
  if (status === 401) return location.reload();
  const isSaved = status === 200;
  const isWaiting = awaited === item.key || pair().dataset.assignment === item.assignment;
  const isHere = isWaiting || pair().dataset.assignment === item.shown;
  if (awaited === item.key) awaited = null;
  const answer = parsed(text);
  const region = answer.querySelector("#pair");
  if (isSaved !== Boolean(item.shown)) count(item, isSaved ? 1 : -1);
  const told = region?.querySelector("[data-told]");
  if (told && !isHere) toast(told.textContent); // somebody faster than the connection: what they look at stays
  if (status === 409 && region?.querySelector("textarea")) return show(region); // what was written is there to be copied
  if (!isSaved && (item.shown || !region)) {
    toast(region?.querySelector("[role=alert]:not([hidden])")?.textContent.trim() || words().refused, { error: true });
  }
  if (region && isHere && (isSaved || isWaiting)) {
    show(region);
    if (isSaved) announce();
    return fetchAhead();
  }
  if (!awaited) form()?.removeAttribute("aria-busy");
  if (isWaiting && isSaved) return location.reload(); // sent by a page that has gone
  if (isHere && isSaved) prepare(answer.querySelector("template#ahead")?.content.querySelector("#pair"));
  else fetchAhead();
}

function count(item, by) {
  if (item.isChange) return;
  $("today-count").textContent = Number($("today-count").textContent) + by;
  $("today").querySelector("progress").value += by;
}

window.addEventListener("online", () => outbox.send());
$("try-now").addEventListener("click", () => outbox.send());
window.addEventListener("beforeunload", (event) => outbox.isInTrouble && event.preventDefault());

// Back to a task whose answer is still on its way: once it has arrived.
document.addEventListener(
  "click",
  (event) => {
    const undo = event.target.closest("#undo");
    if (!undo || outbox.isEmpty) return;
    event.preventDefault();
    event.stopPropagation();
    outbox.afterwards(() => $("undo")?.click());
  },
  { capture: true },
);

// The last ten judgements open once they are there, and close when one is chosen.
document.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx.target?.id === "recent-body") $("recent").showPopover();
});
$("recent").addEventListener("click", (event) => event.target.closest("a") && $("recent").hidePopover());

const WORKED = "worked";
const REST_MS = 600_000; // so long away from the page is a break

function suggestBreak(workedMs) {
  const now = Date.now();
  const last = JSON.parse(sessionStorage.getItem(WORKED) ?? "null");
  const before = last && now - last.at - workedMs < REST_MS ? last.ms : 0;
  const limit = Number(words().breakMinutes) * 60_000;
  const total = before + workedMs;
  const isDue = limit > 0 && total >= limit;
  if (isDue) toast(words().break);
  sessionStorage.setItem(WORKED, JSON.stringify({ at: now, ms: isDue ? 0 : total }));
}

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

function prepare(region) {
  ahead = region && document.adoptNode(region);
  if (ahead) finish(ahead);
  document.documentElement.dataset.ahead = ahead ? "ready" : "none";
}

async function fetchAhead() {
  if (!form() || pair().hasAttribute("data-reopened") || !outbox.isEmpty) return;
  const here = pair().dataset.assignment;
  if (ahead && ahead.dataset.assignment !== here) return;
  ahead = null;
  const response = await fetch(`${location.pathname.replace(/\/$/, "")}/ahead`, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!response?.ok || pair()?.dataset.assignment !== here) return;
  const next = parsed(await response.text()).querySelector("template#ahead");
  if (next && pair()?.dataset.assignment === here) prepare(next.content.querySelector("#pair"));
}

function show(region) {
  const incoming = document.adoptNode(region);
  pair().replaceWith(incoming);
  window.htmx.process(incoming);
  finish(incoming);
  arrive();
}

document.addEventListener("htmx:after:swap", (event) => {
  const { ctx } = event.detail;
  if (ctx.response?.status >= 500 || (ctx.target?.id !== "pair" && event.target.id !== "pair")) return;
  arrive();
  if (pair().querySelector("[data-done]")) announce();
  fetchAhead();
});

function announce() {
  const told = pair().querySelector("[data-told]");
  $("announcer").textContent = told ? told.textContent : form() ? words().next : words().none;
}

// Focus goes to the scale as a whole, not to one of its ends: a ring around “A much better” would be a suggestion.
function arrive() {
  clock.stop();
  clock = new PairClock();
  wasAskedWhetherMeant = false;
  watchPanes();
  showKeys();
  arriveAtViews();
  showLastTurn();
  if (form()) {
    form().noValidate = true; // what is missing is said here, not in a bubble
    restoreDraft(form());
  }
  if ($("more") && localStorage.getItem("more") === "open") $("more").open = true;
  arriveAtRanking();
  arriveAtHarm();
  (form()?.querySelector(".scale") ?? pair()).focus({ preventScroll: true });
}

document.addEventListener("input", (event) => {
  if (event.target.form !== form() || !form()) return;
  keepDraft(form());
  form().classList.remove("asks");
  say("");
});

// Where the conversation doesn't fit, what is to be answered is what is seen.
function showLastTurn() {
  const scroll = document.querySelector(".conversation-scroll");
  const turns = scroll?.querySelectorAll(".conversation > .turn") ?? [];
  if (turns.length > 1) scroll.scrollTop = turns[turns.length - 1].offsetTop - turns[0].offsetTop;
}

// On a phone the panes lie side by side in one scroller; the tabs follow the one that is seen, the first of several.
let observer;

function watchPanes() {
  observer?.disconnect();
  const panes = document.querySelector(".panes");
  if (!panes) return;
  const seen = new Set();
  observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target) : seen.delete(target);
      const current = [...panes.children].find((pane) => seen.has(pane));
      if (current) lightTab(current.id);
    },
    { root: panes, threshold: 0.6 },
  );
  for (const pane of panes.children) observer.observe(pane);
}

function lightTab(id) {
  for (const tab of document.querySelectorAll(".pane-tabs a")) {
    if (tab.hash === `#${id}`) tab.setAttribute("aria-current", "true");
    else tab.removeAttribute("aria-current");
  }
}

// A tab scrolls its pane into view without leaving a step in the history.
document.addEventListener("click", (event) => {
  const tab = event.target.closest(".pane-tabs a");
  if (!tab) return;
  event.preventDefault();
  document.querySelector(tab.hash).scrollIntoView({ block: "nearest", inline: "start" });
});

arrive();
if (outbox.isEmpty) fetchAhead();
else outbox.send();
