"""Projects as a whole: copied, put into the archive and taken out of it, removed for good."""

from sqlalchemy import exists, func, inspect, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Member, Project, Round, Run
from app.errors import Conflict, Forbidden, Invalid, NotFound
from app.security import Principal
from app.services.loop.rounds import rounds
from app.services.loop.runs import runs, starting
from app.services.people import trust
from app.services.projects import addresses, projects, setup
from app.settings import ProjectCreation

EXPORTS_SHOWN = 5
# What a copy has of its own. All other columns of a project are settings.
OWN = {
    "id", "slug", "name", "created_at", "archived_at", "guidelines_version", "setup_step", "removal_asked_at",
}  # fmt: skip


async def copy(
    db: AsyncSession,
    actor: Principal,
    creation: ProjectCreation,
    project: Project,
    *,
    name: str,
    slug: str = "",
    with_prompts: bool = False,
) -> Project:
    """A new project of `actor` with the settings of another, and by a run of its own its prompts, if that is wanted.

    Raises Forbidden, Invalid, Conflict.
    """
    if not setup.may_begin(actor, creation):
        raise Forbidden("Only admins of this site may make projects here.")
    made = await projects.create(
        db, slug=slug.strip() or await addresses.free(db, name), name=name, owner_id=actor.user_id
    )
    for column in inspect(Project).columns:
        if column.key not in OWN and not column.foreign_keys:
            setattr(made, column.key, getattr(project, column.key))
    await db.flush()
    await trust.begin_own(db, actor, made.id)
    if with_prompts:
        await starting.start(db, actor.user_id, made, "copy", inputs={"source_id": project.id})
    return made


async def change_model(db: AsyncSession, project: Project, source: str | None) -> None:
    """Let policies start from another model from here on. Raises Conflict while a run needs the old one."""
    if source == project.policy_source:
        return
    needing = exists().where(
        Run.project_id == project.id, Run.stage.in_(("sft", "adopt")), Run.state.in_(("queued", "running"))
    )
    if await db.scalar(select(needing)):
        raise Conflict("A run works on the model that policies start from: wait for it or cancel it first.")
    project.policy_source = source
    await db.flush()


async def export(db: AsyncSession, actor: Principal, project: Project, *, with_models: bool, with_people: bool) -> Run:
    """Have a worker write the whole project into one file."""
    wanted = {"with_models": with_models, "with_people": with_people}
    return await starting.start(db, actor.user_id, project, "pack", inputs=wanted)


async def exports(db: AsyncSession, project: Project) -> list[Run]:
    """The last exports, newest first."""
    of_project = (Run.project_id == project.id, Run.stage == "pack")
    return list(await db.scalars(select(Run).where(*of_project).order_by(Run.id.desc()).limit(EXPORTS_SHOWN)))


async def exported(db: AsyncSession, project: Project, run_id: int) -> Run:
    """An export of the project that is done. Raises NotFound."""
    run = await db.scalar(
        select(Run).where(Run.id == run_id, Run.project_id == project.id, Run.stage == "pack", Run.state == "succeeded")
    )
    if run is None:
        raise NotFound
    return run


async def archive(db: AsyncSession, project: Project) -> None:
    """Hide the project from everybody but its owners; nothing of it is lost. Raises Conflict while it works."""
    working = exists().where(Run.project_id == project.id, Run.state.in_(("queued", "running")))
    under_way = exists().where(Round.project_id == project.id, Round.status == "active")
    if await db.scalar(select(working | under_way)):
        raise Conflict("A round or a run of this project is under way: cancel it first.")
    project.archived_at = func.now()
    await db.flush()


async def take_out(db: AsyncSession, project: Project) -> None:
    """Bring a project back from the archive."""
    project.archived_at = None
    await db.flush()


async def ask_removal(db: AsyncSession, project: Project, *, name: str) -> None:
    """Remove the project for good: at once from everybody's sight, and by a worker all that it holds.

    `name` is what the person typed. Rounds and runs are cancelled first. Raises Invalid for another name.
    """
    if name.strip() != project.name:
        raise Invalid("Type the name of the project, %(name)s, to delete it.", name=project.name)
    await _stop(db, project)
    projects.put_out_of_sight(project)
    await db.flush()
    await take_up_removals(db)


async def take_up_removals(db: AsyncSession) -> None:
    """Queue the removal of every project that waits for it and whose runs have ended by now."""
    unfinished = exists().where(Run.project_id == Project.id, Run.state.in_(("queued", "running")))
    tried = exists().where(Run.project_id == Project.id, Run.stage == "remove")
    waiting = select(Project).where(Project.removal_asked_at.is_not(None), ~unfinished, ~tried)
    for project in list(await db.scalars(waiting.with_for_update(skip_locked=True))):
        await starting.start(db, None, project, "remove")


async def stuck_removals(db: AsyncSession, actor: Principal) -> list[tuple[Project, Run]]:
    """Projects of which `actor` is an owner whose removal was given up, each with the run that says why."""
    owned = exists().where(Member.project_id == Project.id, Member.user_id == actor.user_id, Member.role == "owner")
    found = (
        select(Project, Run)
        .join(Run, Run.project_id == Project.id)
        .where(Project.removal_asked_at.is_not(None), Run.stage == "remove", Run.state == "failed")
        .where(true() if actor.is_admin else owned)
        .order_by(Project.name, Project.id)
    )
    return [(project, run) for project, run in await db.execute(found)]


async def retry_removal(db: AsyncSession, actor: Principal, slug: str) -> None:
    """Have a worker try again to remove a project of `actor`. Raises NotFound for one whose removal isn't stuck."""
    for project, run in await stuck_removals(db, actor):
        if project.slug == slug:
            await runs.retry(db, None, run)
            return
    raise NotFound


async def _stop(db: AsyncSession, project: Project) -> None:
    """End rounds and runs; a run that works ends at its next checkpoint."""
    active = select(Round).where(Round.project_id == project.id, Round.status == "active")
    for round_ in list(await db.scalars(active)):
        await rounds.cancel(db, None, round_)
    unfinished = select(Run).where(Run.project_id == project.id, Run.state.in_(("queued", "running")))
    for run in list(await db.scalars(unfinished)):
        try:
            await runs.request_cancel(db, None, run)
        except Conflict:
            continue  # it ended by itself in this moment
