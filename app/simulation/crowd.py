"""Many simulated annotators at once, and what they saw of the site's speed."""

import asyncio
import time
from dataclasses import dataclass

import httpx
import numpy as np

from app.simulation.annotator import TIMEOUT_SECONDS, SimulatedAnnotator, SimulationError
from app.simulation.kinds import Kind, answers_of
from app.simulation.patience import Patient
from app.starter.gold import UnknownPromptError

IDLE_SECONDS = 0.5


@dataclass(frozen=True)
class CrowdSettings:
    """`kinds` are those of the people, in turn; somebody who is given no task for `patience_seconds` leaves."""

    site_url: str
    slug: str
    judgements: int
    noise: float
    seed: int
    kinds: tuple[Kind, ...] = ("noisy",)
    patience_seconds: float = 30.0


@dataclass(frozen=True)
class CrowdReport:
    """`judgements` are those that the site took, `errors` counts failed steps; quantiles are null when nothing was
    measured."""

    judgements: int
    pairs_per_s: float
    next_p50_ms: float | None
    next_p99_ms: float | None
    submit_p50_ms: float | None
    submit_p99_ms: float | None
    errors: int
    error_messages: tuple[str, ...] = ()


class Budget:
    """How many judgements are still wanted, shared by all annotators."""

    def __init__(self, judgements: int) -> None:
        self._left = judgements

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def give_back(self) -> None:
        self._left += 1


async def play(links: list[str], settings: CrowdSettings) -> CrowdReport:
    """Everybody signs in, then all judge until the budget is spent or nobody has been given a task for a while."""
    budget = Budget(settings.judgements)
    errors: list[str] = []
    # Loopback load: the default pool of a client would queue requests before the site sees them, so each has its own.
    clients = [
        httpx.AsyncClient(base_url=settings.site_url, timeout=TIMEOUT_SECONDS, transport=Patient()) for _ in links
    ]
    annotators = [
        SimulatedAnnotator(
            client,
            settings.slug,
            answers_of(
                settings.kinds[number % len(settings.kinds)],
                noise=settings.noise,
                seed=settings.seed,
                annotator=number,
            ),
        )
        for number, client in enumerate(clients)
    ]
    try:
        await asyncio.gather(*(annotator.sign_in(link) for annotator, link in zip(annotators, links, strict=True)))
        began = time.perf_counter()
        await asyncio.gather(*(_work(annotator, budget, errors, settings.patience_seconds) for annotator in annotators))
        seconds = time.perf_counter() - began
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))
    return _report(annotators, seconds, errors)


async def _work(annotator: SimulatedAnnotator, budget: Budget, errors: list[str], patience_seconds: float) -> None:
    waited = 0.0
    while waited < patience_seconds and budget.take():
        try:
            task = await annotator.next_task()
            if task is not None:
                await annotator.judge(task)
        except UnknownPromptError as error:
            budget.give_back()
            errors.append(f"the gold rule knows no such prompt: {error}")
            return
        except (SimulationError, httpx.HTTPError) as error:
            errors.append(str(error) or type(error).__name__)
            task = None
        if task is None:
            budget.give_back()
            await asyncio.sleep(IDLE_SECONDS)
            waited += IDLE_SECONDS
        else:
            waited = 0.0


def _report(annotators: list[SimulatedAnnotator], seconds: float, errors: list[str]) -> CrowdReport:
    next_ms = [value for annotator in annotators for value in annotator.timings.next_ms]
    submit_ms = [value for annotator in annotators for value in annotator.timings.submit_ms]
    judged = sum(annotator.judged for annotator in annotators)
    return CrowdReport(
        judgements=judged,
        pairs_per_s=round(judged / seconds, 2) if seconds else 0.0,
        next_p50_ms=_quantile(next_ms, 0.5),
        next_p99_ms=_quantile(next_ms, 0.99),
        submit_p50_ms=_quantile(submit_ms, 0.5),
        submit_p99_ms=_quantile(submit_ms, 0.99),
        errors=len(errors),
        error_messages=tuple(dict.fromkeys(errors))[:10],
    )


def _quantile(values: list[float], share: float) -> float | None:
    return round(float(np.quantile(values, share)), 2) if values else None
