"""The reports that there are, and their figures, by name."""

from collections.abc import Mapping
from typing import Any

from app.errors import NotFound
from app.services.reports.agreement import AGREEMENT
from app.services.reports.agreement_figures import AGREEMENT_FIGURES
from app.services.reports.annotators import ANNOTATORS
from app.services.reports.annotators_figures import ANNOTATORS_FIGURES
from app.services.reports.comparison import COMPARISON, comparison
from app.services.reports.conduct import CONDUCT
from app.services.reports.dashboard import DASHBOARD
from app.services.reports.dashboard_figures import DASHBOARD_FIGURES
from app.services.reports.figure import Figure
from app.services.reports.gold import GOLD
from app.services.reports.judges import JUDGES
from app.services.reports.judges_figures import JUDGES_FIGURES
from app.services.reports.leaderboard import LEADERBOARD
from app.services.reports.leaderboard_figures import LEADERBOARD_FIGURES
from app.services.reports.loop import LOOP
from app.services.reports.loop_figures import LOOP_FIGURES
from app.services.reports.overview import OVERVIEW
from app.services.reports.report import Report
from app.services.reports.reward_model_figures import REWARD_MODEL_FIGURES
from app.services.reports.reward_models import REWARD_MODELS

REPORTS: dict[str, Report[Any]] = {
    report.name: report
    for report in (
        *(OVERVIEW, CONDUCT, DASHBOARD, AGREEMENT, ANNOTATORS),
        *(LEADERBOARD, REWARD_MODELS, LOOP, JUDGES, GOLD),
    )
}
FIGURES: Mapping[str, Figure[Any]] = {
    figure.name: figure
    for figure in (
        *(*DASHBOARD_FIGURES, *AGREEMENT_FIGURES, *ANNOTATORS_FIGURES, *LEADERBOARD_FIGURES),
        *(*REWARD_MODEL_FIGURES, *LOOP_FIGURES, *JUDGES_FIGURES),
    )
}


def report_named(name: str) -> Report[Any]:
    """Raises KeyError for what this version of Plumbline doesn't compute."""
    kind, *numbers = name.split(":")
    if kind == COMPARISON:
        before_id, after_id = map(int, numbers)
        return comparison(before_id, after_id)
    return REPORTS[name]


def figure_named(name: str) -> Figure[Any]:
    """Raises NotFound."""
    if name not in FIGURES:
        raise NotFound
    return FIGURES[name]
