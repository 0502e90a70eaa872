// What of a pair is in sight: the last turn of its conversation, and on a phone one pane at a time with tabs that follow it.

let observer;

export function arriveAtPanes() {
  observer?.disconnect();
  showLastTurn();
  const panes = document.querySelector(".panes");
  if (!panes) return;
  const seen = new Set();
  observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target) : seen.delete(target);
      const current = [...panes.children].find((pane) => seen.has(pane)); // the first of several
      if (current) lightTab(current.id);
    },
    { root: panes, threshold: 0.6 },
  );
  for (const pane of panes.children) observer.observe(pane);
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
