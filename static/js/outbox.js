// Answers on their way: each is kept in the browser until the server has said something to it, sent in order and one at a time,
// under a key that makes a second sending harmless. They outlive a reload, a sign-in and a closed tab. They belong to who gave
// them: nobody else who signs in to this browser sends or removes them, and they go out once that person is back.

import { keep } from "./shelf.js";

const SHELF = "outbox";
const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
const TIMEOUT_MS = 15_000;
const COMES_LATER = [408, 425, 429]; // of a server that wants the same again, like any error of its own

export class Outbox {
  #shelf;
  #handlers;
  #isSending = false;
  #failures = 0;
  #retry = 0;
  #unkept = new Map(); // answers that the browser has no room for, by key
  #afterwards = [];

  // answered(item, status, text), trouble(isThere)
  constructor(person, handlers) {
    this.#shelf = `${SHELF}:${person}:`;
    this.#handlers = handlers;
  }

  // Each answer lies under a name of its own, so that two tabs never write over one another's.
  get items() {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(this.#shelf));
    const kept = names.map((name) => JSON.parse(localStorage.getItem(name)));
    return [...kept, ...this.#unkept.values()].sort((one, other) => one.at - other.at);
  }

  get isEmpty() {
    return this.items.length === 0;
  }

  get isInTrouble() {
    return this.#failures > 0 || this.#unkept.size > 0;
  }

  // item: { key, url, body, … }; resolves to nothing: what comes of it is told to the handlers.
  push(item) {
    const last = this.items.at(-1)?.at ?? 0;
    const dated = { ...item, at: Math.max(Date.now(), last + 1) };
    if (!keep(this.#shelf + item.key, JSON.stringify(dated))) this.#unkept.set(item.key, dated);
    this.send();
  }

  // Calls back once everything has been sent.
  afterwards(callback) {
    this.#afterwards.push(callback);
  }

  // Whatever was waiting for its turn takes this one now.
  async send() {
    if (this.#isSending || this.isEmpty) return;
    clearTimeout(this.#retry);
    this.#isSending = true;
    const [item] = this.items;
    const answer = await post(item);
    this.#isSending = false;
    if (!answer || answer.status >= 500 || COMES_LATER.includes(answer.status)) {
      this.#retry = setTimeout(() => this.send(), RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)]);
      this.#failures += 1;
      this.#handlers.trouble(true);
      return;
    }
    if (this.#failures) this.#handlers.trouble(false);
    this.#failures = 0;
    if (answer.status === 401) return this.#handlers.answered(item, 401, "");
    localStorage.removeItem(this.#shelf + item.key);
    this.#unkept.delete(item.key);
    this.#handlers.answered(item, answer.status, answer.text);
    if (this.isEmpty) for (const callback of this.#afterwards.splice(0)) callback();
    this.send();
  }
}

// Null when no answer came, or one of something in between, as of a network that asks to be signed in to: it may have been
// recorded or not.
async function post({ url, body }) {
  try {
    const response = await fetch(url, {
      method: "POST",
      body: new URLSearchParams(body),
      headers: { "HX-Request": "true" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.headers.has("X-Request-ID")) return null;
    return { status: response.status, text: await response.text() };
  } catch {
    return null;
  }
}
