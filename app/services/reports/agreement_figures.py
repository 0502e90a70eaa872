"""The figures of agreement: what each table is called, and what it means."""

from typing import Any

from app.phrases import phrase
from app.services.reports.agreement import AGREEMENT
from app.services.reports.figure import Column, Figure

LOW = Column("low", phrase("From"), "number")
HIGH = Column("high", phrase("To"), "number")
TASKS = Column("tasks", phrase("Tasks"), "count")
JUDGEMENTS = Column("judgements", phrase("Judgements"), "count")

AGREEMENT_FIGURES: tuple[Figure[Any], ...] = (
    Figure(
        report=AGREEMENT,
        name="agreement",
        title=phrase("Coefficients"),
        meaning=phrase(
            "How far people prefer the same of two responses, each with the interval in which it lies with a"
            " probability of 95 %, over the tasks that two people judged or more."
        ),
        columns=(
            Column("criterion", phrase("Criterion"), "word"),
            Column("name", phrase("Coefficient"), "word"),
            Column("value", phrase("Value"), "number"),
            LOW,
            HIGH,
            TASKS,
            JUDGEMENTS,
            Column("people", phrase("People"), "count"),
        ),
        rows=lambda agreement: agreement.coefficients,
    ),
    Figure(
        report=AGREEMENT,
        name="agreement-by-pair",
        title=phrase("Pairs of people"),
        meaning=phrase(
            "Those who agree least first, of all who judged ten tasks or more in common. Kappa is agreement beyond"
            " chance, with its interval."
        ),
        columns=(
            Column("first_id", phrase("One"), "person"),
            Column("second_id", phrase("The other"), "person"),
            Column("is_simulated", phrase("Simulated"), "yes"),
            Column("tasks", phrase("Tasks in common"), "count"),
            Column("agreement", phrase("Agreement"), "share"),
            Column("kappa", phrase("Kappa"), "number"),
            LOW,
            HIGH,
        ),
        rows=lambda agreement: agreement.pairs,
    ),
    Figure(
        report=AGREEMENT,
        name="divided-tasks",
        title=phrase("Tasks that divide people"),
        meaning=phrase(
            "The most divided first: of all two people who judged a task the share who said the opposite, where a tie"
            " against a side counts half."
        ),
        columns=(
            Column("task_id", phrase("Task"), "task"),
            Column("division", phrase("Divided"), "share"),
            JUDGEMENTS,
            Column("for_first", phrase("For the first response"), "count"),
            Column("ties", phrase("Ties"), "count"),
            Column("for_second", phrase("For the second response"), "count"),
        ),
        rows=lambda agreement: agreement.tasks,
    ),
)
