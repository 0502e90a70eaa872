"""The figures of the dashboard: what each table is called, what it means, and how it is drawn."""

from app.phrases import phrase
from app.services.reports.dashboard import DASHBOARD
from app.services.reports.figure import Column, Drawing, Figure

DAY = Column("day", phrase("Day (UTC)"), "day")
PERSON = Column("person_id", phrase("Person"), "person")
SIMULATED = Column("is_simulated", phrase("Simulated"), "yes")
JUDGEMENTS = Column("judgements", phrase("Judgements"), "count")
HOURS = Column("hours", phrase("Active hours"), "hours")
MINUTES = Column("median_minutes", phrase("Minutes per label (median)"), "minutes")
COVERED = (
    Column("prompts", phrase("Prompts"), "count"),
    Column("with_tasks", phrase("With a task"), "count"),
    Column("judged", phrase("Judged"), "count"),
)

DASHBOARD_FIGURES = (
    Figure(
        report=DASHBOARD,
        name="judgements-by-day",
        title=phrase("Judgements by day"),
        meaning=phrase(
            "Labels that were given here: what people say now, without what was imported or only checks them."
        ),
        columns=(
            DAY,
            Column("by_people", phrase("By people"), "count"),
            Column("simulated", phrase("Simulated"), "count"),
            Column("annotators", phrase("Annotators"), "count"),
            HOURS,
        ),
        rows=lambda dashboard: dashboard.days,
        drawing=Drawing("day", ("by_people", "simulated"), is_bars=True),
    ),
    Figure(
        report=DASHBOARD,
        name="judgements-by-person",
        title=phrase("Judgements by person"),
        meaning=phrase("The same labels by who gave them. Hours are those in which the page was in front and in use."),
        columns=(
            PERSON,
            SIMULATED,
            JUDGEMENTS,
            Column("last_week", phrase("Last seven days"), "count"),
            Column("active_days", phrase("Days"), "count"),
            HOURS,
            MINUTES,
            Column("last_day", phrase("Last day"), "day"),
        ),
        rows=lambda dashboard: dashboard.workers,
    ),
    Figure(
        report=DASHBOARD,
        name="judgements-by-day-and-person",
        title=phrase("Judgements by day and person"),
        meaning=phrase("The last thirty days, one row for each person and day."),
        columns=(DAY, PERSON, SIMULATED, JUDGEMENTS),
        rows=lambda dashboard: dashboard.worker_days,
    ),
    Figure(
        report=DASHBOARD,
        name="minutes-per-label",
        title=phrase("Minutes per label"),
        meaning=phrase(
            "The median of the time in which a pair was on screen and looked at, over the labels of a day whose time is"
            " known."
        ),
        columns=(DAY, MINUTES, HOURS),
        rows=lambda dashboard: dashboard.days,
        drawing=Drawing("day", ("median_minutes",)),
    ),
    Figure(
        report=DASHBOARD,
        name="agreement-by-week",
        title=phrase("Agreement by week"),
        meaning=phrase(
            "How likely two people who judge the same two responses say the same: which is better, or that neither is."
            " A task counts in the week of its last label; of fewer than ten pairs of labels no share is told."
        ),
        columns=(
            Column("week", phrase("Week from (UTC)"), "day"),
            Column("agreement", phrase("Agreement"), "share"),
            Column("pairs", phrase("Pairs of labels"), "count"),
        ),
        rows=lambda dashboard: dashboard.weeks,
        drawing=Drawing("week", ("agreement",)),
    ),
    Figure(
        report=DASHBOARD,
        name="coverage-by-split",
        title=phrase("Coverage by split"),
        meaning=phrase("Prompts, those with a task for labels that isn’t retired, and those with a label."),
        columns=(Column("of", phrase("Split"), "word"), *COVERED),
        rows=lambda dashboard: dashboard.splits,
    ),
    Figure(
        report=DASHBOARD,
        name="coverage-by-tag",
        title=phrase("Coverage by tag"),
        meaning=phrase("The hundred most frequent tags. A prompt with several tags counts for each."),
        columns=(Column("of", phrase("Tag"), "text"), *COVERED),
        rows=lambda dashboard: dashboard.tags,
    ),
    Figure(
        report=DASHBOARD,
        name="models-by-round",
        title=phrase("Models by round"),
        meaning=phrase(
            "What each round made, what its gate said, and the figures that it went by: agreement with held-out"
            " judgements, how often the reward model prefers a policy over its reference, and in how many tasks people"
            " judged what a policy wrote."
        ),
        columns=(
            Column("round", phrase("Round"), "count"),
            Column("kind", phrase("Kind"), "word"),
            Column("number", phrase("Version"), "count"),
            Column("state", phrase("State"), "word"),
            Column("gate", phrase("Gate"), "word"),
            Column("accuracy", phrase("Agreement"), "share"),
            Column("pairs", phrase("Held-out pairs"), "count"),
            Column("win_rate", phrase("Preferred"), "share"),
            Column("promoted_at", phrase("Promoted"), "moment"),
            Column("judged_tasks", phrase("Tasks judged"), "count"),
        ),
        rows=lambda dashboard: dashboard.versions,
    ),
)
