"""The loop as one screen: what rounds asked, learnt and gained, what their gates said, and what comes next."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project, Round
from app.services.loop.asking import asked
from app.services.loop.asking.asked import Asked
from app.services.loop.models import models
from app.services.loop.rounds import label_advice, triggering
from app.services.loop.settings.round_settings import RoundSettings, settings_of, settings_of_round
from app.services.loop.settings.triggers import Signs, TriggerSettings
from app.services.reports import reports, turns
from app.services.reports.loop import LOOP, Loop
from app.services.reports.loop_figures import LOOP_FIGURES
from app.services.reports.turns import Turn
from app.services.selection.rules import RULES
from app.web.locales import said
from app.web.pages.access import Managed, ManagedProject
from app.web.rendering import render
from app.web.serving.deps import Db
from app.web.words import figures, round_view
from app.web.words.reports import NUMBERS, Shown, cell

router = APIRouter(prefix="/projects/{slug}/loop", include_in_schema=False)

ROUNDS_SHOWN = 20
MOST_ROWS = 100
TOPICS_SHOWN = 3


@dataclass(frozen=True)
class Turned:
    """A round as it stands, and as it turned out."""

    view: round_view.RoundView
    turn: Turn
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class NextRound:
    """What the round that chooses pairs now asks, or else the next one; `topics` in words, those it is least sure of
    first."""

    labels: int
    rule: str
    random_share: float
    batch: int
    is_random: bool
    learns: bool
    topics: str

    @classmethod
    def by(cls, settings: RoundSettings, labels: int, known: Loop | None) -> "NextRound":
        chosen = settings.selection
        looks = known.looks[:TOPICS_SHOWN] if known is not None else ()
        return cls(
            labels=labels,
            rule=RULES[chosen.rule].title,
            random_share=chosen.random_share,
            batch=chosen.batch,
            is_random=chosen.rule == "uniform",
            learns=RULES[chosen.rule].learns,
            topics=", ".join(f"{look.topic} (± {figures.share(look.unsure)})" for look in looks),
        )


@dataclass(frozen=True)
class Starts:
    """What starts the next round, and how far that is; `by_itself`: anything but an owner does at all."""

    triggers: TriggerSettings
    by_itself: bool
    signs: Signs | None
    labels: int
    enough_labels: int

    @classmethod
    async def of(cls, db: AsyncSession, project: Project, last: Round | None, known: Loop | None) -> "Starts":
        wanted = settings_of(project).triggers
        return cls(
            triggers=wanted,
            by_itself=project.opens_next_round,
            signs=known.signs if known is not None else None,
            labels=await triggering.new_labels(db, project, last),
            enough_labels=await triggering.enough_labels(db, project, wanted),
        )


@router.get("")
async def show_loop(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what every round asked, learnt and gained, and what the next one will ask."""
    return render.page(request, "loop/show.html", **await _page(managed, db))


@router.get("/state")
async def show_state(request: Request, managed: ManagedProject, db: Db) -> Response:
    """All of the page that moves when a round does or a newer report is written."""
    return render.partial(request, "loop/_state.html", **await _page(managed, db))


async def _page(managed: Managed, db: AsyncSession) -> dict[str, Any]:
    project = managed.project
    latest = await reports.current(db, project, LOOP)
    turned = await _turned(db, project)
    newest = turned[0].view.round if turned else None
    is_asking = newest is not None and newest.status == "active" and newest.step in ("select", "label")
    settings = settings_of_round(newest) if newest is not None and is_asking else settings_of(project)
    labels = newest.label_target if newest is not None and is_asking else settings.label_target
    worth = latest.content.worth if latest.content is not None else None
    return {
        "managed": managed,
        "turned": turned,
        "learnt": next((one for one in turned if one.turn.accuracy is not None), None),
        "all_rounds": turned[0].turn.round if turned else 0,
        "next_round": NextRound.by(settings, labels, latest.content),
        "starts": await Starts.of(db, project, newest, latest.content),
        "policy": await models.promoted(db, project.id),
        "latest": latest,
        "loop_report": latest.content,
        "worth": said(label_advice.worth_said(worth)) if worth is not None else None,
        "shown": {figure.name: Shown(figure, await figure.read(db, latest.content)) for figure in LOOP_FIGURES},
        "cell": cell,
        "number_forms": NUMBERS,
        "most_rows": MOST_ROWS,
    }


async def _turned(db: AsyncSession, project: Project) -> list[Turned]:
    """Newest first, as they are now."""
    newest = select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(ROUNDS_SHOWN)
    entries = list(await db.scalars(newest))
    views = await round_view.views(db, entries)
    by_number = {turn.round: turn for turn in await turns.turns(db, project.id, most=ROUNDS_SHOWN)}
    pairs = await asked.in_rounds(db, [entry.id for entry in entries])
    return [Turned(view, by_number[view.round.number], pairs.get(view.round.id, ())) for view in views]
