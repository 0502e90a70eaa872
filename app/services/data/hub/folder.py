"""The folder of a version: README.md, croissant.json, manifest.json and `data/SPLIT.parquet`; and the same as a zip."""

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Project
from app.services.data import manifests
from app.services.data.exports.packing import zip_files
from app.services.data.hub import croissant, readme
from app.services.data.hub.card import card_of
from app.services.data.hub.rows import write_rows
from app.services.data.storing.loads import Watch


@dataclass(frozen=True)
class Folder:
    """How many rows there are by split."""

    name: str
    rows: dict[str, int]


async def write_folder(
    db: AsyncSession, project: Project, version: DatasetVersion, home: Path, folder: Path, watch: Watch | None = None
) -> Folder:
    """Write it all into a folder that is there and empty. Raises ErasedFrom, BrokenDataset."""
    files = await write_rows(db, version, home, folder, watch)
    card = await card_of(db, project, version)
    manifest = await manifests.manifest(db, project, version)
    (folder / "README.md").write_text(readme.readme(card, files), encoding="utf-8")
    _write_json(folder / "croissant.json", croissant.croissant(card, files))
    of_folder = [{"path": file.path, "sha256": file.sha256, "rows": file.rows} for file in files]
    _write_json(folder / "manifest.json", {**manifest, "files": [*manifest["files"], *of_folder]})
    return Folder(readme.name_of(card), {file.split: file.rows for file in files})


async def write_zip(
    db: AsyncSession, project: Project, version: DatasetVersion, home: Path, target: Path, watch: Watch | None = None
) -> Folder:
    """Write the folder, zipped, to `target`: in full or not at all. The same version and project are the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    try:
        with tempfile.TemporaryDirectory(prefix=".folder-", dir=target.parent) as made:
            written = await write_folder(db, project, version, home, Path(made), watch)
            await asyncio.to_thread(_zip, Path(made), draft, written.name)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return written


def _write_json(file: Path, content: Json) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _zip(folder: Path, target: Path, name: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    zip_files({f"{name}/{file.relative_to(folder).as_posix()}": file for file in files}, target)
