"""An import that came in, with the run that brought it."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, Project, User
from app.services.data.storing.loads import Counts
from app.services.data.storing.options import Options
from tests.browser.seed.runs import hours_ago, make_run


async def make_import(db: AsyncSession, project: Project, owner: User) -> Import:
    counts = Counts(rows=1_204, new=1_190, duplicates=9, bad=5, prompts=1_187, tasks=1_190)
    import_ = Import(
        project_id=project.id,
        state="imported",
        file_name="questions-of-october.csv",
        folder="imports/of-the-seed",
        size_bytes=1_910_233,
        sha256="0" * 64,
        format="responses",
        columns={"prompt": "question"},
        options=Options(skip_bad=True).model_dump(),
        counts=counts.to_json(),
        created_by_id=owner.id,
        created_at=hours_ago(31),
        imported_at=hours_ago(30.9),
    )
    db.add(import_)
    await db.flush()
    run = await make_run(
        db, project, "import", hours=30.95, minutes=0.05, started_by=owner,
        result={"imported_rows": counts.new, "file_rows": counts.rows, "bad_rows": counts.bad},
    )  # fmt: skip
    run.settings = {"import_id": import_.id, "action": "load"}
    import_.run_id = run.id
    await db.flush()
    return import_
