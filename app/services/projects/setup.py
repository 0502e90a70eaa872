"""Setting up a new project, step by step. The project is there from the first one, so that the others can wait."""

from collections.abc import Callable
from typing import get_args

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.db.tables.projects import SetupStep
from app.errors import Forbidden, Invalid
from app.security import Principal
from app.services.projects import addresses, projects, question
from app.services.projects.templates import TEMPLATES
from app.settings import ProjectCreation

STEPS: tuple[SetupStep, ...] = get_args(SetupStep)

Translate = Callable[[str], str]


def may_begin(actor: Principal, creation: ProjectCreation) -> bool:
    """Whether `actor` may make projects, by the installation's setting."""
    return actor.is_admin or creation == "everybody"


async def begin(
    db: AsyncSession,
    actor: Principal,
    creation: ProjectCreation,
    *,
    name: str,
    template: str,
    slug: str = "",
    description: str = "",
    translate: Translate = str,
) -> Project:
    """A new project of `actor`, filled in from a template in the language of `translate`.

    Without `slug` it gets one from its name. Raises Forbidden, Invalid, and Conflict for a slug that is taken.
    """
    if not may_begin(actor, creation):
        raise Forbidden("Only admins of this site may make projects here.")
    found = TEMPLATES.get(template)
    if found is None:
        raise Invalid("There is no template %(name)s.", name=template)
    project = await projects.create(
        db,
        slug=slug.strip() or await addresses.free(db, name),
        name=name,
        owner_id=actor.user_id,
        description=description.strip(),
        guidelines=translate(found.guidelines),
        overlap=found.overlap,
    )
    asked = question.checked({**found.question, "criteria": [translate(name) for name in found.criteria]})
    project.question = asked.to_json()
    project.round_settings = found.round_settings
    project.setup_step = STEPS[0]
    await db.flush()
    return project


def go_on(project: Project, step: SetupStep) -> SetupStep | None:
    """The step after `step`, None after the last; the project stands there now, unless it is further already.

    Steps before it that were passed over keep what the template has filled in.
    """
    following = STEPS[STEPS.index(step) + 1] if step != STEPS[-1] else None
    if project.setup_step in STEPS[: STEPS.index(step) + 1]:
        project.setup_step = following
    return following
