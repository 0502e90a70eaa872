// Buttons that copy a text: `data-copy` is the text, `data-copied` what the button says once it is copied.

for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await copy(button.dataset.copy);
  button.textContent = button.dataset.copied;
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A site without HTTPS has no clipboard, and a browser may refuse it; what is selected can still be copied.
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = text;
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
