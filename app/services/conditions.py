"""Conditions that queries of several rooms share: which judgements are labels, which tasks somebody may be given."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Boolean, ColumnElement, and_, cast, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.sql import SQLColumnExpression

from app.db.tables import (
    Assignment,
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Judgement,
    Prompt,
    Task,
    TaskCompletion,
)
from app.db.tables.content import Split


def between(
    column: InstrumentedAttribute[datetime], since: date | None, until: date | None
) -> Iterator[ColumnElement[bool]]:
    """Conditions on a moment: of whole days, UTC, both included."""
    if since is not None:
        yield column >= datetime.combine(since, time(), UTC)
    if until is not None:
        yield column < end_of(until)


def end_of(day: date) -> datetime:
    """When the day after it begins, UTC; no day comes after the calendar's last one, which never ends."""
    return datetime.combine(min(day, date.max - timedelta(days=1)) + timedelta(days=1), time(), UTC)


def eligible_for(user_id: int | ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Task: not given to this person before (a lease that ran out apart), nothing in it by them, and not
    kept for somebody else.
    """
    given = exists().where(
        Assignment.task_id == Task.id, Assignment.annotator_id == user_id, Assignment.state != "expired"
    )
    return (Task.state == "open", kept_for(0) | kept_for(user_id), ~given, ~has_text_of(user_id))


def kept_for(user_id: int | SQLColumnExpression[int]) -> ColumnElement[bool]:
    """Condition on Task, as the index of open tasks has it: reserved for this person, or with 0 for nobody."""
    # Word for word as the index has it: a parameter would not be known to be the same.
    return func.coalesce(Task.reserved_for_id, literal_column("0")) == user_id


def has_text_of(user_id: int | ColumnElement[int]) -> ColumnElement[bool]:
    """Condition on Task: this person wrote one of the responses."""
    return exists().where(
        TaskCompletion.task_id == Task.id,
        TaskCompletion.completion_id == Completion.id,
        Completion.author_id == user_id,
    )


def askable_in(project_id: int, splits: Collection[Split] = ("train", "validation")) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Prompt: what people and models may be asked about. Held-out prompts never are, nor what was erased,
    nor what was written for gold tasks: who answered one would know it again.
    """
    return (
        Prompt.project_id == project_id,
        Prompt.split.in_(splits),
        Prompt.source != "gold",
        Prompt.erased_at.is_(None),
    )


def labels_of(project_id: int) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Judgement: what people say now of tasks made for labels, imported or given here; no verdicts, and
    nothing that a machine said.
    """
    return (*_said_in(project_id), ~Judgement.is_verdict, Judgement.kind != "machine")


def counted_in(
    project_id: int, *, prefers_verdicts: bool, machines: Collection[int] = ()
) -> tuple[ColumnElement[bool], ...]:
    """Conditions on Judgement: what a dataset version cut now would hold, as far as its prompts allow.

    That is the labels, and what these `machines` (ids of their users) said of tasks whose prompts are trained on; with
    `prefers_verdicts`, of tasks that have one the verdict alone.
    """
    by_whom = or_(Judgement.kind != "machine", and_(Judgement.annotator_id.in_(machines), _is_trained_on()))
    if not prefers_verdicts:
        return (*_said_in(project_id), ~Judgement.is_verdict, by_whom)
    verdict = aliased(Judgement)
    is_decided = exists().where(
        verdict.task_id == Judgement.task_id, verdict.is_verdict, verdict.superseded_by.is_(None)
    )
    return (*_said_in(project_id), or_(Judgement.is_verdict, ~is_decided), by_whom)


def _said_in(project_id: int) -> tuple[ColumnElement[bool], ...]:
    return (Judgement.project_id == project_id, Judgement.superseded_by.is_(None), ~Judgement.is_check)


def _is_trained_on() -> ColumnElement[bool]:
    """Condition on Judgement: what models are measured on is people's alone."""
    task, prompt = aliased(Task), aliased(Prompt)
    return exists().where(task.id == Judgement.task_id, prompt.id == task.prompt_id, prompt.split == "train")


def is_duel() -> ColumnElement[bool]:
    """Condition on Task: a new policy against the one in use, for the gate that goes by people's votes."""
    return _chosen_by("duel")


def is_drawn() -> ColumnElement[bool]:
    """Condition on Task: chance alone chose what is compared, so that judgements tell how often somebody wins. What it
    drew of what a rule had left over is no sample of anything."""
    slice_ = func.coalesce(Task.selection["slice"].astext, "")
    return (slice_ == "random") | (_chosen_by("uniform", "duel") & (slice_ != "chosen"))


def _chosen_by(*rules: str) -> ColumnElement[bool]:
    # Never null, so that it can be denied: not every task says by which rule it was chosen.
    return func.coalesce(Task.selection["rule"].astext, "").in_(rules)


def is_left() -> ColumnElement[bool]:
    """Condition on Judgement: what it is of was not erased so far that no dataset version could hold it. That takes the
    prompt and two responses.
    """
    responses = (
        select(func.count())
        .where(
            TaskCompletion.task_id == Task.id,
            TaskCompletion.completion_id == Completion.id,
            Completion.erased_at.is_(None),
        )
        .correlate(Task)
        .scalar_subquery()
    )
    prompt = exists().where(Prompt.id == Task.prompt_id, Prompt.erased_at.is_(None)).correlate(Task)
    is_gone = exists().where(Task.id == Judgement.task_id, Task.erased_at.is_not(None), or_(~prompt, responses < 2))
    return ~is_gone


def held_by_a_dataset() -> ColumnElement[bool]:
    """Condition on Judgement: some dataset version holds it, so that it can't be changed any more."""
    return exists().where(DatasetJudgement.judgement_id == Judgement.id)


def is_settled() -> ColumnElement[bool]:
    """Condition on Judgement: its author can't change it any more. A check is settled when a dataset version is cut, as
    a label would be: else what can still be changed would tell which judgements were checks."""
    cut_since = exists().where(
        DatasetVersion.project_id == Judgement.project_id,
        DatasetVersion.kind == "preferences",
        DatasetVersion.created_at >= Judgement.submitted_at,
    )
    return or_(held_by_a_dataset(), and_(Judgement.is_check, cut_since))


def flagged(flag: str) -> Iterator[ColumnElement[bool]]:
    """Conditions on Judgement: this flag is said of one of the responses."""
    # Word for word as the partial index has it: a parameter would not be known to be the same.
    yield literal_column("judgements.flags <> '{}'::jsonb", Boolean)
    path = cast("$.*[*] ? (@ == $flag)", JSONPATH)
    yield func.jsonb_path_exists(Judgement.flags, path, func.jsonb_build_object("flag", flag))
