"""What an owner chooses about rounds, gates and stages: a form for each group, made from the settings themselves."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.db.tables import Project
from app.errors import Invalid
from app.services.loop.models import models
from app.services.loop.settings import settable
from app.services.loop.settings.settable import Group
from app.web.locales import translated
from app.web.pages.access import Managed, ManagedProject, OwnedProject
from app.web.pages.seen import ChangedMeanwhile, digest_of, require_seen
from app.web.rendering import render
from app.web.serving.deps import Db
from app.web.words.fields import fields_of

router = APIRouter(prefix="/projects/{slug}/round-settings", include_in_schema=False)

WHOLE_GROUP = "*"


@router.get("")
async def show_settings(request: Request, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers the settings of the round itself, and where the others are."""
    return await _page(request, managed, db, settable.group_named(settable.ROUND))


@router.get("/{group}")
async def show_group(request: Request, group: str, managed: ManagedProject, db: Db) -> Response:
    """Shows owners and reviewers what holds for the next round or run, in a form that only owners may send."""
    return await _page(request, managed, db, settable.group_named(group))


@router.post("/{group}")
async def change_group(
    request: Request, group: str, managed: ManagedProject, project: OwnedProject, db: Db
) -> Response:
    """Stores what differs from the defaults. What is refused is said above the form, with everything still in it."""
    found = settable.group_named(group)
    typed = await _typed(request)
    here = f"/projects/{project.slug}/round-settings/{group}"
    if "reset" in typed:
        name = typed["reset"][-1]
        settable.reset(project, found, None if name == WHOLE_GROUP else name)
        return render.redirect(f"{here}?saved=true")
    seen = typed.get("seen", [""])[-1]
    try:
        await require_seen(db, project, seen, lambda now: _seen(now, found))
        values = {known.name: settable.read(known, typed.get(known.name, ())) for known in found.settings}
        settable.change(project, found, values)
    except (Invalid, ChangedMeanwhile) as error:
        problem = translated(error)
        return await _page(request, managed, db, found, typed=typed, problem=problem, status_code=error.status)
    await db.flush()
    return render.redirect(f"{here}?saved=true")


def _seen(project: Project, group: Group) -> str:
    return digest_of([(choice.setting.name, choice.value) for choice in settable.choices_of(project, group)])


async def _typed(request: Request) -> dict[str, list[str]]:
    """Every field with all of its values: of several boxes any number may be ticked."""
    form = await request.form()
    return {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in form}


async def _page(
    request: Request,
    managed: Managed,
    db: AsyncSession,
    group: Group,
    *,
    typed: Mapping[str, Sequence[str]] | None = None,
    problem: str | None = None,
    status_code: int = 200,
) -> Response:
    every = settable.every_choice(managed.project, await models.facts_of_policy(db, managed.project.id))
    fields = fields_of(next(choices for known, choices in every if known == group), typed)
    return render.page(
        request,
        "settings/group.html",
        status_code=status_code,
        managed=managed,
        groups=settable.groups(),
        changed={known.name for known, choices in every if any(choice.is_changed for choice in choices)},
        group=group,
        seen=_seen(managed.project, group),
        usual=[field for field in fields if field.is_usual],
        others=[field for field in fields if not field.is_usual],
        problem=problem,
        saved=request.query_params.get("saved") == "true",
        whole_group=WHOLE_GROUP,
    )
