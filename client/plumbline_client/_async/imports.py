"""Files and rows into a project."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.runs import AsyncRuns
from plumbline_client.calls import Progress
from plumbline_client.errors import ApiError, RunFailed
from plumbline_client.models import Import, ImportIn, LoadIn

Rows = Iterable[Mapping[str, Any]]


class AsyncImports:
    """`client.imports`."""

    def __init__(self, api: AsyncOperations, runs: AsyncRuns) -> None:
        self._api = api
        self._runs = runs

    def list(self, project: str) -> AsyncPages[Import]:
        """All of a project, newest first."""
        return self._api.list_imports(project)

    async def upload(
        self, project: str, source: str | Path | Rows, *, name: str | None = None, progress: Progress | None = None
    ) -> Import:
        """A file, or rows as one of JSON lines, brought to the site and recognised; nothing else happens to it yet."""
        if isinstance(source, str | Path):
            content: bytes | Path = Path(source)
            name = name or Path(source).name
        else:
            content = "".join(f"{json.dumps(row)}\n" for row in source).encode()
        return await self._api.upload(project, content, name=name or "rows.jsonl", progress=progress)

    async def bring(
        self,
        project: str,
        source: str | Path | Rows,
        *,
        name: str | None = None,
        read_as: ImportIn | None = None,
        skip_bad: bool = False,
        progress: Progress | None = None,
        timeout_seconds: float | None = None,
    ) -> Import:
        """A file or rows, uploaded and stored: all rows that are new, or none where some can't be used, unless those
        are to be skipped. `counts` says what came in. Without `read_as` it is read as the site recognises it.

        Raises RunFailed, whose `bad_rows` says why where rows are to blame, and ApiError: nothing of the file stays on
        the site then. Raises TimeoutError while a worker is at it still.
        """
        import_ = await self.upload(project, source, name=name, progress=progress)
        try:
            await self._store(project, import_.id, read_as, LoadIn(skip_bad=skip_bad), timeout_seconds)
        except (ApiError, RunFailed) as refusal:
            if isinstance(refusal, RunFailed):
                refusal.bad_rows = (await self._api.read_bad_rows(project, import_.id).content()).decode()
            with suppress(ApiError):
                await self._api.discard_import(project, import_.id)
            raise
        return await self._api.read_import(project, import_.id)

    async def undo(self, project: str, import_id: int, *, timeout_seconds: float | None = None) -> Import:
        """Take back all that an import brought, once a worker has. Raises RunFailed, TimeoutError, ApiError."""
        await self._over(await self._api.undo_import(project, import_id), timeout_seconds)
        return await self._api.read_import(project, import_id)

    async def _store(
        self, project: str, import_id: int, read_as: ImportIn | None, how: LoadIn, timeout_seconds: float | None
    ) -> None:
        if read_as is not None:
            await self._over(await self._api.check_import(project, import_id, read_as), timeout_seconds)
        await self._over(await self._api.load_import(project, import_id, how), timeout_seconds)

    async def _over(self, import_: Import, timeout_seconds: float | None) -> None:
        if import_.run_id is not None:
            await self._runs.wait(import_.run_id, timeout_seconds=timeout_seconds)
