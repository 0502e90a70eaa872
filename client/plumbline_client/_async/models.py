"""Model versions: listed, and fetched as the Hugging Face directories that they are."""

from pathlib import Path
from typing import Literal

from plumbline_client import archives
from plumbline_client._async.download import AsyncDownload
from plumbline_client._async.ground import apart
from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.transport import AsyncTransport
from plumbline_client.calls import Call, Progress, place
from plumbline_client.models import Model

Kind = Literal["policy", "reward", "cost"]


class AsyncModels:
    """`client.models`."""

    def __init__(self, api: AsyncOperations, transport: AsyncTransport) -> None:
        self._api = api
        self._transport = transport

    def list(self, project: str, kind: Kind | None = None) -> AsyncPages[Model]:
        """All versions of a project, newest first."""
        return self._api.list_models(project, kind=kind)

    def archive(self, project: str, kind: Kind, number: int) -> AsyncDownload:
        """A version's directory as one file, to `.save(...)`."""
        path = f"/api/v1/projects/{place(project)}/models/{kind}/{number}/archive"
        return AsyncDownload(self._transport, Call("GET", path))

    async def download(
        self, project: str, kind: Kind, number: int, folder: str | Path, *, progress: Progress | None = None
    ) -> Path:
        """Make `folder` a version's directory, from which `from_pretrained` loads it, and return its path. A download
        that breaks off goes on. Raises FileExistsError for a folder that holds something, ApiError, Unreachable."""
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} holds something already.")
        archive = await self.archive(project, kind, number).save(f"{folder}.tar", progress=progress)
        await apart(archives.unpack, archive, folder)
        archive.unlink()
        return folder
