# Made by `make client` from _async/tasks.py.
"""Tasks as an annotator gets them, to be judged one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import PrivateAttr

from plumbline_client import models
from plumbline_client._sync.operations import Operations
from plumbline_client.errors import PlumblineError
from plumbline_client.models import Judgement, JudgementIn, ProjectDetail, SkipIn

Side = Literal["A", "tie", "B"]


class Task(models.Task):
    """A task that is leased to this token's person: `prompt` and `panes` are what to compare, `question` what is asked.
    Judge or skip it; otherwise it comes again."""

    _api: Operations = PrivateAttr()

    @classmethod
    def of(cls, task: models.Task, api: Operations) -> "Task":
        own = cls.model_construct(**dict(task))
        own._api = api
        return own

    def judge(
        self,
        choice: int | None = None,
        *,
        ranks: Sequence[int | None] | None = None,
        criteria: Mapping[str, Side] | None = None,
        acceptable: Sequence[bool | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
        safe: Sequence[bool] | None = None,
        less_harmful: Side | None = None,
        rationale: str | None = None,
        response: str | None = None,
        response_of: int | None = None,
        active_ms: int | None = None,
    ) -> Judgement:
        """Say what is better: `choice` on the scale of `question.answer_type`, from 1 = A much better to its last = B
        much better, or, where a ranking or the best one is asked for, `ranks` in the order of the panes (1 is best).

        A try that breaks off is made again and counts once. Raises Invalid for what the question doesn't ask, Conflict
        where the lease ran out and somebody else has taken the place.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        body = JudgementIn.model_validate({"answer_type": self.question.answer_type, **given})
        return self._api.submit_judgement(self.assignment_id, body)

    def skip(self, reason: str = "") -> None:
        """Hand it back for good: it never comes to this person again."""
        self._api.skip(self.assignment_id, SkipIn(reason=reason))


class Project:
    """`client.project(slug)`."""

    def __init__(self, slug: str, api: Operations) -> None:
        self.slug = slug
        self._api = api

    def details(self) -> ProjectDetail:
        """What it is, what its person may do in it, and how far it is."""
        return self._api.read_project(self.slug)

    def tasks(self, most: int | None = None) -> Iterator[Task]:
        """Tasks for this token's person, each leased when it is asked for, until there is none to judge now or there
        were `most`. Raises PlumblineError where one is asked for before the last one was judged or skipped."""
        last = 0
        given = 0
        while given != most:
            task = self._api.next_task(self.slug)
            if task is None:
                return
            if task.assignment_id == last:
                raise PlumblineError("Judge or skip each task before the next one: the site gives the same one again.")
            last = task.assignment_id
            given += 1
            yield Task.of(task, self._api)
