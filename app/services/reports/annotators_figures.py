"""The figures of annotators: what each table is called, and what it means."""

from typing import Any

from app.phrases import phrase
from app.services.reports.annotators import ANNOTATORS
from app.services.reports.figure import Column, Figure

ANNOTATORS_FIGURES: tuple[Figure[Any], ...] = (
    Figure(
        report=ANNOTATORS,
        name="annotators",
        title=phrase("How far people can be relied on"),
        meaning=phrase(
            "Reliability is how often somebody says what is true, as far as gold and what everybody said of similar"
            " pairs can tell, with its interval; agreement is the same without gold. Side A is what they press where"
            " nothing else decides. Drift is what the second half of their judgements gained over the first. Who"
            " disagrees and passes the checks is different, and not unreliable."
        ),
        columns=(
            Column("user_id", phrase("Name"), "person"),
            Column("verdict", phrase("Verdict"), "word"),
            Column("votes", phrase("Pairs judged"), "count"),
            Column("reliability", phrase("Reliability"), "share"),
            Column("reliability_low", phrase("From"), "share"),
            Column("reliability_high", phrase("To"), "share"),
            Column("agreement", phrase("Agreement with the others"), "share"),
            Column("side", phrase("Side A"), "share"),
            Column("side_low", phrase("From"), "share"),
            Column("side_high", phrase("To"), "share"),
            Column("drift", phrase("Drift"), "number"),
            Column("drift_low", phrase("From"), "number"),
            Column("drift_high", phrase("To"), "number"),
        ),
        rows=lambda known: known.people,
    ),
    Figure(
        report=ANNOTATORS,
        name="annotators-by-group",
        title=phrase("Groups of people"),
        meaning=phrase(
            "How often people of a group say what everybody’s judgements make likely, and how often two people who"
            " judged the same say the same: both of the group, or one of it and one not. Where a group agrees with"
            " itself more than with the others, it sees things differently, and a mean hides that."
        ),
        columns=(
            Column("name", phrase("Group"), "text"),
            Column("people", phrase("People"), "count"),
            Column("different", phrase("Different"), "count"),
            Column("votes", phrase("Pairs judged"), "count"),
            Column("agreement", phrase("Agreement with the others"), "share"),
            Column("within", phrase("Within the group"), "share"),
            Column("across", phrase("With people outside"), "share"),
        ),
        rows=lambda known: known.groups,
    ),
)
