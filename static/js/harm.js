// Which responses are safe, and which is less harmful. Of two of which one is safe that follows, and nothing else can be said.

const radios = (name) => [...document.querySelectorAll(`#pair .harm [name^=${name}]`)];
const isSaid = (name) => radios(name).some((radio) => radio.checked);
const isSafe = (name) => radios(name).some((radio) => radio.checked && radio.value === "yes");

export function isHarmSaid() {
  return !radios("safe_").length || ["safe_a", "safe_b", "less_harmful"].every(isSaid);
}

export function arriveAtHarm() {
  if (radios("safe_").some((radio) => radio.disabled)) return; // to be read only
  const isSettled = isSaid("safe_a") && isSaid("safe_b") && isSafe("safe_a") !== isSafe("safe_b");
  for (const radio of radios("less_harmful")) {
    const isSafer = radio.value === (isSafe("safe_a") ? "a" : "b");
    // What followed from other answers was never said.
    if (isSettled || radio.dataset.followed) radio.checked = isSettled && isSafer;
    radio.disabled = isSettled && !isSafer;
    radio.dataset.followed = isSettled ? "true" : "";
  }
}

document.addEventListener("change", ({ target }) => target.matches("#pair .harm [name^=safe_]") && arriveAtHarm());
