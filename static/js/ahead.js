// Tasks that are fetched ahead: the next one, so that it is there at once, and some more for when the connection is gone.

import { finish } from "./app.js";

const MOST = 4; // the server has so many slots beside the one on the desk

let regions = [];
let isFetching = false;

// The ids of their assignments, in the order in which they will come.
export const known = () => regions.map((region) => region.dataset.assignment);

export function take() {
  const [next = null, ...rest] = regions;
  regions = rest;
  tell();
  return next;
}

// What is on the desk now is ahead no more, nor is what came before it.
export function arriveAtDesk(assignment) {
  regions = regions.slice(known().indexOf(assignment) + 1);
  tell();
}

export function forgetAll() {
  regions = [];
  tell();
}

// From an answer of the server. Whether there was one that is new.
export function keep(page, here) {
  const found = page.querySelector("template#ahead")?.content.querySelector("#pair");
  if (!found || [here, ...known()].includes(found.dataset.assignment)) return false;
  regions.push(document.adoptNode(found));
  finish(found);
  tell();
  return true;
}

// One after the other until there are enough; `isWanted` says whether they still are.
export async function fetchAhead(here, isWanted) {
  if (isFetching) return;
  isFetching = true;
  tell();
  while (regions.length < MOST && isWanted()) {
    const text = await fetchOne(here).catch(() => null);
    if (text === null || !isWanted()) break;
    if (!keep(new DOMParser().parseFromString(text, "text/html"), here)) break;
  }
  isFetching = false;
  tell();
}

// Null where there is no answer; throws where the connection breaks, even in the middle of one.
async function fetchOne(here) {
  const address = `${location.pathname.replace(/\/$/, "")}/ahead`;
  const query = new URLSearchParams([here, ...known()].map((id) => ["known", id]));
  const response = await fetch(`${address}?${query}`, { headers: { "HX-Request": "true" } });
  return response.ok ? await response.text() : null;
}

function tell() {
  const { dataset } = document.documentElement;
  dataset.ahead = regions.length;
  dataset.isFetchingAhead = isFetching;
}
