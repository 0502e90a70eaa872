"""The way in: one site, one token."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from plumbline_client import models
from plumbline_client._async.datasets import AsyncDatasets
from plumbline_client._async.imports import AsyncImports
from plumbline_client._async.models import AsyncModels
from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.runs import AsyncRuns
from plumbline_client._async.tasks import AsyncProject
from plumbline_client._async.transport import AsyncTransport
from plumbline_client.calls import Call
from plumbline_client.errors import PlumblineError
from plumbline_client.retries import Retries
from plumbline_client.versions import VERSION


class AsyncClient:
    """Talks to a Plumbline site with an API token.

    `url` and `token` default to the variables PLUMBLINE_URL and PLUMBLINE_TOKEN of the environment. `api` has a method
    for every call; `datasets`, `imports`, `models` and `runs` do what takes several; `request` sends anything else.
    Close it, or use it in a `with`.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        retries: Retries | None = None,
        timeout_seconds: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=url or _from_environment("PLUMBLINE_URL", "url"),
            headers={
                "Authorization": f"Bearer {token or _from_environment('PLUMBLINE_TOKEN', 'token')}",
                "User-Agent": f"plumbline-client/{VERSION}",
            },
            timeout=timeout_seconds,
            transport=transport,
        )
        self._transport = AsyncTransport(self._http, retries or Retries())
        self.api = AsyncOperations(self._transport)
        self.runs = AsyncRuns(self.api)
        self.datasets = AsyncDatasets(self.api, self.runs)
        self.imports = AsyncImports(self.api, self.runs)
        self.models = AsyncModels(self.api, self._transport)

    def projects(self) -> AsyncPages[models.Project]:
        """All that this token's person may see."""
        return self.api.list_projects()

    def project(self, slug: str) -> AsyncProject:
        """The one of that short name; nothing is asked of the site yet."""
        return AsyncProject(slug, self.api)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The site's answer to a call that there is no method for, `path` from `/api/v1` on; made again and refused
        like every other. Raises ApiError, Unreachable."""
        return await self._transport.send(Call(method, path, query=query or {}, headers=headers or {}, body=body))

    async def aclose(self) -> None:
        """Close what is open to the site."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _from_environment(name: str, argument: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise PlumblineError(f"Give a {argument}, or set {name}.")
    return found
