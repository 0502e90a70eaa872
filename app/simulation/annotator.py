"""One simulated annotator: a browser without JavaScript that signs in, reads a pair, answers and goes to the next."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from app.errors import DomainError
from app.simulation.page import SeenPair, read_pair
from app.starter import gold

Answer = Callable[[SeenPair], int]

TIMEOUT_SECONDS = 30.0


class SimulationError(DomainError):
    """The site answered in a way that no person could go on from."""


@dataclass
class Timings:
    """Milliseconds of each request, as the annotator waited for them."""

    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)


class GoldAnswer:
    """Answers by the gold rule; with probability `noise` it presses the key on the other side.

    The draw depends on seed, annotator and pair alone: the same pair gets the same answer whenever it comes.
    """

    def __init__(self, *, noise: float, seed: int, annotator: int) -> None:
        self._noise = noise
        self._seed = f"{seed}-{annotator}"

    def __call__(self, pair: SeenPair) -> int:
        preference = gold.preference(pair.prompt, pair.response_a, pair.response_b)
        texts = sorted((pair.response_a, pair.response_b))
        draw = random.Random("\0".join((self._seed, pair.prompt, *texts)))
        said = -preference if draw.random() < self._noise else preference
        return segment(said, pair.fields.get("answer_type", "seven"), for_tie=draw.choice((1, -1)))


def segment(preference: int, answer_type: str, *, for_tie: int) -> int:
    """What to press for 3 (A is much better) … -3 on a scale; without a tie on it, the side `for_tie` is pressed."""
    if answer_type == "seven":
        return 4 - preference
    levels = 3 if answer_type == "six" else 4
    towards_a = preference or (for_tie if answer_type == "six" else 0)
    if towards_a == 0:  # the innermost of four levels: “negligibly better, or unsure”
        return levels if for_tie > 0 else levels + 1
    return 4 - towards_a if towards_a > 0 else 2 * levels - 3 - towards_a


class SimulatedAnnotator:
    def __init__(self, client: httpx.AsyncClient, slug: str, answer: Answer) -> None:
        self._client = client
        self._slug = slug
        self._answer = answer
        self.timings = Timings()

    async def sign_in(self, link: str) -> None:
        """Open a one-time link and press its button."""
        try:
            (await self._client.get(link)).raise_for_status()
            answer = await self._client.post(link)
        except httpx.HTTPError as error:
            raise SimulationError(
                f"no site answers at {self._client.base_url}: {str(error) or type(error).__name__}"
            ) from error
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise SimulationError(f"signing in answered {answer.status_code}")

    async def next_pair(self) -> SeenPair | None:
        answer = await self._timed(self.timings.next_ms, self._client.get(f"/projects/{self._slug}/annotate"))
        if answer.status_code != httpx.codes.OK:
            raise SimulationError(f"the annotate page answered {answer.status_code}")
        return read_pair(answer.text)

    async def judge(self, pair: SeenPair) -> None:
        form = {**pair.fields, "choice": str(self._answer(pair))}
        answer = await self._timed(self.timings.submit_ms, self._client.post(pair.action, data=form))
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise SimulationError(f"a submission answered {answer.status_code}")

    async def _timed(self, into: list[float], request: Awaitable[httpx.Response]) -> httpx.Response:
        began = time.perf_counter()
        answer = await request
        into.append((time.perf_counter() - began) * 1000)
        return answer
