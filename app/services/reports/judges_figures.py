"""The figure of judges that are models: a row for each."""

from dataclasses import dataclass
from typing import Any

from app.phrases import phrase
from app.services.judging.machines.calibration import Share
from app.services.reports.figure import Column, Figure
from app.services.reports.judges import JUDGES, Entry


@dataclass(frozen=True)
class _Row:
    name: str
    answered: int
    abstained: int
    shared: int
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    flips: float | None
    first_side: float | None
    log_loss: float | None
    weight: float
    is_calibrated: bool
    tokens: int


def _row(entry: Entry) -> _Row:
    found = entry.measured
    return _Row(
        entry.name,
        found.answered,
        found.abstained,
        found.shared,
        _share(found.agreement),
        found.agreement.low if found.agreement else None,
        found.agreement.high if found.agreement else None,
        _share(found.flips),
        _share(found.first_side),
        found.log_loss,
        found.weight,
        found.is_calibrated,
        found.tokens,
    )


def _share(found: Share | None) -> float | None:
    return found.share if found else None


JUDGES_FIGURES: tuple[Figure[Any], ...] = (
    Figure(
        report=JUDGES,
        name="judges",
        title=phrase("Judges that are models"),
        meaning=phrase(
            "How often each takes the side that most people took, on pairs that people judged, too, with the interval"
            " in which that lies with a probability of 95 %; how often it contradicts itself when the order is turned;"
            " the share of its replies that name what is shown first; its loss in nats after a fitted temperature,"
            " beside 0.69 for a coin; and what its judgements weigh in training, beside 1 for a person’s."
        ),
        columns=(
            Column("name", phrase("Name"), "text"),
            Column("answered", phrase("Pairs judged"), "count"),
            Column("abstained", phrase("Pairs with a reply that can’t be read"), "count"),
            Column("shared", phrase("Pairs that people judged, too"), "count"),
            Column("agreement", phrase("Agrees with people"), "share"),
            Column("agreement_low", phrase("From"), "share"),
            Column("agreement_high", phrase("To"), "share"),
            Column("flips", phrase("Contradicts itself"), "share"),
            Column("first_side", phrase("Prefers what is shown first"), "share"),
            Column("log_loss", phrase("Log-loss, nats"), "number"),
            Column("weight", phrase("Weight in training"), "number"),
            Column("is_calibrated", phrase("Calibrated"), "yes"),
            Column("tokens", phrase("Tokens used"), "count"),
        ),
        rows=lambda judges: [_row(entry) for entry in judges.entries],
    ),
)
