"""One message sent to one address: checked as served models' are, followed nowhere, and waited for within bounds."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from app.certificates import trusted
from app.errors import DomainError
from app.services.served import addresses
from app.services.served.addresses import Networks
from app.services.served.client import asked_to_wait

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
# Of an answer; the rest isn't read.
KEPT_BYTES = 500


@dataclass(frozen=True)
class Answered:
    """What came of a try: a status and the answer's first bytes, or the `problem` because of which there is none.

    `after_seconds`: for how long the receiver asks to be left alone.
    """

    milliseconds: int
    status: int | None = None
    said: str = ""
    problem: str | None = None
    after_seconds: float | None = None

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def post(address: str, body: bytes, headers: Mapping[str, str], *, allowed: Networks) -> Answered:
    """Raises nothing: what goes wrong is the answer's `problem`."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            status, said, after_seconds = await _post(address, body, headers, allowed)
    except (TimeoutError, httpx.TimeoutException):
        return Answered(_milliseconds(started), problem=f"No answer within {ANSWER_SECONDS:g} s.")
    except DomainError as error:  # an address that mustn't be reached, a name that nobody knows
        return Answered(_milliseconds(started), problem=str(error))
    except (httpx.HTTPError, httpx.StreamError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return Answered(_milliseconds(started), problem=f"No connection: {why}")
    return Answered(_milliseconds(started), status, said, after_seconds=after_seconds)


async def _post(
    address: str, body: bytes, headers: Mapping[str, str], allowed: Networks
) -> tuple[int, str, float | None]:
    place = await addresses.resolve(address, allowed=allowed)
    own = {"Host": place.host_header, "Accept-Encoding": "identity"}
    # A client for each message: connections are known by the number that was checked, and two names may share one.
    # No proxy of the environment, which would resolve the name again.
    async with (
        httpx.AsyncClient(
            trust_env=False,
            verify=trusted(),
            follow_redirects=False,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        ) as client,
        client.stream(
            "POST",
            place.path(f"?{place.url.query}" if place.url.query else ""),
            headers={**headers, **own},
            content=body,
            extensions={"sni_hostname": place.host},
        ) as response,
    ):
        return response.status_code, await _beginning(response), asked_to_wait(response.headers)


async def _beginning(response: httpx.Response) -> str:
    """The answer's first bytes, as text that a database holds."""
    content = b""
    async for chunk in response.aiter_raw(KEPT_BYTES):
        content += chunk
        if len(content) >= KEPT_BYTES:
            break
    return content[:KEPT_BYTES].decode(errors="replace").replace("\0", "�")


def _milliseconds(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
