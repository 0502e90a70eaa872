"""What a dataset version is exported as, in the test's own transaction."""

import json
from pathlib import Path
from typing import Any

from pyarrow import parquet
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion
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
