"""What the database knows to be published, wherever it lies."""

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, ModelVersion
from app.services.published.thing import Published, of_dataset, of_model


async def things(db: AsyncSession, project_id: int | None = None) -> list[Published]:
    """Models and dataset versions that have their files, of a project or of all."""

    def is_of(table: type[ModelVersion | DatasetVersion]) -> ColumnElement[bool]:
        return true() if project_id is None else table.project_id == project_id

    models = select(ModelVersion.folder, ModelVersion.manifest_sha256).where(is_of(ModelVersion))
    versions = select(DatasetVersion.path, DatasetVersion.sha256).where(
        is_of(DatasetVersion), DatasetVersion.file_removed_at.is_(None)
    )
    return [
        *(of_model(*row) for row in await db.execute(models.order_by(ModelVersion.id))),
        *(of_dataset(*row) for row in await db.execute(versions.order_by(DatasetVersion.id))),
    ]
