"""A client of one served model: one request for each response, to a checked address, with patience and within caps."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpx

from app.certificates import trusted
from app.db.tables.served import Protocol
from app.services.served import addresses
from app.services.served.addresses import Networks, Place, Unreachable
from app.services.served.protocol import PATHS, Again, Answer, NoAnswer, Refused, answer_in, body_of, said_in
from app.services.served.settings import Limits, Sampling
from training.records import Message

# Of an answer; 100,000 tokens of text are some 500 kB.
MOST_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 30.0
# Who asks us to wait for longer than this is as good as away.
LONGEST_WAIT_SECONDS = 120.0

LIMITS = ("max_tokens", "max_completion_tokens")
"""What endpoints call the most tokens of a response: the older name first, which all but some models of clouds take."""


class CapReached(NoAnswer):
    """The run's cap is reached."""


@dataclass
class Spent:
    """What a run has asked for so far, over all its attempts, and how much it may."""

    limits: Limits
    requests: int = 0
    tokens: int = 0

    def cap(self) -> str | None:
        """Which cap is reached."""
        if self.requests >= self.limits.most_requests:
            return f"the cap of {self.limits.most_requests:,} requests"
        if self.tokens >= self.limits.most_tokens:
            return f"the cap of {self.limits.most_tokens:,} tokens"
        return None

    def ask(self) -> None:
        """Count a request. Raises CapReached in place of one too many."""
        if self.cap() is not None:
            raise CapReached("The run has reached a cap of its served model.")
        self.requests += 1


@dataclass(frozen=True)
class Endpoint:
    """All that has to be known of a served model to ask it. `key` stands in no text that this leaves."""

    address: str
    model: str
    protocol: Protocol
    key: str | None
    sampling: Sampling
    limits: Limits
    allowed: Networks

    def __repr__(self) -> str:
        return f"Endpoint({self.address!r}, {self.model!r})"


class Client:
    """Asks an endpoint; a context manager, because it holds connections."""

    def __init__(self, endpoint: Endpoint, spent: Spent | None = None) -> None:
        self.spent = spent or Spent(endpoint.limits)
        self._endpoint = endpoint
        self._place: Place | None = None
        self._resolving = asyncio.Lock()
        self._limit = LIMITS[0]
        # No proxy of the environment: it would resolve the name again, and out of our sight.
        self._http = httpx.AsyncClient(
            trust_env=False,
            verify=trusted(),
            follow_redirects=False,
            timeout=httpx.Timeout(endpoint.limits.timeout_seconds, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=endpoint.limits.parallel),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, prompt: Sequence[Message]) -> Answer:
        """One response to the prompt. Raises NoAnswer when there is none after every retry, Refused when there never
        will be one, CapReached.
        """
        tried = 0
        while True:
            self.spent.ask()
            try:
                answer = await self._try(prompt)
            except Again as again:
                if tried >= self._endpoint.limits.retries:
                    raise again if tried == 0 else NoAnswer(_after(tried + 1, again.message)) from None
                await asyncio.sleep(_pause_seconds(tried, again))
                tried += 1
            else:
                self.spent.tokens += answer.tokens
                return answer

    async def _try(self, prompt: Sequence[Message]) -> Answer:
        try:
            async with asyncio.timeout(self._endpoint.limits.timeout_seconds):
                status, headers, content = await self._send(prompt)
        except (TimeoutError, httpx.TimeoutException):
            self._place = None
            raise Again(
                "The endpoint didn't answer within %(seconds)s s.", seconds=f"{self._endpoint.limits.timeout_seconds:g}"
            ) from None
        except (httpx.ConnectError, Unreachable) as error:
            self._place = None  # a name may have moved on
            raise Again("There is no connection to the endpoint: “%(why)s”.", why=_why(error)) from None
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Again("The endpoint cut its answer off: “%(why)s”.", why=_why(error)) from None
        if status == 200:
            characters = sum(len(message.content) for message in prompt) + len(self._endpoint.sampling.system)
            return answer_in(content, self._endpoint.protocol, key=self._endpoint.key, asked_characters=characters)
        self._refuse(status, headers, content)
        return await self._try(prompt)  # with the other name for the most tokens

    def _refuse(self, status: int, headers: httpx.Headers, content: bytes) -> None:
        """Raises what a status other than 200 means. Returns where the same may be asked in other words."""
        said = said_in(content, key=self._endpoint.key)
        if status == 429:
            raise Again("The endpoint is busy (429): “%(said)s”.", said=said, after_seconds=asked_to_wait(headers))
        if status in (408, 409, 425) or status >= 500:
            raise Again("The endpoint failed (%(status)s): “%(said)s”.", status=status, said=said)
        if 300 <= status < 400:
            raise Refused("The endpoint sends to another address (%(status)s), which isn't followed.", status=status)
        if status == 404:
            raise Refused(
                "The endpoint knows no such address or model (404; addresses often end with /v1): “%(said)s”.",
                said=said,
            )
        if status == 400 and LIMITS[1] in said and self._limit == LIMITS[0]:
            self._limit = LIMITS[1]
            self.spent.ask()
            return
        if status in (400, 413, 422):
            raise NoAnswer("The endpoint refuses the request (%(status)s): “%(said)s”.", status=status, said=said)
        raise Refused("The endpoint refuses us (%(status)s): “%(said)s”.", status=status, said=said)

    async def _send(self, prompt: Sequence[Message]) -> tuple[int, httpx.Headers, bytes]:
        """Raises httpx's errors, Unreachable, and Invalid for an address that may not be reached."""
        endpoint, place = self._endpoint, await self._resolved()
        body = body_of(endpoint.protocol, endpoint.model, endpoint.sampling, prompt, limit=self._limit)
        # The name for the certificate; the address itself holds the number that was checked.
        headers = {"Host": place.host_header, "Accept": "application/json", "Accept-Encoding": "identity"}
        headers["Content-Type"] = "application/json"
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        async with self._http.stream(
            "POST",
            place.path(PATHS[endpoint.protocol]),
            headers=headers,
            content=json.dumps(body, ensure_ascii=True).encode(),
            extensions={"sni_hostname": place.host},
        ) as response:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise NoAnswer("The endpoint's answer is longer than %(size)s MB.", size=MOST_BYTES >> 20)
            return response.status_code, response.headers, bytes(content)

    async def _resolved(self) -> Place:
        """Where the endpoint is; looked up and checked once, and again when it can't be reached there."""
        async with self._resolving:
            if self._place is None:
                self._place = await addresses.resolve(self._endpoint.address, allowed=self._endpoint.allowed)
            return self._place


def _after(tries: int, why: str) -> str:
    return f"Asked {tries} times. The last time: {why}"


def _why(error: Exception) -> str:
    """The error in one line; httpx has some without a word."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _pause_seconds(tried: int, again: Again) -> float:
    """As long as the endpoint asks for, else twice as long each time, some more or less so that not all come at once.

    Raises NoAnswer instead where the endpoint asks for too long.
    """
    if again.after_seconds is not None:
        if again.after_seconds > LONGEST_WAIT_SECONDS:
            raise NoAnswer(again.message)
        return again.after_seconds
    return float(min(LONGEST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2**tried) * random.uniform(0.5, 1.5))


def asked_to_wait(headers: httpx.Headers) -> float | None:
    """Seconds from Retry-After: a number, or a date."""
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
