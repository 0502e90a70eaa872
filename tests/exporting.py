"""What a dataset version is exported as, in the test's own transaction."""

import json
from pathlib import Path
from typing import Any

from pyarrow import parquet
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import DatasetVersion, Project
from app.services.data import datasets
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked


async def exported(db: AsyncSession, version: DatasetVersion, home: Path, **asked: Any) -> list[Any]:
    """The rows of a version, read back from the file; `asked` as in an address."""
    wanted = Asked.model_validate(asked)
    file = home / f"exported.{wanted.suffix}"
    await writing.write(db, version, home, wanted, file)
    if wanted.form == "parquet":
        return list(parquet.read_table(file).to_pylist())
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def held_by_a_cut(sessions: SessionFactory, project: Project, home: Path) -> dict[int, dict[str, Any]]:
    """The rows of a version cut now, which is taken back again: nobody's answer is settled by the test."""
    async with sessions() as db:
        version = await datasets.cut_preferences(db, project, home=home)
        rows = {row["judgement_id"]: row for row in await exported(db, version, home, schema="judgements")}
        await db.rollback()
    return rows
