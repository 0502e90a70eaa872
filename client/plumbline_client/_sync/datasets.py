# Made by `make client` from _async/datasets.py.
"""Dataset versions: cut, exported, and loaded into what a program works with."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from plumbline_client import frames
from plumbline_client._sync.download import Download
from plumbline_client._sync.ground import apart
from plumbline_client._sync.operations import Operations
from plumbline_client._sync.pages import Pages
from plumbline_client._sync.runs import Runs
from plumbline_client.calls import Progress
from plumbline_client.errors import Conflict, PlumblineError
from plumbline_client.models import CutIn, Dataset, DatasetExportIn

if TYPE_CHECKING:
    import datasets
    import pandas


class Datasets:
    """`client.datasets`. `number` is that of a version; None is the newest."""

    def __init__(self, api: Operations, runs: Runs) -> None:
        self._api = api
        self._runs = runs

    def list(self, project: str) -> Pages[Dataset]:
        """All of a project, newest first."""
        return self._api.list_datasets(project)

    def cut(self, project: str, choices: CutIn | None = None, *, timeout_seconds: float | None = None) -> Dataset:
        """A version of all judgements that there are now, or demonstrations, once a worker has written it; the newest
        one where nothing has changed since. Raises RunFailed, TimeoutError."""
        run = self._runs.wait(self._api.cut(project, choices), timeout_seconds=timeout_seconds)
        kind = choices.kind if choices else None
        return self._api.read_dataset(project, int((run.result or {})["number"]), kind=kind)

    def export(self, project: str, number: int | None = None, **asked: Any) -> Download:
        """The rows of a version as a file, to `.save(...)`; `asked` is what `client.api.export` takes."""
        return self._api.export(project, number or self._newest(project, asked), **asked)

    def save(
        self,
        project: str,
        to: str | Path,
        number: int | None = None,
        *,
        format: str = "parquet",
        progress: Progress | None = None,
        **asked: Any,
    ) -> Path:
        """Write the rows of a version to a file, which goes on where it broke off; `asked` as for `export`.

        What is too large for the site to make at once is made by a worker first, and waited for. Raises RunFailed,
        ApiError, Unreachable.
        """
        number = number or self._newest(project, asked)
        try:
            return self._api.export(project, number, **{"format": format, **asked}).save(to, progress=progress)
        except Conflict as refused:
            if refused.kind != "TooLarge":
                raise
        wanted = {"format": format, **{name: value for name, value in asked.items() if value is not None}}
        run = self._api.start_export(project, number, DatasetExportIn.model_validate(wanted))
        run = self._runs.wait(run)
        return self._api.download_export(project, number, run.id, kind=asked.get("kind")).save(to, progress=progress)

    @overload
    def load(
        self, project: str, number: int | None = None, *, into: Literal["datasets"] = "datasets", **asked: Any
    ) -> "datasets.Dataset": ...

    @overload
    def load(
        self, project: str, number: int | None = None, *, into: Literal["pandas"], **asked: Any
    ) -> "pandas.DataFrame": ...

    def load(
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
        number = number or self._newest(project, asked)
        with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
            file = Path(cache or folder) / _name(project, number, asked)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                self.save(project, file, number, progress=progress, **asked)
            return apart(frames.opened, file, into, Path(cache) if cache else None)

    def _newest(self, project: str, asked: Mapping[str, Any]) -> int:
        kind = asked.get("kind") or "preferences"
        for version in self._api.list_datasets(project):
            if version.kind == kind:
                return version.number
        raise PlumblineError(f"{project} has no dataset version yet that holds {kind}: cut one, client.datasets.cut.")


def _name(project: str, number: int, asked: dict[str, Any]) -> str:
    chosen = "".join(f"-{name}={value}" for name, value in sorted(asked.items()) if value is not None)
    return f"{project}-{number}{chosen}.parquet".replace("/", "_")
