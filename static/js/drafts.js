// What was filled in and not yet handed over outlives a reload, a sign-in and a closed tab: a draft of each task, the last few.

import { keep } from "./shelf.js";

const SHELF = "drafts";
const KEPT = 20;
const OF_THE_PAGE = [
  ...["idempotency_key", "replaces", "client_version", "answer_type", "size"],
  ...["first_action_ms", "active_ms", "visits", "hurried"],
];

const drafts = () => JSON.parse(localStorage.getItem(SHELF) ?? "[]");
const address = (form) => form.getAttribute("action");

// As many as the browser has room for.
function keepLast(entries) {
  if (keep(SHELF, JSON.stringify(entries.slice(-KEPT))) || keep(SHELF, JSON.stringify(entries.slice(-1)))) return;
  localStorage.removeItem(SHELF);
}

// What a person says in the form, as name and value.
export function saidIn(form) {
  return [...new FormData(form).entries()].filter(([name]) => !OF_THE_PAGE.includes(name));
}

export function keepDraft(form) {
  keepLast([...drafts().filter(([url]) => url !== address(form)), [address(form), saidIn(form)]]);
}

export function forgetDraft(form) {
  keepLast(drafts().filter(([url]) => url !== address(form)));
}

export function restoreDraft(form) {
  const [, said] = drafts().find(([url]) => url === address(form)) ?? [];
  for (const [name, value] of said ?? []) {
    const controls = [...form.elements].filter((control) => control.name === name);
    for (const control of controls) {
      if (control.type === "radio" || control.type === "checkbox") control.checked ||= control.value === value;
      else control.value = value;
    }
  }
}
