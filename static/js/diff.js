// Which words differ between two texts: the longest common subsequence in linear space (Hirschberg 1975, Comm. ACM 18(6)), and the
// marks that show it.

const MOST_STEPS = 25_000_000; // words of one text times words of the other: about a fifth of a second

// Two lists of [start, end) in which the texts differ; null where they are too long to be compared.
export function differences(one, other) {
  const words = [one, other].map(wordsOf);
  if (words[0].length * words[1].length > MOST_STEPS) return null;
  const [a, b] = numbered(words);
  const common = [new Set(), new Set()];
  align(a, b, (inA, inB) => {
    common[0].add(inA);
    common[1].add(inB);
  });
  return words.map((list, side) => ranges(list, common[side]));
}

// `element` holds one text and nothing else.
export function mark(element, places) {
  const text = element.textContent;
  const parts = [];
  let at = 0;
  for (const [start, end] of places) {
    parts.push(text.slice(at, start), Object.assign(document.createElement("mark"), { textContent: text.slice(start, end) }));
    at = end;
  }
  element.replaceChildren(...parts, text.slice(at));
}

export function unmark(element) {
  element.textContent = element.textContent;
}

// Signs count as words; scripts without spaces are cut as their readers would.
function wordsOf(text) {
  const segments = new Intl.Segmenter(undefined, { granularity: "word" }).segment(text);
  return [...segments].filter(({ segment }) => segment.trim());
}

function numbered(lists) {
  const numbers = new Map();
  const numberOf = ({ segment }) => numbers.get(segment) ?? numbers.set(segment, numbers.size).get(segment);
  return lists.map((list) => Int32Array.from(list, numberOf));
}

function align(a, b, keep, fromA = 0, fromB = 0) {
  const head = a.findIndex((word, index) => word !== b[index]);
  const start = head < 0 ? a.length : head;
  for (let index = 0; index < start; index += 1) keep(fromA + index, fromB + index);
  [a, b, fromA, fromB] = [a.subarray(start), b.subarray(start), fromA + start, fromB + start];
  if (!a.length || !b.length) return;
  if (a.length === 1) {
    const found = b.indexOf(a[0]);
    if (found >= 0) keep(fromA, fromB + found);
    return;
  }
  const middle = a.length >> 1;
  const cut = bestCut(lengths(a.subarray(0, middle), b), lengths(a.slice(middle).reverse(), b.slice().reverse()));
  align(a.subarray(0, middle), b.subarray(0, cut), keep, fromA, fromB);
  align(a.subarray(middle), b.subarray(cut), keep, fromA + middle, fromB + cut);
}

// For every beginning of b, the length of what it has in common with a.
function lengths(a, b) {
  const row = new Int32Array(b.length + 1);
  for (const word of a) {
    let diagonal = 0;
    for (let index = 1; index < row.length; index += 1) {
      const above = row[index];
      row[index] = word === b[index - 1] ? diagonal + 1 : Math.max(above, row[index - 1]);
      diagonal = above;
    }
  }
  return row;
}

function bestCut(before, after) {
  const last = before.length - 1;
  let best = 0;
  for (let cut = 1; cut <= last; cut += 1) {
    if (before[cut] + after[last - cut] > before[best] + after[last - best]) best = cut;
  }
  return best;
}

// Neighbours on a line share a mark, with the space between them.
function ranges(words, common) {
  const found = [];
  words.forEach(({ index, segment, input }, place) => {
    if (common.has(place)) return;
    const end = index + segment.length;
    const isNext = place && !common.has(place - 1) && !/[\t\n]/.test(input.slice(found.at(-1)[1], index));
    if (isNext) found.at(-1)[1] = end;
    else found.push([index, end]);
  });
  return found;
}
