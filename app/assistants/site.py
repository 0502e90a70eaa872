"""The site as a program sees it: its REST API, asked with one token.

All that an assistant does goes this way, so that rights, scopes, limits and the log of changes are those of any other
program, and the server may run on another machine than the site.
"""

from types import TracebackType
from typing import Any, Self

import httpx
from mcp.server.mcpserver.exceptions import ToolError

PREFIX = "/api/v1"
ANSWER_SECONDS = 30.0
MOST_BYTES = 8 * 1024 * 1024

Json = dict[str, Any]


class Site:
    """A context manager, because it holds connections."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self._url + PREFIX,
            headers={"Authorization": f"Bearer {token}", "User-Agent": "plumbline-mcp"},
            timeout=ANSWER_SECONDS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def read(self, path: str, **query: object) -> Any:
        """What a GET answers; what is None isn't asked. Raises ToolError with the site's own words."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return await self._ask("GET", path, params=asked)

    async def items(self, path: str, *, limit: int, **query: object) -> list[Json]:
        """The newest of a list."""
        page: Json = await self.read(path, limit=limit, **query)
        items: list[Json] = page["items"]
        return items

    async def change(self, path: str, body: Json) -> Json:
        """What a POST answers. Raises ToolError with the site's own words."""
        answer: Json = await self._ask("POST", path, json=body)
        return answer

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = await self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise ToolError(f"The site doesn't answer: {type(error).__name__}.") from None
        if not response.is_success:
            raise ToolError(f"The site refuses it ({response.status_code}): {_reason(response)}")
        if len(response.content) > MOST_BYTES:
            raise ToolError("The site's answer is too long.")
        return response.json()


def _reason(response: httpx.Response) -> str:
    """One line of a problem's details."""
    try:
        problem = response.json()
        return f"{problem['detail']} {problem.get('errors') or ''}".strip()[:1000]
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.reason_phrase or "no reason given"
