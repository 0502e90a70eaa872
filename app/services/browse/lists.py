"""The lists that there are. A new one is filters, a statement and a row of `LISTS`: pages and REST offer what they
find."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, Select, and_, exists, func, select

from app.db.tables import (
    Completion,
    Demonstration,
    Judgement,
    ModelVersion,
    Prompt,
    Round,
    Task,
    TaskCompletion,
    User,
)
from app.db.tables.content import CompletionSource, DemonstrationSource, Split
from app.db.tables.judging import JudgementKind, TaskPurpose, TaskState
from app.services import conditions
from app.services.browse import documents
from app.services.browse.listing import (
    NOTHING,
    Filters,
    Known,
    Listing,
    Number,
    Text,
    Yes,
    matches,
    policy_of,
    round_of,
    tagged,
)

EXCERPT = 300
"""Characters of a text that a list shows."""

ListName = Literal["prompts", "responses", "tasks", "judgements", "demonstrations"]


class PromptFilters(Filters):
    search: Text | None = Field(default=None, description="Words of the conversation.")
    split: Split | None = None
    tag: Text | None = None
    topic: Text | None = None
    source: Text | None = Field(default=None, description="The file that it came from, or its name.")
    excluded: Yes | None = Field(default=None, description="Kept out of datasets.")

    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a prompt has to meet."""
        if self.search:
            yield matches(documents.PROMPT, self.search)
        yield from _of_prompt(self.split, self.tag, known)
        if self.topic:
            yield Prompt.topic == self.topic
        if self.source:
            yield Prompt.source == self.source
        if self.excluded:
            yield Prompt.excluded == (self.excluded == "yes")
        yield from conditions.between(Prompt.created_at, self.since, self.until)


class ResponseFilters(Filters):
    search: Text | None = Field(default=None, description="Words of the response.")
    source: CompletionSource | None = None
    policy: Number | None = Field(default=None, description="Number of the policy that wrote it.")
    split: Split | None = None
    tag: Text | None = Field(default=None, description="Of its prompt.")
    longer_than: Number | None = Field(default=None, description="Characters.")
    shorter_than: Number | None = Field(default=None, description="Characters.")

    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a response has to meet."""
        if self.search:
            yield matches(documents.RESPONSE, self.search)
        if self.source:
            yield Completion.source == self.source
        if self.policy:
            yield Completion.model_version_id == policy_of(Prompt.project_id, self.policy)
        yield from _of_prompt(self.split, self.tag, known)
        if self.longer_than:
            yield func.length(Completion.text) > self.longer_than
        if self.shorter_than:
            yield func.length(Completion.text) < self.shorter_than
        yield from conditions.between(Completion.created_at, self.since, self.until)


class TaskFilters(Filters):
    search: Text | None = Field(default=None, description="Words of the prompt.")
    state: TaskState | None = None
    purpose: TaskPurpose | None = None
    agreement: Literal["divided", "agreed"] | None = Field(
        default=None, description="Of tasks that two people judged or more: whether any two said different things."
    )
    decided: Yes | None = Field(default=None, description="A reviewer has given a verdict.")
    annotator: Text | None = Field(default=None, description="Name or e-mail address of somebody who judged it.")
    given_to: Text | None = Field(default=None, description="Name or e-mail address of whom it is kept for.")
    flag: Text | None = Field(default=None, description="Said of one of the responses.")
    policy: Number | None = Field(default=None, description="Number of a policy that wrote one of the responses.")
    round: Number | None = None
    split: Split | None = None
    tag: Text | None = Field(default=None, description="Of its prompt.")

    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a task has to meet."""
        if self.search:
            yield matches(documents.PROMPT, self.search)
        if self.state:
            yield Task.state == self.state
        if self.purpose:
            yield Task.purpose == self.purpose
        if self.agreement:
            yield Task.division > 0 if self.agreement == "divided" else Task.division == 0
        if self.decided:
            decided = exists().where(Judgement.task_id == Task.id, Judgement.is_verdict)
            yield decided if self.decided == "yes" else ~decided
        # The key's bound again: the server reads judgements beside tasks, and would begin at the newest of all.
        of_it = (Judgement.task_id == Task.id, *([] if known.before is None else [Judgement.task_id < known.before]))
        if self.annotator:
            yield exists().where(*of_it, Judgement.annotator_id.in_(known.people["annotator"]), ~Judgement.is_verdict)
        if self.given_to:
            yield Task.reserved_for_id.in_(known.people["given_to"])
        if self.flag:
            yield exists().where(*of_it, Judgement.superseded_by.is_(None), *conditions.flagged(self.flag))
        if self.policy:
            yield exists().where(
                TaskCompletion.task_id == Task.id,
                TaskCompletion.completion_id == Completion.id,
                Completion.model_version_id == policy_of(Task.project_id, self.policy),
            )
        if self.round:
            yield Task.round_id == round_of(Task.project_id, self.round)
        yield from _of_prompt(self.split, self.tag, known)
        yield from conditions.between(Task.created_at, self.since, self.until)


class JudgementFilters(Filters):
    annotator: Text | None = Field(default=None, description="Name or e-mail address.")
    kind: JudgementKind | None = None
    standing: Literal["current", "replaced", "check", "verdict"] | None = Field(
        default=None,
        description="A changed answer replaces an earlier one; a check is no label; a verdict is a reviewer's.",
    )
    flag: Text | None = Field(default=None, description="Said of one of the responses.")
    hurried: Yes | None = None
    in_dataset: Yes | None = Field(default=None, description="Held by a dataset version.")
    round: Number | None = None
    search: Text | None = Field(default=None, description="A part of the reason that was given.")

    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a judgement has to meet."""
        if self.annotator:
            yield Judgement.annotator_id.in_(known.people["annotator"])
        if self.kind:
            yield Judgement.kind == self.kind
        if self.standing == "current":
            yield and_(Judgement.superseded_by.is_(None), ~Judgement.is_check, ~Judgement.is_verdict)
        elif self.standing == "replaced":
            yield Judgement.superseded_by.is_not(None)
        elif self.standing == "check":
            yield and_(Judgement.is_check)
        elif self.standing == "verdict":
            yield and_(Judgement.is_verdict, Judgement.superseded_by.is_(None))
        if self.flag:
            yield from conditions.flagged(self.flag)
        if self.hurried:
            yield and_(Judgement.hurried) if self.hurried == "yes" else ~Judgement.hurried
        if self.in_dataset:
            held = conditions.held_by_a_dataset()
            yield held if self.in_dataset == "yes" else ~held
        if self.round:
            yield Task.round_id == round_of(Judgement.project_id, self.round)
        if self.search:
            yield Judgement.rationale.is_not(None)
            yield Judgement.rationale.icontains(self.search, autoescape=True)
        yield from conditions.between(Judgement.submitted_at, self.since, self.until)


class DemonstrationFilters(Filters):
    search: Text | None = Field(default=None, description="Words of the response.")
    source: DemonstrationSource | None = None
    author: Text | None = Field(default=None, description="Name or e-mail address.")
    split: Split | None = None
    tag: Text | None = Field(default=None, description="Of its prompt.")

    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a demonstration has to meet."""
        if self.search:
            yield matches(documents.DEMONSTRATION, self.search)
        if self.source:
            yield Demonstration.source == self.source
        if self.author:
            yield Demonstration.author_id.in_(known.people["author"])
        yield from _of_prompt(self.split, self.tag, known)
        yield from conditions.between(Demonstration.created_at, self.since, self.until)


def _of_prompt(split: Split | None, tag: str | None, known: Known) -> Iterator[ColumnElement[bool]]:
    if split:
        yield Prompt.split == split
    if tag:
        yield from tagged(tag, is_rare=known.has_rare_tag)


def _asked() -> ColumnElement[str]:
    """The beginning of what the person asked last."""
    return func.left(Prompt.messages[-1]["content"].astext, EXCERPT).label("asked")


def _prompts(project_id: int) -> Select[*tuple[Any, ...]]:
    responses = select(func.count()).where(Completion.prompt_id == Prompt.id).correlate(Prompt).scalar_subquery()
    return select(
        Prompt.id,
        _asked(),
        Prompt.split,
        Prompt.topic,
        Prompt.tags,
        Prompt.source,
        Prompt.excluded,
        responses.label("responses"),
        Prompt.created_at,
        Prompt.erased_at,
    ).where(Prompt.project_id == project_id)


def _responses(project_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Completion.id,
            Completion.prompt_id,
            func.left(Completion.text, EXCERPT).label("text"),
            func.length(Completion.text).label("characters"),
            Completion.source,
            ModelVersion.number.label("policy"),
            _asked(),
            Completion.created_at,
            Completion.erased_at,
        )
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .outerjoin(ModelVersion, ModelVersion.id == Completion.model_version_id)
        .where(Prompt.project_id == project_id)
    )


def _tasks(project_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Task.id,
            Task.prompt_id,
            _asked(),
            Task.state,
            Task.purpose,
            Task.judged,
            Task.quota,
            Task.skipped,
            Task.division,
            Task.priority,
            User.name.label("given_to"),
            Round.number.label("round"),
            Task.selection["rule"].astext.label("rule"),
            Task.created_at,
            Prompt.erased_at.label("prompt_erased_at"),
            Task.erased_at,
        )
        .join(Prompt, Prompt.id == Task.prompt_id)
        .outerjoin(Round, Round.id == Task.round_id)
        .outerjoin(User, User.id == Task.reserved_for_id)
        .where(Task.project_id == project_id)
    )


def _judgements(project_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Judgement.id,
            Judgement.task_id,
            User.name.label("annotator"),
            Judgement.kind,
            Judgement.answer_type,
            Judgement.choice,
            Judgement.preference,
            Judgement.ranks,
            Judgement.shown_order,
            Judgement.rationale,
            Judgement.active_ms,
            Judgement.hurried,
            Judgement.is_check,
            Judgement.is_verdict,
            Judgement.superseded_by,
            Judgement.submitted_at,
            Judgement.erased_at,
        )
        .join(Task, Task.id == Judgement.task_id)
        .outerjoin(User, User.id == Judgement.annotator_id)
        .where(Judgement.project_id == project_id)
    )


def _demonstrations(project_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Demonstration.id,
            Demonstration.prompt_id,
            func.left(Demonstration.text, EXCERPT).label("text"),
            Demonstration.source,
            User.name.label("author"),
            _asked(),
            Demonstration.created_at,
            Demonstration.erased_at,
        )
        .join(Prompt, Prompt.id == Demonstration.prompt_id)
        .outerjoin(User, User.id == Demonstration.author_id)
        .where(Prompt.project_id == project_id)
    )


LISTS: Mapping[ListName, Listing[Any]] = {
    "prompts": Listing("prompts", PromptFilters, Prompt.id, _prompts, documents.PROMPT),
    "responses": Listing("responses", ResponseFilters, Completion.id, _responses, documents.RESPONSE),
    "tasks": Listing("tasks", TaskFilters, Task.id, _tasks, documents.PROMPT),
    "judgements": Listing("judgements", JudgementFilters, Judgement.id, _judgements),
    "demonstrations": Listing(
        "demonstrations", DemonstrationFilters, Demonstration.id, _demonstrations, documents.DEMONSTRATION
    ),
}
