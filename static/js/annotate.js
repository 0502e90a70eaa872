// The annotator's page: focus, times, the next tasks fetched ahead, and answers that are never lost and never sent twice. The
// server's part arrives as #pair; without this file the same forms and links load whole pages.

import * as ahead from "./ahead.js";
import { finish, toast } from "./app.js";
import { suggestBreak } from "./breaks.js";
import { PairClock } from "./clock.js";
import { forgetDraft, keepDraft, restoreDraft, saidIn } from "./drafts.js";
import { SpeedGuard } from "./guard.js";
import { arriveAtHarm, isHarmSaid } from "./harm.js";
import { listenToKeys, showKeys } from "./keys.js";
import { Outbox } from "./outbox.js";
import { arriveAtPanes, showUnseen } from "./panes.js";
import { arriveAtRanking, countRanked, keyOfRanking, restartRanking, saidOfRanking } from "./ranking.js";
import "./scrolling.js";
import { keep } from "./shelf.js";
import { arriveAtViews } from "./views.js";

const $ = (id) => document.getElementById(id);
const pair = () => $("pair");
const form = () => $("judgement");
const words = () => $("announcer").dataset;

let clock = new PairClock();
let guard = new SpeedGuard(0);
let awaited = null; // the key of the answer that this task waits for
let isByKey = false; // whether it is a key that hands the answer over

listenToKeys({
  act: () => clock.act(),
  rank: (key, target) => !awaited && form() && !target.matches(".more *") && keyOfRanking(key, () => guard.isStray()),
  choose: (value) => awaited || guard.isStray() || chooseSegment(form()?.querySelector(`[name=choice][value="${value}"]:enabled`)),
  confirm,
  turn,
});

// Who pressed a button before, for the guidelines, means by Enter the answer from now on.
function chooseSegment(segment) {
  segment?.click();
  if (segment && document.activeElement.matches("a, button, summary")) segment.focus({ preventScroll: true });
}

function confirm() {
  isByKey = true;
  if (form()) form().requestSubmit();
  else document.querySelector('#pair [data-action="Enter"]')?.click();
  isByKey = false;
}

// The next answer to a question beside the verdict, after the last the first again.
function turn(name) {
  const radios = [...document.querySelectorAll(`#pair [name=${name}]:enabled`)];
  if (!radios.length) return false;
  if (guard.isStray()) return true;
  if (radios[0].matches("#more *")) $("more").open = true;
  radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length].click();
  return true;
}

for (const name of ["pointerdown", "wheel", "touchmove"]) {
  document.addEventListener(name, () => clock.act(), { passive: true });
}

// Questions and guidelines stay open or shut as somebody left them.
document.addEventListener(
  "toggle",
  ({ target, newState }) => {
    if (target.id === "more" || target.id === "guidelines") keep(target.id, newState === "open" ? "open" : "");
  },
  { capture: true },
);
const isDocked = getComputedStyle($("guidelines")).getPropertyValue("--docked");
if (isDocked && localStorage.getItem("guidelines") === "open") $("guidelines").showPopover();

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
  if (showUnseen()) return words().unseen;
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

const outbox = new Outbox(words().person, { answered, trouble: (isThere) => ($("connection").hidden = !isThere) });

document.addEventListener("submit", (event) => {
  if (event.target !== form()) return;
  event.preventDefault();
  if (awaited) return;
  const problem = missing() || tooFast();
  form().classList.toggle("asks", Boolean(problem));
  say(problem);
  if (!problem) hand(pair().hasAttribute("data-reopened") ? null : ahead.take());
});

// What somebody is asked who answers sooner than anybody reads; the empty string for everybody else.
function tooFast() {
  const question = guard.holds(JSON.stringify(saidIn(form())), clock.activeMs());
  if (!question) return "";
  restartRanking();
  return words()[question + (isByKey ? "Key" : "Touch")].replace("%", said());
}

// Keep the answer, put the next task on the desk if it is there, and send.
function hand(next) {
  const { elements } = form();
  const activeMs = clock.activeMs();
  elements.first_action_ms.value = clock.firstActionMs ?? "";
  elements.active_ms.value = activeMs;
  elements.visits.value = clock.visits;
  elements.hurried.value = guard.hasAsked;
  const body = [...new FormData(form()).entries(), ["annotator", words().person]]; // whoever is signed in when it arrives
  if (next) body.push(...[next.dataset.assignment, ...ahead.known()].map((id) => ["shown", id]));
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
    show(next);
    form().closest(".verdict").querySelector(".verdict-start").append(done);
    announce();
  } else awaitAnswer(item.key);
  outbox.push(item);
  suggestBreak(activeMs, Number(words().breakMinutes) * 60_000, words().break);
}

function awaitAnswer(key) {
  awaited = key;
  form().setAttribute("aria-busy", "true");
}

function said() {
  const { choice, best } = form().elements;
  const radio = [...document.querySelectorAll("#pair :is([name=choice], [name=best]):checked")][0];
  return choice || best ? radio.getAttribute("aria-label") : saidOfRanking();
}

function saved() {
  const textContent = words().saved.replace("%", said());
  const done = Object.assign(document.createElement("p"), { className: "done", textContent });
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
  const isJudged = isSaved || Boolean(region?.querySelector("#judgement")); // by this answer or by one before it
  if (isJudged !== Boolean(item.shown)) count(item, isJudged ? 1 : -1);
  const told = region?.querySelector("[data-told]");
  if (told && !isHere) toast(told.textContent); // somebody faster than the connection: what they look at stays
  if (!isSaved && isWritten(region)) return show(region); // to be copied
  if (!isSaved && (item.shown || !region)) tellRefusal(item, region);
  if (region && isHere && (isSaved || isWaiting)) {
    if (isSaved && !isWaiting) ahead.forgetAll(); // what was shown isn't ours any more
    show(region);
    if (isSaved) announce();
    return fetchAhead();
  }
  if (!awaited) form()?.removeAttribute("aria-busy");
  if (isWaiting && isSaved) return location.reload(); // sent by a page that has gone
  if (isSaved && form() && !isReopened()) ahead.keep(answer, pair().dataset.assignment);
  fetchAhead();
}

const isWritten = (region) => [...(region?.querySelectorAll("textarea") ?? [])].some(({ value }) => value.trim());

function tellRefusal(item, region) {
  const problem = region?.querySelector("[role=alert]:not([hidden])")?.textContent.trim();
  const href = `${location.pathname}?assignment=${item.assignment}`;
  const link = region?.querySelector("#judgement") && { href, textContent: words().look };
  toast(problem || words().refused, { error: true, link });
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

function parsed(html) {
  return new DOMParser().parseFromString(html, "text/html");
}

const isReopened = () => pair().hasAttribute("data-reopened");

function fetchAhead() {
  const here = pair().dataset.assignment;
  const isWanted = () => Boolean(form()) && !isReopened() && outbox.isEmpty && pair().dataset.assignment === here;
  return ahead.fetchAhead(here, isWanted);
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
  if (ctx.sourceElement?.matches("#skip form")) $("today").querySelector("progress").max -= 1;
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
  guard = new SpeedGuard(Number(pair().dataset.fastestMs ?? 0));
  if (!isReopened()) ahead.arriveAtDesk(pair().dataset.assignment);
  $("heading").textContent = pair().dataset.heading ?? $("heading").textContent;
  showKeys();
  arriveAtViews();
  arriveAtPanes();
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

arrive();
const unsent = outbox.items.find(({ assignment }) => assignment === pair().dataset.assignment);
if (unsent) awaitAnswer(unsent.key); // of a page that has gone
if (outbox.isEmpty) fetchAhead();
else outbox.send();
