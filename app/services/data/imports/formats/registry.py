"""The formats that there are. A new one is a file beside this one and a row here: page, API and command line offer what
they find."""

from collections.abc import Sequence

from app.services.data.imports.formats import (
    alpaca,
    arena,
    argilla,
    demonstrations,
    helpsteer,
    hh_rlhf,
    label_studio,
    oasst,
    openai,
    plumbline,
    preferences,
    prompts,
    rankings,
    responses,
    safe_rlhf,
    sharegpt,
    ultrafeedback,
    unpaired,
)
from app.services.data.imports.formats.format import Fit, Format, Recognition
from app.services.data.imports.rows import Raw

# The more particular before the more general: of two that a file may be of, the first one is proposed.
FORMATS: tuple[Format, ...] = (
    plumbline.JUDGEMENTS,
    plumbline.LOSSLESS,
    plumbline.RAW_PREFERENCES,
    label_studio.FORMAT,
    argilla.FORMAT,
    hh_rlhf.FORMAT,
    hh_rlhf.PROMPTED,
    arena.FORMAT,
    arena.TABLE,
    openai.FORMAT,
    safe_rlhf.FORMAT,
    helpsteer.HELPSTEER3,
    helpsteer.HELPSTEER2,
    ultrafeedback.FORMAT,
    oasst.TREES,
    oasst.MESSAGES,
    sharegpt.RANKED,
    sharegpt.TAGGED,
    sharegpt.PLAIN,
    alpaca.RANKED,
    alpaca.TWO_OUTPUTS,
    alpaca.PLAIN,
    preferences.FORMAT,
    unpaired.FORMAT,
    rankings.FORMAT,
    rankings.SCORED,
    responses.JUDGED,
    responses.FORMAT,
    demonstrations.FORMAT,
    prompts.CONVERSATIONS,
    prompts.PROMPTS,
)


def named(name: str) -> Format | None:
    """The format of that name."""
    return next((form for form in FORMATS if form.name == name), None)


def recognise(sample: Sequence[Raw]) -> Recognition:
    """Which formats a file may be of, by its first rows."""
    columns = tuple(dict.fromkeys(column for raw in sample for column in raw if _is_text(column)))
    fits = [fit for form in FORMATS if (fit := _fit(form, columns, sample)) is not None]
    # Stable: of those that most rows are meant for, the more particular stays first.
    fits.sort(key=lambda fit: 2 * fit.count <= len(sample))
    return Recognition(len(sample), columns, tuple(fits))


def _is_text(column: str) -> bool:
    """Whether a column can be shown and chosen: no half a surrogate pair is in its name, and no NUL."""
    return "\0" not in column and column.encode(errors="replace").decode() == column


def _fit(form: Format, present: Sequence[str], sample: Sequence[Raw]) -> Fit | None:
    columns = form.columns(present)
    if columns is None:
        return None
    count = sum(form.claims(raw, columns) for raw in sample)
    if not count:
        return None
    read = set(columns.values())
    return Fit(form, columns, count, tuple(column for column in present if column not in read))
