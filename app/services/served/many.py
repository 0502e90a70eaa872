"""Many requests to one served model, so many at a time, and what came of them stored as they come."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from app.services.served.client import CapReached, Client
from app.services.served.protocol import Answer, NoAnswer, Refused
from training.records import PromptRecord

# Pages hear of a run no more often than this.
STORE_SECONDS = 1.0
# An endpoint that fails for so many prompts one after the other fails for all.
MOST_FAILURES_IN_A_ROW = 5


@dataclass(frozen=True)
class Question:
    """One of the responses that are wanted to a prompt."""

    prompt: PromptRecord
    sample: int


@dataclass(frozen=True)
class Reply:
    """What came of a question: an answer, or why there is none."""

    question: Question
    answer: Answer | None
    why: str | None = None


Store = Callable[[Sequence[Reply]], Awaitable[None]]


async def ask_all(
    client: Client,
    questions: Iterator[Question],
    *,
    parallel: int,
    store: Store,
    interrupted: Callable[[], Awaitable[None]],
) -> bool:
    """Ask one question after the other until all are asked or a cap is reached; False when `interrupted` came first.

    Raises NoAnswer when the endpoint refuses everything or failed too often in a row. What came until then is stored.
    """
    asking = _Asking(client, questions)
    tasks = {asyncio.create_task(asking.one_after_the_other()) for _ in range(parallel)}
    end = asyncio.ensure_future(interrupted())
    pending = set(tasks)
    try:
        while pending and not end.done():
            done, _ = await asyncio.wait({*pending, end}, timeout=STORE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            pending -= done
            await asking.hand_over(store)
            for task in tasks & done:
                task.result()
        return not pending
    finally:
        for task in (*tasks, end):
            task.cancel()
        await asyncio.gather(*tasks, end, return_exceptions=True)
        await asking.hand_over(store)


class _Asking:
    def __init__(self, client: Client, questions: Iterator[Question]) -> None:
        self._client = client
        self._questions = questions
        self._came: list[Reply] = []
        self._failures_in_a_row = 0

    async def one_after_the_other(self) -> None:
        """Several of these share the questions."""
        for question in self._questions:
            try:
                answer = await self._client.ask(question.prompt.prompt)
            except CapReached:
                return
            except Refused:
                raise
            except NoAnswer as error:
                self._came.append(Reply(question, None, error.message))
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
                    raise
            else:
                self._came.append(Reply(question, answer))
                self._failures_in_a_row = 0

    async def hand_over(self, store: Store) -> None:
        came, self._came = self._came, []
        if came:
            await store(came)
