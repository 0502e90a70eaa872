"""Alpaca: {"instruction", "input", "output"}, with earlier turns in "history"; ranked, with "chosen" and "rejected" or
two outputs of which the first is better."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, about, pair
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import list_of, response_of, text_of, value_in, whole_prompt
from app.services.data.imports.rows import Demonstration, ImportedRow, Raw, RowError, Turn

INSTRUCTION = Field("instruction", phrase("Instruction"), "instruction", required=True)
INPUT = Field("input", phrase("What the instruction is about"), "input", others=("context",))
HISTORY = Field("history", phrase("Earlier turns"), "history")


def parse_plain(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["output"]
    response = Demonstration(response_of(raw.get(name), name))
    return (about(ImportedRow(line, _prompt(raw, columns), demonstrations=(response,)), raw, columns),)


def parse_ranked(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    names = columns["chosen"], columns["rejected"]
    chosen, rejected = (response_of(raw.get(name), name) for name in names)
    return (about(pair(line, _prompt(raw, columns), chosen, rejected), raw, columns),)


def parse_two_outputs(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["output"]
    outputs = list_of(raw.get(name), name)
    if len(outputs) != 2:
        raise RowError(name, f"has {len(outputs)} outputs where the better and the worse one should be")
    chosen, rejected = (response_of(output, name) for output in outputs)
    return (about(pair(line, _prompt(raw, columns), chosen, rejected), raw, columns),)


def claims_plain(raw: Raw, columns: Columns) -> bool:
    return all(isinstance(raw.get(columns[name]), str) for name in ("instruction", "output"))


def claims_ranked(raw: Raw, columns: Columns) -> bool:
    return all(isinstance(raw.get(columns[name]), str) for name in ("instruction", "chosen", "rejected"))


def claims_two_outputs(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["instruction"]), str) and isinstance(raw.get(columns["output"]), list)


def _prompt(raw: Raw, columns: Columns) -> tuple[Turn, ...]:
    name = columns["instruction"]
    text = text_of(raw.get(name), name)
    about_it = value_in(raw, columns, "input")
    if about_it is not None:
        text = f"{text}\n{text_of(about_it, columns['input'])}"
    turns: list[Turn] = []
    for earlier in list_of(value_in(raw, columns, "history") or [], columns.get("history", "")):
        if not isinstance(earlier, list) or len(earlier) != 2:
            raise RowError(columns["history"], "has an earlier turn that is no pair of texts")
        said, answered = (text_of(part, columns["history"]) for part in earlier)
        turns += [("user", said), ("assistant", answered)]
    return whole_prompt([*turns, ("user", text)], name)


_JOINS = phrase("Nothing; instruction and input become one text, with the end of a line between them.")
PLAIN = Format(
    name="alpaca",
    called=phrase("Alpaca: instruction, input and output"),
    kind="demonstrations",
    fields=(
        INSTRUCTION,
        INPUT,
        Field("output", phrase("Response"), "output", required=True, others=("response",)),
        HISTORY,
        *ABOUT,
    ),
    claims=claims_plain,
    parse=parse_plain,
    strips=_JOINS,
)
RANKED = Format(
    name="alpaca-ranked",
    called=phrase("Alpaca with a better and a worse response"),
    kind="judgements",
    fields=(
        INSTRUCTION,
        INPUT,
        Field("chosen", phrase("Better response"), "chosen", required=True),
        Field("rejected", phrase("Worse response"), "rejected", required=True),
        HISTORY,
        *ABOUT,
    ),
    claims=claims_ranked,
    parse=parse_ranked,
    strips=_JOINS,
)
TWO_OUTPUTS = Format(
    name="alpaca-two-outputs",
    called=phrase("Alpaca with two outputs, the better one first"),
    kind="judgements",
    fields=(INSTRUCTION, INPUT, Field("output", phrase("Both responses"), "output", required=True), HISTORY, *ABOUT),
    claims=claims_two_outputs,
    parse=parse_two_outputs,
    strips=_JOINS,
)
