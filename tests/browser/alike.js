// Takes away what looks like something else on a page of more than so many elements, and puts it back:
// `alike.takeAway(most)`, `alike.putBack()`.
//
// Two elements look alike if they have the same tag and attributes, are made of the same kinds of things, stand in parents
// that are painted alike, and both first, last, at an odd or at an even place among their siblings.
const TOLD = ["class", "style", "role", "type"];
const STATES = ["", "true", "false"];

const attribute = ({ name, value }) => `${name}=${TOLD.includes(name) || STATES.includes(value) ? value : "…"}`;

const kindOf = (node, kinds) => {
  if (node.nodeType === Node.TEXT_NODE) return node.data.trim() ? "…" : "";
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  const parts = new Set([...node.childNodes].map((child) => kindOf(child, kinds)));
  const kind = `<${node.localName} ${[...node.attributes].map(attribute).sort()}>${[...parts].sort().join("")}</>`;
  kinds.set(node, kind);
  return kind;
};

const placeOf = (number, siblings) => {
  if (number === 0) return "first";
  return number === siblings.length - 1 ? "last" : number % 2;
};

// Attributes by which one thing names another.
const BY_ID = [
  ...["for", "headers", "list", "form"],
  ...["labelledby", "describedby", "details", "controls", "owns", "activedescendant"].map((name) => `aria-${name}`),
];

const idsNamedBy = (element) => BY_ID.flatMap((name) => element.getAttribute(name)?.split(/\s+/) ?? []);

const namedIds = () =>
  new Set([...document.querySelectorAll(BY_ID.map((name) => `[${name}]`).join())].flatMap(idsNamedBy));

// By something else on the page, which names it or is labelled by it, or by whoever is in it.
const isNeeded = (element, named) =>
  element.contains(document.activeElement) ||
  [element, ...element.querySelectorAll("label, [id]")].some(
    (part) => named.has(part.id) || (part.control && !element.contains(part.control)),
  );

// Named by what is in them: without a part of it they would be other things.
const WHOLE = "a, button, summary, label, legend, caption, th, option, h1, h2, h3, h4, h5, h6";

const alikeIn = (parent, path, kinds, seen, named) =>
  [...parent.children].flatMap((child, number, siblings) => {
    const here = `${path} ${child.localName} ${child.className} ${placeOf(number, siblings)}`;
    const looks = `${here} ${kinds.get(child)}`;
    if (seen.has(looks) && !isNeeded(child, named)) return [child];
    seen.add(looks);
    return child.matches(WHOLE) ? [] : alikeIn(child, here, kinds, seen, named);
  });

let places = [];

window.alike = {
  takeAway(most) {
    if (document.body.querySelectorAll("*").length <= most) return;
    const kinds = new Map();
    kindOf(document.body, kinds);
    places = alikeIn(document.body, "", kinds, new Set(), namedIds()).map((element) => [
      element,
      element.parentNode,
      element.nextSibling,
    ]);
    for (const [element] of places) element.remove();
  },
  putBack() {
    for (const [element, parent, next] of places.reverse()) parent.insertBefore(element, next);
    places = [];
  },
};
