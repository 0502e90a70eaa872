// Passkeys: a form with data-passkey asks its `…/options`, has the device answer, and is then sent like any other. It stays hidden
// where the browser has no passkeys, or knows the site by another address than passkeys are made for.

const forms = [...document.querySelectorAll("form[data-passkey]")].filter(
  (form) => window.PublicKeyCredential && form.dataset.origin === location.origin,
);
let asking = null; // the browser asks its person one thing at a time

for (const form of forms) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(form);
  });
}
if (forms.length) for (const element of document.querySelectorAll("[data-without-passkeys]")) element.hidden = true;

offerInField(forms.find((form) => "inField" in form.dataset));

// A browser that can offers passkeys where the e-mail address is typed, before any button is pressed.
async function offerInField(form) {
  if (form && (await PublicKeyCredential.isConditionalMediationAvailable?.())) answer(form, { mediation: "conditional" });
}

async function answer(form, how = {}) {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  const problem = form.querySelector("[role=alert]");
  problem.textContent = "";
  try {
    const publicKey = await optionsOf(form);
    // What is asked in the field waits for as long as the page is open, and its challenge doesn't.
    if (how.mediation) setTimeout(() => signal.aborted || answer(form, how), publicKey.timeout * 0.9);
    const does = form.dataset.passkey;
    const credential = await navigator.credentials[does]({ publicKey, signal, ...how });
    form.elements.credential.value = JSON.stringify(json(credential));
    form.submit();
  } catch (error) {
    if (signal.aborted || how.mediation) return;
    const { cancelled, known, failed } = form.dataset;
    problem.textContent = { NotAllowedError: cancelled, InvalidStateError: known }[error.name] ?? failed;
    offerInField("inField" in form.dataset && form);
  }
}

async function optionsOf(form) {
  const response = await fetch(`${form.getAttribute("action")}/options`, { method: "POST" });
  if (!response.ok) throw new Error(response.statusText);
  const options = await response.json();
  const parse = `parse${form.dataset.passkey === "create" ? "Creation" : "Request"}OptionsFromJSON`;
  return PublicKeyCredential[parse]?.(options) ?? parsed(options);
}

// What browsers do themselves since 2025.
function parsed({ challenge, user, excludeCredentials = [], allowCredentials = [], ...others }) {
  const named = (one) => ({ ...one, id: bytes(one.id) });
  return {
    ...others,
    challenge: bytes(challenge),
    ...(user && { user: named(user) }),
    excludeCredentials: excludeCredentials.map(named),
    allowCredentials: allowCredentials.map(named),
  };
}

function json(credential) {
  if (credential.toJSON) return credential.toJSON();
  const { id, rawId, type, response } = credential;
  const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const filled = parts.filter((part) => response[part]).map((part) => [part, text(response[part])]);
  return { id, rawId: text(rawId), type, response: Object.fromEntries(filled) };
}

function bytes(base64url) {
  return Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  const base64 = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
