"""The admin pages: a seeded project, who owns it, and every kind of page that its owner sees."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.security import Principal
from tests.browser.seed import Seeded, seed


async def arrange(db: AsyncSession, slug: str) -> Seeded:
    seeded = await seed(db, slug=slug, labels=8)
    await db.commit()
    return seeded


def owner(seeded: Seeded) -> Principal:
    return Principal(seeded.owner.id, seeded.owner.name, is_admin=False)


def pages(seeded: Seeded) -> tuple[str, ...]:
    """All but that of a running run, which moves."""
    project = f"/projects/{seeded.project.slug}"
    return (
        "/",
        "/projects",
        project,
        f"{project}/loop",
        f"{project}/rounds/2",
        f"{project}/rounds/3",
        f"{project}/round-settings/ppo",
        f"{project}/question",
        f"{project}/runs",
        f"{project}/runs/{seeded.failed.id}",
        f"{project}/models",
        f"{project}/models/policy/2/card",
        f"{project}/playground",
        f"{project}/playground/{seeded.errand.id}",
        f"{project}/browse/tasks",
        f"{project}/browse/prompts?split=train",
        f"{project}/served-models",
        f"{project}/served-models/comparisons",
        f"{project}/datasets",
        f"{project}/datasets/1",
        f"{project}/datasets/1/exports",
        f"{project}/datasets/compare",
        f"{project}/figures",
        f"{project}/agreement",
        f"{project}/people",
        f"{project}/settings",
        f"{project}/people/{seeded.annotator.id}",
        f"{project}/erase/person/{seeded.annotator.id}",
        f"{project}/webhooks",
        f"{project}/log",
        "/account",
        "/tokens",
        "/api/docs",
    )
