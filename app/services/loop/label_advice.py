"""What to tell somebody who opens a round: how many judgements are likely to be enough."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import Sentence, phrase
from app.services.loop import models
from app.services.loop.label_need import expected_need, measured, more_judgements
from app.services.loop.round_settings import settings_of


@dataclass(frozen=True)
class Advice:
    """`enough` judgements in all, None where nobody can say."""

    enough: int | None
    sentence: Sentence


async def advice(db: AsyncSession, project: Project) -> Advice:
    """Judgements that are likely enough by the newest reward model, or by what is expected of a first one."""
    bounds = settings_of(project).reward_gate
    newest = await models.newest(db, project.id, "reward")
    found = measured(newest.figures, bounds.min_pairs) if newest is not None else None
    judgements = await models.judgements_of(db, newest) if newest is not None else None
    if newest is None or found is None or judgements is None:
        expected = expected_need(bounds.accuracy_low)
        return Advice(expected, Sentence(_FIRST, {"enough": expected}))
    known = {"number": newest.number, "judgements": judgements}
    if found.low > bounds.accuracy_low:
        return Advice(judgements, Sentence(_ENOUGH, known))
    more = more_judgements(found, bounds.accuracy_low, judgements)
    if more is None:
        return Advice(None, Sentence(_FAINT, known))
    return Advice(judgements + more, Sentence(_MORE, {**known, "more": more}))


_FIRST = phrase(
    "About %(enough)s judgements in all are likely to be enough for a first reward model, if it turns out right ten "
    "points more often than its gate asks."
)
_ENOUGH = phrase(
    "Reward model %(number)s was clearly better than its gate asks with %(judgements)s judgements. Twice as many "
    "usually add two points or more."
)
_MORE = phrase(
    "About %(more)s judgements beyond the %(judgements)s that reward model %(number)s learned from are likely to be "
    "enough for the next one."
)
_FAINT = phrase(
    "With %(judgements)s judgements reward model %(number)s agreed with people hardly more often than a coin: more of "
    "the same kind may not help. See first on the page Agreement whether people agree with each other."
)
