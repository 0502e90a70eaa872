"""TRL's preference schema: {"prompt", "chosen", "rejected"}, texts or messages; without a prompt it is what both sides
begin with. Our own plain exports are of this schema, and the binarised UltraFeedback, whose sides repeat the prompt."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, SAID_BY, about, pair, said_by
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    prompt_of,
    response_of,
    text_of,
    turns_of,
    value_in,
    whole_prompt,
)
from app.services.data.imports.rows import ImportedRow, Raw, RowError, Turn

PROMPT = Field(
    "prompt",
    phrase("Prompt"),
    "prompt",
    others=("question", "instruction", "input", "context", "query", "context_messages"),
)
CHOSEN = Field("chosen", phrase("Better response"), "chosen", required=True, others=("chosen_response", "preferred"))
REJECTED = Field(
    "rejected", phrase("Worse response"), "rejected", required=True, others=("rejected_response", "dispreferred")
)


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    return (said_by(about(compared(raw, columns, line), raw, columns), raw, columns),)


def compared(raw: Raw, columns: Columns, line: int) -> ImportedRow:
    """The pair, without what is said about its prompt. Raises RowError."""
    given = value_in(raw, columns, "prompt")
    names = columns["chosen"], columns["rejected"]
    chosen, rejected = (raw.get(name) for name in names)
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _of_messages(line, columns, given, chosen, rejected)
    if given is None:
        return _of_texts(line, names, text_of(chosen, names[0]), text_of(rejected, names[1]))
    prompt = prompt_of(given, columns["prompt"])
    return pair(line, prompt, response_of(chosen, names[0]), response_of(rejected, names[1]))


def claims(raw: Raw, columns: Columns) -> bool:
    sides = raw.get(columns["chosen"]), raw.get(columns["rejected"])
    return all(isinstance(side, str | list | dict) for side in sides)


def _of_messages(
    line: int, columns: Columns, given: object, chosen: list[object], rejected: list[object]
) -> ImportedRow:
    names = columns["chosen"], columns["rejected"]
    better, worse = turns_of(chosen, names[0]), turns_of(rejected, names[1])
    for turns, name in ((better, names[0]), (worse, names[1])):
        if not turns or turns[-1][0] != "assistant":
            raise RowError(name, f"does not end with a response of the assistant in {name!r}")
        if not turns[-1][1].strip():
            raise RowError(name, f"has an empty response in {name!r}")
    if better[:-1] != worse[:-1]:
        raise RowError(None, "holds two different conversations: they differ before the last response")
    prompt = whole_prompt(_before(given, columns, better[:-1]), columns.get("prompt", names[0]))
    return pair(line, prompt, better[-1][1], worse[-1][1])


def _before(given: object, columns: Columns, shared: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The prompt, and what both sides begin with, which may repeat it."""
    if given is None:
        return shared
    prompt = prompt_of(given, columns["prompt"])
    if not shared:
        return prompt
    if shared[-len(prompt) :] == prompt:
        return shared
    # A text beside whole conversations is their first turn of the user, as UltraFeedback has it.
    if isinstance(given, str) and next((turn for turn in shared if turn[0] == "user"), None) == prompt[0]:
        return shared
    return prompt + shared


def _of_texts(line: int, names: tuple[str, str], chosen: str, rejected: str) -> ImportedRow:
    """Without a prompt, both sides begin with it; it ends where they begin to differ, before the word."""
    end = next((place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
    end = min(len(chosen), len(rejected)) if end is None else end
    end = max(chosen.rfind(sign, 0, end) for sign in " \n")
    if end <= 0 or not chosen[:end].strip():
        raise RowError(names[0], "has no prompt: both sides begin differently")
    prompt = whole_prompt((("user", chosen[:end]),), names[0])
    return pair(line, prompt, response_of(chosen[end:], names[0]), response_of(rejected[end:], names[1]))


FORMAT = Format(
    name="preference",
    called=phrase("Preferences: a prompt, the better and the worse response (TRL, OpenRLHF, UltraFeedback binarised)"),
    kind="judgements",
    fields=(PROMPT, CHOSEN, REJECTED, SAID_BY, *ABOUT),
    claims=claims,
    parse=parse,
    loses=phrase("Scores and margins of the two sides: how much better one is isn't known on a scale of ours."),
)
