"""Model versions: listed, and fetched as the Hugging Face directories that they are."""

from typing import Literal

from plumbline_client._async.download import AsyncDownload
from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.transport import AsyncTransport
from plumbline_client.calls import Call, place
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
