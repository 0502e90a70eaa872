"""TRL's unpaired schema: {"prompt", "completion", "label"}: one response, and whether it is desirable."""

from collections.abc import Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import ABOUT, SAID_BY, about, said_by
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.preferences import PROMPT
from app.services.data.imports.formats.values import (
    prompt_of,
    response_of,
    truth_of,
    turns_of,
    value_in,
    whole_prompt,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement


def parse(raws: Sequence[Raw], columns: Columns, line: int) -> tuple[ImportedRow, ...]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    name = columns["completion"]
    given, completion = value_in(raw, columns, "prompt"), raw.get(name)
    if isinstance(completion, list) and (given is None or len(completion) > 1):
        turns = turns_of(completion, name)
        if not turns or turns[-1][0] != "assistant":
            raise RowError(name, f"does not end with a response of the assistant in {name!r}")
        *before, last = turns
        shown = () if given is None else prompt_of(given, columns["prompt"])
        prompt, completion = whole_prompt((*shown, *before), name), last[1]
    else:
        prompt = prompt_of(given, columns.get("prompt", "prompt"))
    desirable = truth_of(raw.get(columns["label"]), columns["label"])
    responses = (Response(response_of(completion, name)),)
    row = ImportedRow(line, prompt, responses, (Statement((None,), acceptable=(desirable,)),))
    return (said_by(about(row, raw, columns), raw, columns),)


def claims(raw: Raw, columns: Columns) -> bool:
    return isinstance(raw.get(columns["label"]), bool | int | float | str) and bool(raw.get(columns["completion"]))


FORMAT = Format(
    name="unpaired",
    called=phrase("Single responses that are good or not (TRL unpaired, KTO, OpenRLHF)"),
    kind="judgements",
    fields=(
        PROMPT,
        Field("completion", phrase("Response"), "completion", required=True, others=("response", "output", "answer")),
        Field(
            "label", phrase("Whether it is good"), "label", required=True, others=("desirable", "kto_tag", "thumbs_up")
        ),
        SAID_BY,
        *ABOUT,
    ),
    claims=claims,
    parse=parse,
)
