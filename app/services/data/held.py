"""The judgements that a dataset version which is being cut is to hold, gathered in a table of the transaction's own."""

import json
from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, Float, Text, column, func, literal, select, table, text, true
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, Judgement, Prompt, Task
from app.services.data.judged_pairs import JudgedPair, Learnt
from app.services.judging.agreement.sides import of_two

HELD = table("held_judgements", column("id"), column("split"), column("learnt"))

_MADE = """
CREATE TEMP TABLE IF NOT EXISTS held_judgements (id bigint PRIMARY KEY, split text, learnt jsonb) ON COMMIT DROP
"""


async def begin(db: AsyncSession) -> None:
    """None yet."""
    await db.execute(text(_MADE))
    await db.execute(text("TRUNCATE held_judgements"))


async def remember(db: AsyncSession, pairs: Sequence[JudgedPair]) -> None:
    """Judgements whose pairs the version's file holds."""
    split_of = {pair.judgement_id: pair.record.split for pair in pairs}
    learnt_of: dict[int, list[Learnt]] = {}
    for pair in pairs:
        if pair.learnt is not None:
            learnt_of.setdefault(pair.judgement_id, []).append(pair.learnt)
    learnt = [json.dumps(learnt_of[number]) if number in learnt_of else None for number in split_of]
    rows = (
        func.unnest(
            sql_cast(list(split_of), ARRAY(BigInteger)),
            sql_cast(list(split_of.values()), ARRAY(Text)),
            sql_cast(learnt, ARRAY(Text)),
        )
        .table_valued("id", "split", "learnt", name="more")
        .render_derived()
    )
    statement = insert(HELD).from_select(
        ["id", "split", "learnt"], select(rows.c.id, rows.c.split, sql_cast(rows.c.learnt, JSONB))
    )
    # The pairs of one judgement may come in two portions.
    both = sql_cast(HELD.c.learnt, JSONB).op("||")(sql_cast(statement.excluded.learnt, JSONB))
    await db.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"learnt": both}))


async def remember_unpaired(db: AsyncSession, counted: Sequence[ColumnElement[bool]]) -> None:
    """Judgements of single responses, from files: no pair, but KTO learns from them."""
    unpaired = (
        select(Judgement.id, Prompt.split)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(
            *counted,
            Judgement.kind == "imported",
            Judgement.acceptable.is_not(None),
            func.cardinality(Judgement.acceptable) == 1,
            Prompt.split != "held_out",
            ~Prompt.excluded,
            Task.erased_at.is_(None),
        )
    )
    await db.execute(insert(HELD).from_select(["id", "split"], unpaired).on_conflict_do_nothing())


async def count(db: AsyncSession) -> int:
    """How many were remembered."""
    return await db.scalar(select(func.count()).select_from(HELD)) or 0


async def guidelines(db: AsyncSession) -> dict[str, int]:
    """How many of them were given under which version of the guidelines."""
    rows = await db.execute(
        select(Judgement.guidelines_version, func.count())
        .join(HELD, HELD.c.id == Judgement.id)
        .group_by(Judgement.guidelines_version)
        .order_by(Judgement.guidelines_version)
    )
    return {str(version): number for version, number in rows}


async def agreement(db: AsyncSession) -> tuple[int, float | None]:
    """How many pairs of responses several people judged, and how likely two of those say the same of one."""
    sides = of_two()
    level = func.sign(sides.c.level)
    of_unit = (
        select(*(func.count().filter(level == sign).label(name) for name, sign in (("a", 1), ("b", -1), ("tie", 0))))
        .select_from(HELD)
        .join(Judgement, Judgement.id == HELD.c.id)
        .join(sides, true())
        .where(Judgement.kind != "machine", ~Judgement.is_verdict)
        .group_by(Judgement.task_id, sides.c.first, sides.c.second)
        .having(func.count() > 1)
        .subquery()
    )
    said = (of_unit.c.a, of_unit.c.b, of_unit.c.tie)
    people = of_unit.c.a + of_unit.c.b + of_unit.c.tie
    alike = sum((number * (number - 1) for number in said), literal(0)) / sql_cast(people * (people - 1), Float)
    units, mean = (await db.execute(select(func.count(), func.avg(alike)).select_from(of_unit))).one()
    return units, None if mean is None else round(float(mean), 4)


async def keep(db: AsyncSession, version_id: int) -> None:
    """Write them down as what this version holds."""
    held = select(literal(version_id), HELD.c.id, HELD.c.split, HELD.c.learnt)
    columns = ["dataset_version_id", "judgement_id", "split", "learnt"]
    await db.execute(insert(DatasetJudgement).from_select(columns, held))
