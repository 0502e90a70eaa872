// Panes that scroll together, in proportion to their lengths. A switch; remembered.

import { keep } from "./shelf.js";

const SHELF = "linked-scrolling";
const control = document.getElementById("linked");
const placed = new WeakMap(); // where a pane was put by another: the event that follows is no wish of its reader

control.checked = localStorage.getItem(SHELF) === "on";
control.addEventListener("change", () => keep(SHELF, control.checked ? "on" : "off"));

const room = (pane) => pane.scrollHeight - pane.clientHeight;

document.addEventListener(
  "scroll",
  ({ target: leader }) => {
    if (!control.checked || leader === document || !leader.matches("#pair .pane-scroll")) return;
    const wasPlaced = placed.get(leader) === leader.scrollTop;
    placed.delete(leader);
    if (wasPlaced || room(leader) <= 0) return;
    for (const pane of document.querySelectorAll("#pair .pane-scroll")) {
      if (pane !== leader) put(pane, (leader.scrollTop / room(leader)) * room(pane));
    }
  },
  { capture: true, passive: true },
);

function put(pane, top) {
  const before = pane.scrollTop;
  pane.scrollTop = top;
  if (pane.scrollTop !== before) placed.set(pane, pane.scrollTop);
}
