# Made by `make client` from _async/client.py.
"""The way in: one site, one token."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from plumbline_client import models
from plumbline_client._sync.datasets import Datasets
from plumbline_client._sync.imports import Imports
from plumbline_client._sync.models import Models
from plumbline_client._sync.operations import Operations
from plumbline_client._sync.pages import Pages
from plumbline_client._sync.runs import Runs
from plumbline_client._sync.tasks import Project
from plumbline_client._sync.transport import Transport
from plumbline_client.calls import Call
from plumbline_client.errors import PlumblineError
from plumbline_client.retries import Retries
from plumbline_client.versions import VERSION


class Client:
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url or _from_environment("PLUMBLINE_URL", "url"),
            headers={
                "Authorization": f"Bearer {token or _from_environment('PLUMBLINE_TOKEN', 'token')}",
                "User-Agent": f"plumbline-client/{VERSION}",
            },
            timeout=timeout_seconds,
            transport=transport,
        )
        self._transport = Transport(self._http, retries or Retries())
        self.api = Operations(self._transport)
        self.runs = Runs(self.api)
        self.datasets = Datasets(self.api, self.runs)
        self.imports = Imports(self.api, self.runs)
        self.models = Models(self.api, self._transport)

    def projects(self) -> Pages[models.Project]:
        """All that this token's person may see."""
        return self.api.list_projects()

    def project(self, slug: str) -> Project:
        """The one of that short name; nothing is asked of the site yet."""
        return Project(slug, self.api)

    def request(
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
        return self._transport.send(Call(method, path, query=query or {}, headers=headers or {}, body=body))

    def close(self) -> None:
        """Close what is open to the site."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _from_environment(name: str, argument: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise PlumblineError(f"Give a {argument}, or set {name}.")
    return found
