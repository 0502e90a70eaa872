// Live pages. <main data-events="URL" data-run="7"> listens to its project and says `plumbline:changed` on the body whenever
// something may have changed; whoever shows something then reads it again from its own URL. Where a proxy holds the stream
// back, the same is said every few seconds instead.

const POLL_MS = 5000;
const PATIENCE_MS = 8000;

const page = document.querySelector("[data-events]");
if (page) follow(page.dataset.events, number(page.dataset.run), number(page.dataset.errand));

function number(text) {
  return text ? Number(text) : null;
}

function follow(url, run, errand) {
  let source = null;
  let polling = null;
  let silence = null;

  function changed() {
    document.body.dispatchEvent(new CustomEvent("plumbline:changed", { bubbles: true }));
  }

  function poll() {
    polling ??= setInterval(changed, POLL_MS);
    page.dataset.live = "polling";
  }

  function heard() {
    clearTimeout(silence);
    clearInterval(polling);
    polling = null;
    page.dataset.live = "streaming";
  }

  function open() {
    if (source) return;
    source = new EventSource(url);
    silence = setTimeout(poll, PATIENCE_MS);
    source.addEventListener("resync", () => { heard(); changed(); });
    source.addEventListener("changed", (event) => {
      heard();
      const what = JSON.parse(event.data);
      // What a model is writing at this moment concerns the page that shows it, and no other.
      if (what.errand ? what.errand !== errand : errand !== null) return;
      // A page of one run is not concerned with another run's steps.
      if (run === null || what.run === null || what.run === run) changed();
    });
    // The browser tries again by itself, except where it was refused; until then the page polls.
    source.addEventListener("error", poll);
  }

  // A page that nobody looks at gives its connection back: browsers allow few per site.
  function close() {
    source?.close();
    source = null;
    heard();
    page.dataset.live = "paused";
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  if (!document.hidden) open();
}
