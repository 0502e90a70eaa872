"""How writers do against each other, by what people say of tasks in which both have a response."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Float, Select, case, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.tables import Completion, Judgement, ModelVersion, Project, ServedModel, TaskCompletion
from app.services import conditions
from app.services.judging.agreement.intervals import wilson
from app.services.loop.comparisons import writers as pens
from app.services.loop.comparisons.writers import NamedWriter, Writer

# The newest of a project: enough for an interval of three points, and few enough to look up by index.
MOST_JUDGEMENTS = 5_000


@dataclass(frozen=True)
class Comparison:
    """Two writers, and the share of judgements that prefers the first, a tie counting half for each.

    A ranking is a judgement between each two of its responses. `low` and `high` are a Wilson interval of 95 %, for as
    many judgements as those of one prompt are worth together when people agree on it.
    """

    first: NamedWriter
    second: NamedWriter
    judgements: int
    tasks: int
    share: float
    low: float
    high: float


async def comparisons(db: AsyncSession, project: Project) -> list[Comparison]:
    """Every two writers that were compared, a served model among them; who is ahead is the first of the two.

    Counted by the database over the newest judgements given here, one row for each two.
    """
    rows = (await db.execute(_counted(project.id))).all()
    named = await names_of(db, project)
    found = []
    for row in rows:
        first = named[pens.of_completion(row.first_policy, row.first_served)]
        second = named[pens.of_completion(row.second_policy, row.second_served)]
        share = row.preferred / row.judgements
        if share < 0.5:
            first, second, share = second, first, 1 - share
        low, high = wilson(share, _worth(share, row.judgements, row.prompts, row.spread))
        found.append(Comparison(first, second, row.judgements, row.tasks, share, low, high))
    return sorted(found, key=lambda one: (-one.judgements, str(one.first.writer), str(one.second.writer)))


def _counted(project_id: int) -> Select[*tuple[int | float | None, ...]]:
    """Per two writers: judgements, tasks, prompts, the sum of what they said, and how it spreads over prompts.

    Which of two writers stands first is settled by their ids, so that both orders of a task come together.
    """
    one, other = aliased(Completion), aliased(Completion)
    at_one, at_other = aliased(TaskCompletion), aliased(TaskCompletion)
    # An imported judgement is of imported responses.
    labels = (*conditions.labels_of(project_id), Judgement.kind != "imported")
    newest = select(Judgement).where(*labels).order_by(Judgement.id.desc()).limit(MOST_JUDGEMENTS)
    judgement = aliased(Judgement, newest.subquery())
    said = score(judgement, at_one.position, at_other.position)
    by_prompt = (
        select(
            one.model_version_id.label("first_policy"),
            one.served_model_id.label("first_served"),
            other.model_version_id.label("second_policy"),
            other.served_model_id.label("second_served"),
            func.count(judgement.task_id.distinct()).label("tasks"),
            func.sum(said).label("said"),
            func.count(said).label("count"),
        )
        .join(at_one, at_one.task_id == judgement.task_id)
        .join(at_other, at_other.task_id == judgement.task_id)
        .join(one, one.id == at_one.completion_id)
        .join(other, other.id == at_other.completion_id)
        .where(
            or_(one.served_model_id.is_not(None), other.served_model_id.is_not(None)),
            _order(one) < _order(other),
            said.is_not(None),
        )
        .group_by(
            one.model_version_id,
            one.served_model_id,
            other.model_version_id,
            other.served_model_id,
            one.prompt_id,
        )
        .subquery()
    )
    two = (by_prompt.c.first_policy, by_prompt.c.first_served, by_prompt.c.second_policy, by_prompt.c.second_served)
    judgements, said = func.sum(by_prompt.c.count), func.sum(by_prompt.c.said)
    share = said / judgements
    # Σ (said − share · count)² over prompts, multiplied out so that one pass is enough.
    spread = (
        func.sum(by_prompt.c.said * by_prompt.c.said)
        - 2 * share * func.sum(by_prompt.c.said * by_prompt.c.count)
        + share * share * func.sum(by_prompt.c.count * by_prompt.c.count)
    )
    return select(
        *two,
        cast(judgements, BigInteger).label("judgements"),
        cast(func.sum(by_prompt.c.tasks), BigInteger).label("tasks"),
        func.count().label("prompts"),
        said.label("preferred"),
        spread.label("spread"),
    ).group_by(*two)


def _order(completion: type[Completion]) -> ColumnElement[int]:
    """A number for a writer, negative for policies; null, and so never in order, for everybody else's responses."""
    return case(
        (completion.served_model_id.is_not(None), completion.served_model_id),
        (completion.source == "policy", -completion.model_version_id),
    )


def score(
    judgement: type[Judgement], first: InstrumentedAttribute[int], second: InstrumentedAttribute[int]
) -> ColumnElement[float | None]:
    """What a judgement says of two positions: 1 for the first, 0 for the second, one half for a tie, null for nothing.

    The positions of a pair are 0 and 1. Unranked isn't last, and of two that aren't the best nothing was said.
    """
    of_first, of_second = judgement.ranks[first + 1], judgement.ranks[second + 1]
    pair = case((judgement.preference == 0, 0.5), ((judgement.preference > 0) == (first < second), 1.0), else_=0.0)
    best = case((of_first == 1, 1.0), (of_second == 1, 0.0))
    ranked = case((of_first == of_second, 0.5), (of_first < of_second, 1.0), (of_first > of_second, 0.0))
    return cast(
        case((judgement.preference.is_not(None), pair), (judgement.answer_type == "best", best), else_=ranked), Float
    )


async def names_of(db: AsyncSession, project: Project) -> dict[Writer, NamedWriter]:
    served = await db.execute(select(ServedModel.id, ServedModel.name).where(ServedModel.project_id == project.id))
    policies = await db.execute(
        select(ModelVersion.id, ModelVersion.number).where(
            ModelVersion.project_id == project.id, ModelVersion.kind == "policy"
        )
    )
    named = [NamedWriter(Writer("served", identity), name) for identity, name in served]
    named += [NamedWriter(Writer("policy", identity), str(number)) for identity, number in policies]
    return {entry.writer: entry for entry in named}


def _worth(share: float, judgements: int, prompts: int, spread: float) -> float:
    """As many independent judgements as these are worth: never more than there are, nor fewer than prompts.

    The ratio of the variance by prompt to the one that independent judgements would have is the design effect.
    """
    independent = judgements * share * (1 - share)
    if prompts < 2 or independent <= 0 or spread <= 0:
        return float(prompts)
    effect = spread * prompts / (prompts - 1) / independent
    return min(float(judgements), max(float(prompts), judgements / effect))
