"""What rounds have asked: how many pairs, by which rule, and how many of them chance chose."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Task
from app.services import conditions
from app.services.selection.rules import RULES


@dataclass(frozen=True)
class Asked:
    """Pairs of a round that were chosen alike: by `rule`, in English; where it isn't the one that was wanted, `why`."""

    rule: str
    pairs: int
    is_random: bool
    why: str | None = None


async def in_rounds(db: AsyncSession, round_ids: Sequence[int]) -> dict[int, tuple[Asked, ...]]:
    """Pairs by id of the round: those drawn at random first, then the most. A round that asked nothing isn't there.

    Duels, which ask whether a policy may be promoted, are none of them.
    """
    rule, slice_, why = (Task.selection[key].astext for key in ("rule", "slice", "why"))
    rows = await db.execute(
        select(Task.round_id, rule, slice_, why, func.count())
        .where(Task.round_id.in_(round_ids), Task.purpose == "label", ~conditions.is_duel())
        .group_by(Task.round_id, rule, slice_, why)
    )
    found: defaultdict[int, list[Asked]] = defaultdict(list)
    for round_id, name, kind, reason, pairs in rows:
        title = RULES[name].title if name in RULES else name or ""
        found[round_id].append(Asked(title, pairs, kind == "random", reason))
    return {
        round_id: tuple(sorted(asked, key=lambda one: (not one.is_random, -one.pairs)))
        for round_id, asked in found.items()
    }
