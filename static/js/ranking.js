// Several responses at the keyboard and by drag. What is sent are the radio buttons in the panes; the board shows how they stand.

const $ = (id) => document.getElementById(id);
const panes = () => [...document.querySelectorAll("#pair .pane")];
const isOfSeveral = () => panes().length > 2;

let cursor = 0;

export function arriveAtRanking() {
  cursor = 0;
  if (!isOfSeveral()) return;
  showCursor();
  drawBoard();
}

// Whether the key meant something here. isStray() says whether it comes too soon to change an answer.
export function keyOfRanking(key, isStray) {
  if (!isOfSeveral()) return false;
  if (/^(\d|Backspace)$/.test(key) && isStray()) return true;
  const best = document.querySelectorAll("#pair [name=best]:enabled");
  if (best.length) {
    const chosen = /^[1-9]$/.test(key) ? best[key - 1] : null;
    chosen?.click();
    chosen?.closest(".pane").scrollIntoView({ block: "nearest", inline: "nearest" });
    return Boolean(chosen);
  }
  if (key === "ArrowRight" || key === "ArrowLeft") {
    const towardsEnd = (key === "ArrowRight") === (getComputedStyle(document.body).direction === "ltr");
    moveTo(cursor + (towardsEnd ? 1 : -1));
    return true;
  }
  const rank = key === "0" || key === "Backspace" ? "" : /^[1-9]$/.test(key) ? key : null;
  if (rank === null || !place(panes()[cursor].dataset.letter, rank)) return false;
  if (rank) moveTo(cursor + 1);
  return true;
}

// To be typed anew, from the first pane on.
export function restartRanking() {
  if (isOfSeveral()) moveTo(0);
}

export function saidOfRanking() {
  const by = new Map();
  for (const pane of panes()) {
    const rank = pane.querySelector("[name^=rank_]:checked")?.value;
    if (rank) by.set(Number(rank), [...(by.get(Number(rank)) ?? []), pane.dataset.letter]);
  }
  return [...by.entries()].sort(([a], [b]) => a - b).map(([, letters]) => letters.join(" = ")).join(" > ");
}

export function countRanked() {
  return document.querySelectorAll("#pair [name^=rank_]:checked:not([value=''])").length;
}

function moveTo(index) {
  cursor = Math.max(0, Math.min(panes().length - 1, index));
  showCursor();
}

function showCursor() {
  if (!document.querySelector("#pair .rank")) return;
  panes().forEach((pane, index) => pane.toggleAttribute("data-cursor", index === cursor));
  panes()[cursor].scrollIntoView({ block: "nearest", inline: "nearest" });
}

function place(letter, rank) {
  const radio = document.querySelector(`#pair [name=rank_${letter.toLowerCase()}][value="${rank}"]:enabled`);
  radio?.click();
  return Boolean(radio);
}

document.addEventListener("change", (event) => event.target.name?.startsWith("rank_") && drawBoard());
document.addEventListener("focusin", (event) => {
  const index = panes().indexOf(event.target.closest?.(".pane"));
  if (index >= 0 && isOfSeveral()) {
    cursor = index;
    showCursor();
  }
});

function drawBoard() {
  const board = $("board");
  if (!board) return;
  for (const chip of board.querySelectorAll(".chip")) chip.remove();
  for (const pane of panes()) {
    const rank = pane.querySelector("[name^=rank_]:checked")?.value ?? "";
    const chip = Object.assign(document.createElement("span"), { className: "chip", textContent: pane.dataset.letter });
    chip.dataset.letter = pane.dataset.letter;
    board.querySelector(`[data-rank="${rank}"]`).append(chip);
  }
}

let dragged = null; // the chip under a pressed pointer

document.addEventListener("pointerdown", (event) => {
  const chip = event.target.closest("#board[data-editable='1'] .chip");
  if (!chip || event.button > 0) return;
  event.preventDefault();
  dragged = chip;
  chip.dataset.dragged = "";
  chip.setPointerCapture(event.pointerId);
});
document.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const box = dragged.parentElement.getBoundingClientRect();
  dragged.style.translate = `${event.clientX - box.x - box.width / 2}px ${event.clientY - box.y - box.height / 2}px`;
  const over = slotAt(event);
  for (const slot of document.querySelectorAll("#board .slot")) slot.toggleAttribute("data-over", slot === over);
});
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, (event) => {
    if (!dragged) return;
    const { letter } = dragged.dataset;
    const slot = name === "pointerup" ? slotAt(event) : null;
    dragged = null;
    for (const over of document.querySelectorAll("#board [data-over]")) over.removeAttribute("data-over");
    if (slot) place(letter, slot.dataset.rank);
    drawBoard();
  });
}

function slotAt({ clientX, clientY }) {
  return document.elementsFromPoint(clientX, clientY).find((element) => element.matches("#board .slot")) ?? null;
}
