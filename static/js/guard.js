// Answers that come sooner than anybody reads are held and asked for again: once as they are, and again whenever they change. Keys
// that were on their way to the next pair when this one was held change nothing.

const IN_FLIGHT_MS = 1000; // so long after the page has asked, nobody can have read it

export class SpeedGuard {
  #fastestMs;
  #asked = null; // the answer that is being asked for again
  #askedAt = 0;
  #isDisturbed = false;

  constructor(fastestMs) {
    this.#fastestMs = fastestMs;
  }

  get hasAsked() {
    return this.#asked !== null;
  }

  // Whether `answer` is to be asked for again: "first", "still" after a question before it, or "" if it is meant.
  holds(answer, activeMs) {
    const isFirst = !this.hasAsked;
    const isMeant = isFirst ? activeMs >= this.#fastestMs : answer === this.#asked && !this.#isDisturbed;
    if (isMeant) return "";
    this.#asked = answer;
    this.#askedAt = performance.now();
    this.#isDisturbed = false;
    return isFirst ? "first" : "still";
  }

  // Whether a key that would change the answer comes too soon to be about it. The answer is then asked for once more.
  isStray() {
    if (!this.hasAsked || performance.now() - this.#askedAt >= IN_FLIGHT_MS) return false;
    this.#isDisturbed = true;
    return true;
  }
}
