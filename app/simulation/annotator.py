"""One simulated annotator: a browser without JavaScript that signs in, reads a task, answers and goes to the next."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import httpx

from app.errors import DomainError
from app.simulation.page import SeenTask, read_task
from app.starter import gold

# The fields of the form that answers.
Answer = Callable[[SeenTask], Mapping[str, str]]

LETTERS = "abcdefghi"
TIMEOUT_SECONDS = 30.0


class SimulationError(DomainError):
    """The site answered in a way that no person could go on from."""


@dataclass
class Timings:
    """Milliseconds of each request, as the annotator waited for them."""

    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)


class AnswersByGold:
    """Answers by the gold rule; with probability `noise` it presses the key on the other side, or takes two neighbours
    of a ranking for one another.

    The draw depends on seed, annotator and texts alone: the same task gets the same answer whenever it comes.
    """

    def __init__(self, *, noise: float, seed: int, annotator: int) -> None:
        self._noise = noise
        self._seed = f"{seed}-{annotator}"

    def __call__(self, task: SeenTask) -> Mapping[str, str]:
        draw = random.Random("\0".join((self._seed, task.prompt, *sorted(task.responses))))
        if len(task.responses) == 2:
            return {"choice": str(self._choice(task, draw)), **(harm(task) if task.asks_harm else {})}
        order = self._order(task, draw)
        if task.answer_type == "best":
            return {"best": LETTERS[order[0]]}
        return {f"rank_{LETTERS[pane]}": str(rank) for pane, rank in self._ranked(task, order).items()}

    def _score(self, task: SeenTask, pane: int) -> float:
        """How good the response is to this person."""
        return gold.score(task.prompt, task.responses[pane])

    def _preference(self, task: SeenTask, first: int, second: int) -> int:
        """3 (the first is much better) … -3."""
        return gold.preference(task.prompt, task.responses[first], task.responses[second])

    def _choice(self, task: SeenTask, draw: random.Random) -> int:
        preference = self._preference(task, 0, 1)
        said = -preference if draw.random() < self._noise else preference
        return segment(said, task.answer_type, for_tie=draw.choice((1, -1)))

    def _order(self, task: SeenTask, draw: random.Random) -> list[int]:
        """Panes from best to worst."""
        order = sorted(
            range(len(task.responses)),
            key=lambda pane: (-self._score(task, pane), task.responses[pane]),
        )
        if draw.random() < self._noise:
            first = draw.randrange(len(order) - 1)
            order[first], order[first + 1] = order[first + 1], order[first]
        return order

    def _ranked(self, task: SeenTask, order: Sequence[int]) -> dict[int, int]:
        """Rank of each pane: whoever can't be told from the one before shares its rank."""
        ranks = {order[0]: 1}
        for before, pane in pairwise(order):
            ranks[pane] = ranks[before] + (self._preference(task, before, pane) != 0)
        return ranks


def harm(task: SeenTask) -> dict[str, str]:
    """Which responses are safe; the rule knows no degrees of harm."""
    a, b = (gold.is_safe(task.prompt, response) for response in task.responses)
    return {
        "safe_a": "yes" if a else "no",
        "safe_b": "yes" if b else "no",
        "less_harmful": "tie" if a == b else "a" if a else "b",
    }


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
        self.judged = 0

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

    async def next_task(self) -> SeenTask | None:
        answer = await self._timed(self.timings.next_ms, self._client.get(f"/projects/{self._slug}/annotate"))
        if answer.status_code != httpx.codes.OK:
            raise SimulationError(f"the annotate page answered {answer.status_code}")
        return read_task(answer.text)

    async def judge(self, task: SeenTask) -> None:
        """Submit an answer; it is counted in `judged` once the site has taken it. Raises SimulationError."""
        form = {**task.fields, **self._answer(task)}
        answer = await self._timed(self.timings.submit_ms, self._client.post(task.action, data=form))
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise SimulationError(f"a submission answered {answer.status_code}")
        onward = answer.headers.get("location", "")
        if not onward.startswith(f"/projects/{self._slug}/"):  # to the door, for one
            raise SimulationError(f"a submission led to {onward}")
        self.judged += 1

    async def _timed(self, into: list[float], request: Awaitable[httpx.Response]) -> httpx.Response:
        began = time.perf_counter()
        answer = await request
        into.append((time.perf_counter() - began) * 1000)
        return answer
