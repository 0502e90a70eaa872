"""Dataset versions: cut, exported, and loaded into what a program works with."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from plumbline_client import frames
from plumbline_client._async.download import AsyncDownload
from plumbline_client._async.ground import apart
from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.runs import AsyncRuns
from plumbline_client.calls import Progress
from plumbline_client.errors import PlumblineError
from plumbline_client.models import CutIn, Dataset

if TYPE_CHECKING:
    import datasets
    import pandas

Format = Literal["jsonl", "parquet", "csv"] | str


class AsyncDatasets:
    """`client.datasets`. `number` is that of a version; None is the newest."""

    def __init__(self, api: AsyncOperations, runs: AsyncRuns) -> None:
        self._api = api
        self._runs = runs

    def list(self, project: str) -> AsyncPages[Dataset]:
        """All of a project, newest first."""
        return self._api.list_datasets(project)

    async def cut(self, project: str, choices: CutIn | None = None, *, timeout_seconds: float | None = None) -> Dataset:
        """A version of all judgements that there are now, once a worker has written it; the newest one where nothing
        has changed since. Raises RunFailed, TimeoutError."""
        run = await self._runs.wait(await self._api.cut(project, choices), timeout_seconds=timeout_seconds)
        return await self._api.read_dataset(project, int((run.result or {})["number"]))

    async def export(self, project: str, number: int | None = None, **asked: Any) -> AsyncDownload:
        """The rows of a version as a file, to `.save(...)`; `asked` is what `client.api.export` takes."""
        return self._api.export(project, number or await self._newest(project), **asked)

    @overload
    async def load(
        self, project: str, number: int | None = None, *, into: Literal["datasets"] = "datasets", **asked: Any
    ) -> "datasets.Dataset": ...

    @overload
    async def load(
        self, project: str, number: int | None = None, *, into: Literal["pandas"], **asked: Any
    ) -> "pandas.DataFrame": ...

    async def load(
        self,
        project: str,
        number: int | None = None,
        *,
        into: frames.Into = "datasets",
        cache: str | Path | None = None,
        progress: Progress | None = None,
        **asked: Any,
    ) -> Any:
        """The rows of a version as a `datasets.Dataset` or a `pandas.DataFrame`; `asked` as for `export`.

        With a folder as `cache`, the file stays there, is fetched once, and a Dataset reads from it; without, all rows
        are held in memory. Raises Missing where the library isn't installed.
        """
        frames.require(into)
        number = number or await self._newest(project)
        if cache is not None:
            Path(cache).mkdir(parents=True, exist_ok=True)
            file = Path(cache) / _name(project, number, asked)
            if not file.exists():
                await self._fetch(project, number, file, progress, asked)
            return await apart(frames.opened, file, into, Path(cache))
        with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
            file = Path(folder) / _name(project, number, asked)
            await self._fetch(project, number, file, progress, asked)
            return await apart(frames.opened, file, into, None)

    async def _fetch(
        self, project: str, number: int, file: Path, progress: Progress | None, asked: dict[str, Any]
    ) -> None:
        download = self._api.export(project, number, format="parquet", **asked)
        await download.save(file, progress=progress)

    async def _newest(self, project: str) -> int:
        async for version in self._api.list_datasets(project):
            if version.kind == "preferences":
                return version.number
        raise PlumblineError(f"{project} has no dataset version yet: cut one, client.datasets.cut({project!r}).")


def _name(project: str, number: int, asked: dict[str, Any]) -> str:
    chosen = "".join(f"-{name}={value}" for name, value in sorted(asked.items()) if value is not None)
    return f"{project}-{number}{chosen}.parquet".replace("/", "_")
