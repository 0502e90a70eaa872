"""Makes calls: with the token, again where that helps, and with what the site refuses as an exception."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter

from plumbline_client import versions
from plumbline_client._async.ground import sleep
from plumbline_client.calls import Call, Content, Progress, pieces_of, size_of
from plumbline_client.errors import Unreachable, error_of
from plumbline_client.retries import Retries
from plumbline_client.values import Answer, tag_of

Result = TypeVar("Result")


class AsyncTransport:
    """One site and one token. `http` is httpx's own client, whose address and headers it uses."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self.http = http
        self.retries = retries
        self._is_checked = False

    async def ask(self, call: Call, kind: type[Result]) -> Result:
        """What the site answers, as a value of that class."""
        response = await self.send(call)
        answer = _reader(kind).validate_json(response.content)
        if isinstance(answer, Answer):
            answer._etag = response.headers.get("ETag")
        return answer

    async def if_any(self, call: Call, kind: type[Result]) -> Result | None:
        """What the site answers, None where that is nothing."""
        response = await self.send(call)
        if response.status_code == httpx.codes.NO_CONTENT or response.content == b"null":
            return None
        return _reader(kind).validate_json(response.content)

    async def send(self, call: Call) -> httpx.Response:
        """The whole answer. Raises ApiError for one of 400 or more, Unreachable."""
        response = await self._answer(call, is_whole=True)
        await self._require_success(response)
        return response

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[httpx.Response]:
        """An answer whose body is still to be read. Raises ApiError, Unreachable; what breaks off later is httpx's."""
        response = await self._answer(call, is_whole=False)
        try:
            await self._require_success(response)
            yield response
        finally:
            await response.aclose()

    async def _require_success(self, response: httpx.Response) -> None:
        if response.is_error:
            await response.aread()
            raise error_of(response)
        self._check_version(response)

    async def _answer(self, call: Call, *, is_whole: bool) -> httpx.Response:
        """The first answer that is one, after as many tries as that takes."""
        headers = self._headers(call)
        tried = 0
        while True:
            tried += 1
            outcome = await self._try(call, headers, is_whole=is_whole)
            pause = self.retries.pause_after(call, tried, outcome)
            if isinstance(outcome, httpx.Response):
                if pause is None:
                    return outcome
                await outcome.aclose()
            elif pause is None:
                said = str(outcome) or type(outcome).__name__
                raise Unreachable(f"{call.method} {self.http.base_url.join(call.path)}: {said}") from outcome
            await sleep(pause)

    async def _try(
        self, call: Call, headers: dict[str, str], *, is_whole: bool
    ) -> httpx.Response | httpx.TransportError:
        request = self.http.build_request(
            call.method,
            call.path,
            params=call.parameters or None,
            headers=headers,
            json=call.json,
            content=None if call.content is None else _sent(call.content, call.progress),
        )
        try:
            return await self.http.send(request, stream=not is_whole)
        except httpx.TransportError as error:
            return error

    def _headers(self, call: Call) -> dict[str, str]:
        """The same for every try: a key makes several tries one call."""
        headers = {name: tag_of(value) for name, value in call.headers.items() if value is not None}
        if call.method == "POST" and not any(name.lower() == "idempotency-key" for name in headers):
            headers["Idempotency-Key"] = uuid.uuid4().hex
        if call.content is not None:
            headers |= {"Content-Type": call.content_type, "Content-Length": str(size_of(call.content))}
        return headers

    def _check_version(self, response: httpx.Response) -> None:
        site = response.headers.get(versions.HEADER)
        if site and not self._is_checked:
            self._is_checked = True
            versions.check(site)


async def _sent(content: Content, progress: Progress | None) -> AsyncIterator[bytes]:
    """What is uploaded, from its beginning, piece by piece."""
    sent, size = 0, size_of(content)
    for piece in pieces_of(content):
        yield piece
        sent += len(piece)
        if progress is not None:
            progress(sent, size)


_readers: dict[object, TypeAdapter[Any]] = {}


def _reader(kind: type[Result]) -> TypeAdapter[Result]:
    """Made once: it takes longer than what it reads."""
    return _readers.get(kind) or _readers.setdefault(kind, TypeAdapter(kind))
