// How long a pair was looked at: no content, no positions, a few numbers.

const IDLE_MS = 60_000;

export class PairClock {
  #shown = performance.now();
  #active = 0;
  #from = document.hidden ? null : this.#shown;
  #lastAct = this.#shown;
  #first = null;
  #visits = document.hidden ? 0 : 1;
  #visibility = () => (document.hidden ? this.#pause() : this.#resume());

  constructor() {
    document.addEventListener("visibilitychange", this.#visibility);
  }

  // For good: the pair is gone.
  stop() {
    document.removeEventListener("visibilitychange", this.#visibility);
  }

  // Milliseconds from showing the pair to the first key, click or scroll, null before it.
  get firstActionMs() {
    return this.#first;
  }

  // How often the page came to the front with this pair on it.
  get visits() {
    return this.#visits;
  }

  // A key, click or scroll. After a minute without one the clock has stood still.
  act() {
    this.#settle();
    this.#lastAct = performance.now();
    this.#first ??= Math.round(this.#lastAct - this.#shown);
    if (!document.hidden) this.#from ??= this.#lastAct;
  }

  // Milliseconds that the page was visible and its reader not idle.
  activeMs() {
    this.#settle();
    return Math.round(this.#active);
  }

  #settle() {
    if (this.#from === null) return;
    const now = performance.now();
    const idleFrom = this.#lastAct + IDLE_MS;
    this.#active += Math.max(0, Math.min(now, idleFrom) - this.#from);
    this.#from = now < idleFrom ? now : null;
  }

  #pause() {
    this.#settle();
    this.#from = null;
  }

  #resume() {
    this.#visits += 1;
    this.#from = this.#lastAct = performance.now();
  }
}
