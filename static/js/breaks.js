// A break is suggested after so many minutes of work, once.

import { toast } from "./app.js";
import { keep } from "./shelf.js";

const WORKED = "worked";
const REST_MS = 600_000; // so long away from the page is a break

// `workedMs` on the pair that was just handed over; `limitMs` is 0 where nothing is to be suggested.
export function suggestBreak(workedMs, limitMs, words) {
  const now = Date.now();
  const last = JSON.parse(sessionStorage.getItem(WORKED) ?? "null");
  const before = last && now - last.at - workedMs < REST_MS ? last.ms : 0;
  const total = before + workedMs;
  const isDue = limitMs > 0 && total >= limitMs;
  if (isDue) toast(words);
  keep(WORKED, JSON.stringify({ at: now, ms: isDue ? 0 : total }), sessionStorage);
}
