"""Texts to look at: one pair for each shape that the annotator's page must carry well."""

from dataclasses import dataclass

Turn = tuple[str, str]


@dataclass(frozen=True)
class Sample:
    turns: tuple[Turn, ...]
    responses: tuple[str, ...]


PROSE = Sample(
    (("user", "My sourdough comes out dense and a bit gummy inside. What am I doing wrong?"),),
    (
        "Dense and gummy usually means one of three things, and you can tell them apart:\n\n"
        "1. **Underproofed.** The crumb is tight with a few large tunnels. Let the bulk rise go on until the dough has "
        "grown by about half and jiggles when you shake the bowl.\n"
        "2. **A weak starter.** It should double within four to six hours of a feed. If it doesn't, feed "
        "it twice a day "
        "for three days before you bake.\n"
        "3. **Cut too early.** The inside goes on setting for two hours after it leaves the oven, and looks gummy "
        "until then.\n\n"
        "Change one thing per loaf. I'd begin with the proof: it's the cause more often than the other two together.",
        "There are many possible reasons for dense bread. Bread making is an ancient craft and takes a "
        "lot of practice, "
        "so don't be discouraged.\n\n"
        "You could try a different flour, more water, less water, a hotter oven, or a longer bake. Some "
        "people also add "
        "a little commercial yeast. It might be your starter too. Keep experimenting and you will surely find what "
        "works for you. Bread is all about patience.",
    ),
)

CODE_AND_TABLE = Sample(
    (
        ("user", "I have a list of dicts with `name` and `score`. How do I get the best three?"),
        ("assistant", "Do you want ties to be kept, or exactly three rows?"),
        ("user", "Exactly three. And which way is fastest for a million rows?"),
    ),
    (
        "Use `heapq.nlargest`: it keeps only three rows in memory and never sorts the rest.\n\n"
        '```python\nimport heapq\n\nbest = heapq.nlargest(3, rows, key=lambda row: row["score"])\n```\n\n'
        "| Way | Work | A million rows |\n|---|---|---|\n| `sorted(...)[:3]` | n log n | 0.9 s |\n"
        "| `heapq.nlargest` | n log 3 | 0.2 s |\n\n"
        "The cost grows as $n \\log k$ with $k = 3$, so it stays close to one pass over the list.",
        "Sort the list and take the first three:\n\n"
        '```python\nbest = sorted(rows, key=lambda row: row["score"], reverse=True)[:3]\n```\n\n'
        "Sorting is $O(n \\log n)$. For a million rows that's fast enough in practice, and it's the line that "
        "everybody who reads your code will understand.",
    ),
)

SHORT = Sample(
    (("user", "What's the capital of Australia?"),),
    ("Canberra.", "The capital of Australia is Sydney."),
)

LONG = Sample(
    (("user", "Explain how a suspension bridge carries its load, for somebody who liked physics at school."),),
    (
        "\n\n".join(
            (
                "### The deck hangs, the cable pulls",
                "Every car pushes the deck down. The deck can't carry that far by itself, so thin "
                "vertical hangers pass "
                "the weight up to the two main cables every few metres.",
                "### The cable turns weight into tension",
                "A cable can only pull along its own direction. Where it is curved, the two pulls at its "
                "ends don't quite "
                "cancel: what is left over points upwards and carries the hanger. For a deck of even weight $w$ per "
                "metre, span $L$ and sag $d$ the pull in the middle is\n\n$$H = \\frac{w L^2}{8 d}$$",
                "So a flatter cable pulls harder: half the sag, twice the tension. That is why the towers are so tall.",
                "### The towers only stand",
                "At the tower the cable comes in from one side and leaves on the other. If both pull "
                "equally, the tower "
                "feels no sideways force, only weight. It's a column in compression, which stone and steel do well.",
                "### The anchors hold it all",
                "At each end the cable disappears into a block of concrete the size of a house, or into "
                "rock. The block "
                "does nothing but be too heavy to drag.",
                "> Weight goes down the hangers, along the cables, down the towers, and the rest pulls at the anchors.",
            )
        ),
        "A suspension bridge is a kind of bridge in which the deck is hung below suspension cables on vertical "
        "suspenders. "
        * 6
        + "\n\nThe cables are attached to towers. The towers are very strong. The load is transferred from the deck to "
        "the cables, and from the cables to the towers, and from the towers to the ground. " * 3,
    ),
)

SAMPLES = (PROSE, CODE_AND_TABLE, LONG, SHORT)

TEN = [Sample((("user", f"Question {number}?"),), (f"Yes, {number}.", f"No, {number}.")) for number in range(1, 11)]
