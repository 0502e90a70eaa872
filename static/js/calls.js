// Trying a call of the API where it is described: from the form to the answer, and the same for a terminal. The token
// is that of whoever typed it in, and stays in the page's fields.

const MOST_CHARACTERS = 100_000;
const TOLD = [
  ...["content-type", "content-length", "etag", "location", "retry-after", "idempotency-replayed", "deprecation"],
  ...["sunset", "plumbline-version", "x-request-id"],
];
const words = document.getElementById("trial-words").dataset;

for (const trial of document.querySelectorAll(".trial")) trial.hidden = false;

// A token and a project are typed once for all calls.
document.addEventListener("input", ({ target }) => {
  const { shared } = target.dataset;
  if (shared) for (const field of document.querySelectorAll(`[data-shared="${shared}"]`)) field.value = target.value;
  const form = target.closest("form[data-path]");
  if (form) tellCurl(form);
});
document.addEventListener("toggle", ({ target }) => target.matches(".trial[open]") && tellCurl(target.querySelector("form")), true);

// Or it would be there again for whoever goes back to the page.
addEventListener("pagehide", () => {
  for (const field of document.querySelectorAll('[data-shared="token"]')) field.value = "";
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.path) return;
  event.preventDefault();
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  tell(form, "…", [], "");
  try {
    await ask(form);
  } catch {
    tell(form, words.lost, [], "");
  } finally {
    form.ariaBusy = "false";
  }
});

async function ask(form) {
  const { method, url, headers, body } = callOf(form);
  const began = performance.now();
  // Without the session's cookie, which the API doesn't look at anyway.
  const answer = await fetch(url, { method, headers, body, credentials: "omit", cache: "no-store", redirect: "error" });
  const took = Math.round(performance.now() - began);
  const told = TOLD.filter((name) => answer.headers.has(name)).map((name) => [name, answer.headers.get(name)]);
  tell(form, `${answer.status} ${answer.statusText} · ${took} ms`, told, await textOf(answer));
}

function callOf(form) {
  const { method, path, mediaType } = form.dataset;
  const token = form.querySelector('[data-place="token"]').value.trim();
  const headers = { Authorization: `Bearer ${token}`, ...(mediaType && { "Content-Type": mediaType }) };
  const url = new URL(path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(valueOf(form, name))), location.origin);
  for (const { value, dataset } of form.querySelectorAll("[data-name]")) {
    if (value && dataset.place === "query") url.searchParams.append(dataset.name, value);
    if (value && dataset.place === "header") headers[dataset.name] = value;
  }
  const field = form.querySelector('[data-place="body"]');
  return { method, url, headers, body: field?.files ? field.files[0] : field?.value };
}

function valueOf(form, name) {
  return form.querySelector(`[data-place="path"][data-name="${name}"]`).value.trim();
}

// As text, if that can be read: at most so much of it, and nothing of a file.
async function textOf(answer) {
  const type = answer.headers.get("content-type") ?? "";
  if (!answer.body || answer.status === 204) return "";
  if (!/json|^text\//.test(type)) {
    await answer.body.cancel();
    return words.unshown;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.length < MOST_CHARACTERS) {
    const { done, value } = await reader.read();
    if (done) return /[/+]json(;|$)/.test(type) ? JSON.stringify(JSON.parse(text), null, 2) : text;
    text += value;
  }
  await reader.cancel();
  return `${text.slice(0, MOST_CHARACTERS)}\n…`;
}

function tell(form, status, headers, text) {
  form.querySelector(".trial-status").textContent = status;
  const list = form.querySelector(".trial-headers");
  list.replaceChildren(...headers.flatMap(([name, value]) => [made("dt", name), made("dd", value)]));
  list.hidden = headers.length === 0;
  const body = form.querySelector(".trial-body");
  body.textContent = text;
  body.hidden = text === "";
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

// The token is left to the terminal's own variable, so that it is in nobody's history.
function tellCurl(form) {
  const { method, url, headers, body } = callOf(form);
  delete headers.Authorization;
  const parts = ["curl", ...(method === "GET" ? [] : ["-X", method]), '-H "Authorization: Bearer $TOKEN"'];
  for (const [name, value] of Object.entries(headers)) parts.push("-H", quoted(`${name}: ${value}`));
  if (typeof body === "string") parts.push("-d", quoted(body));
  else if (form.querySelector('[type="file"]')) parts.push("--data-binary", quoted(`@${body?.name ?? "FILE"}`));
  const line = [...parts, quoted(url.href)].join(" ");
  form.querySelector(".curl code").textContent = line;
  const copying = form.querySelector(".curl button");
  if (copying.dataset.copy !== line) copying.textContent = words.copyWord;
  copying.dataset.copy = line;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
