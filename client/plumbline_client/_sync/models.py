# Made by `make client` from _async/models.py.
"""Model versions: listed, and fetched as the Hugging Face directories that they are."""

from pathlib import Path
from typing import Literal

from plumbline_client import archives
from plumbline_client._sync.download import Download
from plumbline_client._sync.ground import apart
from plumbline_client._sync.operations import Operations
from plumbline_client._sync.pages import Pages
from plumbline_client._sync.transport import Transport
from plumbline_client.calls import Call, Progress, place
from plumbline_client.models import Model

Kind = Literal["policy", "reward", "cost"]


class Models:
    """`client.models`."""

    def __init__(self, api: Operations, transport: Transport) -> None:
        self._api = api
        self._transport = transport

    def list(self, project: str, kind: Kind | None = None) -> Pages[Model]:
        """All versions of a project, newest first."""
        return self._api.list_models(project, kind=kind)

    def archive(self, project: str, kind: Kind, number: int) -> Download:
        """A version's directory as one file, to `.save(...)`."""
        path = f"/api/v1/projects/{place(project)}/models/{kind}/{number}/archive"
        return Download(self._transport, Call("GET", path))

    def download(
        self, project: str, kind: Kind, number: int, folder: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """Make `folder` a version's directory, from which `from_pretrained` loads it, and return its path. A download
        that breaks off goes on. Raises FileExistsError for a folder that holds something, ApiError, Unreachable."""
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} holds something already.")
        archive = self.archive(project, kind, number).save(f"{folder}.tar", progress=progress)
        apart(archives.unpack, archive, folder)
        archive.unlink()
        return folder
