"""The figures of the leaderboard: what each table is called, and what it means."""

from typing import Any

from app.phrases import phrase
from app.services.reports.figure import Column, Figure
from app.services.reports.leaderboard import LEADERBOARD

LOW = Column("low", phrase("From"), "number")
HIGH = Column("high", phrase("To"), "number")

LEADERBOARD_FIGURES: tuple[Figure[Any], ...] = (
    Figure(
        report=LEADERBOARD,
        name="leaderboard",
        title=phrase("Leaderboard"),
        meaning=phrase(
            "Who writes what people prefer, by judgements between two writers in tasks that chance chose: ratings in"
            " points, 400 of which are odds of ten to one, around 1,000, each with the interval in which it lies with a"
            " probability of 95 %. Who can’t be told apart shares a rank. Controlled: as if all responses were of one"
            " length and style and on one side."
        ),
        columns=(
            Column("rank", phrase("Rank"), "count"),
            Column("kind", phrase("Writer"), "word"),
            Column("name", phrase("Name"), "text"),
            Column("rating", phrase("Rating"), "number"),
            LOW,
            HIGH,
            Column("controlled_rank", phrase("Rank, controlled"), "count"),
            Column("controlled", phrase("Rating, controlled"), "number"),
            Column("controlled_low", phrase("From"), "number"),
            Column("controlled_high", phrase("To"), "number"),
            Column("votes", phrase("Votes"), "count"),
            Column("prompts", phrase("Prompts"), "count"),
        ),
        rows=lambda board: board.entries,
    ),
    Figure(
        report=LEADERBOARD,
        name="leaderboard-weights",
        title=phrase("What moves votes beside the writer"),
        meaning=phrase("By how many points of rating a response gains with people for each, whoever wrote it."),
        columns=(
            Column("name", phrase("What"), "word"),
            Column("points", phrase("Points"), "number"),
            LOW,
            HIGH,
        ),
        rows=lambda board: board.weights,
    ),
)
