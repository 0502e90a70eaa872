"""A file taken into a project, as the command line does it, in the test's own transaction."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, Project
from app.services.data.imports.formats import registry
from app.services.data.imports.sources.source import Source
from app.services.data.storing import imports, loads
from app.services.data.storing.loads import Counts, Reading


class Nobody:
    def tell(self, done: int, total: int, phase: str) -> None:
        return

    def require_wanted(self) -> None:
        return


async def import_file(
    db: AsyncSession,
    project: Project,
    file: Path,
    *,
    schema: str = "hh-rlhf",
    only_check: bool = False,
    **options: object,
) -> Counts:
    """`options` are those of imports; bad rows are told beside the file."""
    with Source.open(file) as source:
        form = registry.named(schema)
        assert form is not None
        columns = imports.columns_of(form, registry.recognise(source.sample(50)).columns, None)
        bad_rows = file.with_suffix(".bad.csv")
        reading = Reading(source, form, columns, imports.options_of(options), bad_rows)
        import_ = Import(project_id=project.id, file_name=source.called, folder="imports/test")
        db.add(import_)
        await db.flush()
        work = loads.check if only_check else loads.load
        return await work(db, project, import_, reading, Nobody())
