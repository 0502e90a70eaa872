// What of a pair is in sight: the last turn of its conversation, and on a phone both responses, or one at a time with tabs that
// follow it.

const panes = () => document.querySelector(".panes");
const seen = new Set(); // the panes that have been in sight since the pair came

let observer;

export function arriveAtPanes() {
  observer?.disconnect();
  sizes.disconnect();
  seen.clear();
  showLastTurn();
  if (!panes()) return;
  const visible = new Set();
  observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        isIntersecting ? visible.add(target) : visible.delete(target);
        if (isIntersecting) seen.add(target);
      }
      const current = [...panes().children].find((pane) => visible.has(pane)); // the first of several
      if (current) lightTab(current.id);
    },
    { root: panes(), threshold: 0.6 },
  );
  for (const pane of panes().children) observer.observe(pane);
  for (const text of panes().querySelectorAll(".pane-scroll > *")) sizes.observe(text);
  fit();
}

// One below the other where both fit, else one at a time.
function fit() {
  if (!panes() || panes().matches(".panes-many")) return;
  panes().classList.remove("swiped");
  const isOneColumn = !getComputedStyle(panes()).gridTemplateColumns.includes(" ");
  panes().classList.toggle("swiped", isOneColumn && panes().scrollHeight > panes().clientHeight + 1);
}

const sizes = new ResizeObserver(() => requestAnimationFrame(fit));
addEventListener("resize", fit);

// Shows the pane that has not been seen yet; whether there was one.
export function showUnseen() {
  const unseen = panes()?.matches(".swiped") && [...panes().children].find((pane) => !seen.has(pane));
  if (unseen) unseen.scrollIntoView({ block: "nearest", inline: "start" });
  return Boolean(unseen);
}

// Where the conversation doesn't fit, what is to be answered is what is seen.
function showLastTurn() {
  const scroll = document.querySelector(".conversation-scroll");
  const turns = scroll?.querySelectorAll(".conversation > .turn") ?? [];
  if (turns.length > 1) scroll.scrollTop = turns[turns.length - 1].offsetTop - turns[0].offsetTop;
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
