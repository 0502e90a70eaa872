// TeX in model text. The server leaves it as text in <span class="tex">; KaTeX is loaded by the first page that has some.

const OPTIONS = { trust: false, throwOnError: false, strict: "ignore", maxExpand: 100, maxSize: 10 };

let loading;

export async function typeset(root) {
  const spans = [...root.querySelectorAll(".tex:not([data-typeset])")];
  if (!spans.length) return;
  await (loading ??= load());
  for (const span of spans) {
    span.dataset.typeset = "";
    span.dataset.source = span.textContent;
    window.katex.render(span.textContent, span, { ...OPTIONS, displayMode: span.dataset.display === "display" });
  }
}

function load() {
  const vendor = new URL("../vendor/katex/", import.meta.url);
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `${vendor}katex.min.css` });
  const script = Object.assign(document.createElement("script"), { src: `${vendor}katex.min.js` });
  const loaded = Promise.all([style, script].map((element) => new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", reject);
  })));
  document.head.append(style, script);
  return loaded;
}
