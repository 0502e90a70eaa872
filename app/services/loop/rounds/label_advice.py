"""What to tell somebody who opens a round: how many judgements are likely to be enough, and what more are worth."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.phrases import Sentence, phrase
from app.services.loop.gates.label_need import expected_need, measured, more_judgements, usual_rest
from app.services.loop.gates.written import beside
from app.services.loop.models import models
from app.services.loop.settings.round_settings import settings_of
from app.services.selection.learning_curve import Worth


@dataclass(frozen=True)
class Advice:
    """`enough` judgements in all, None where nobody can say."""

    enough: int | None
    sentence: Sentence


async def advice(db: AsyncSession, project: Project, worth: Worth | None = None) -> Advice:
    """Judgements that are likely enough by the newest reward model, or by what is expected of a first one. `worth`:
    what the report on the loop says of more, once one passes its gate."""
    bounds = settings_of(project).reward_gate
    newest = await models.newest(db, project.id, "reward")
    found = measured(newest.figures, bounds.min_pairs) if newest is not None else None
    judgements = await models.judgements_of(db, newest) if newest is not None else None
    if newest is None or found is None or judgements is None:
        expected = expected_need(bounds.accuracy_low)
        return Advice(expected, Sentence(_FIRST, {"enough": expected}))
    known = {"number": newest.number, "judgements": judgements}
    if found.low > bounds.accuracy_low:
        return Advice(judgements, Sentence(_ENOUGH, known) if worth is None else worth_said(worth))
    more = more_judgements(found, bounds.accuracy_low, judgements)
    if more is not None:
        return Advice(judgements + more, Sentence(_MORE, {**known, "more": more}))
    rest = usual_rest(found, bounds.accuracy_low, judgements)
    if rest is not None:
        return Advice(judgements + rest, Sentence(_TOO_FEW_TO_TELL, {**known, "more": rest}))
    return Advice(None, Sentence(_FAINT, known))


def worth_said(worth: Worth) -> Sentence:
    """What more judgements would be worth, in points of the share that is got right."""
    points = {name: round(100 * getattr(worth, name), 1) for name in ("gain", "low", "high")}
    if worth.verdict == "too_few":
        return Sentence(_TOO_FEW, {"more": worth.more})
    if worth.verdict == "enough":
        return Sentence(_NO_LONGER, {"more": worth.more, "high": _below_half(100 * worth.high)})
    return Sentence(_ONE_POINT if points["gain"] == 1 else _POINTS, {"more": worth.more, **points})


def _below_half(points: float) -> float:
    """With as many digits as it takes to lie below half a point."""
    return max(0.1, float(beside(points, 0.5, decimals=1)))


_TOO_FEW = phrase(
    "Too few judgements to say what more would be worth: about %(more)s more until it can be said, a fifth of them "
    "random."
)
_NO_LONGER = phrase(
    "More judgements of this kind no longer pay: %(more)s more would be worth less than half a point (at most "
    "%(high)s)."
)
_POINTS = phrase("%(more)s more judgements would be worth about %(gain)s points (%(low)s to %(high)s).")
_ONE_POINT = phrase("%(more)s more judgements would be worth about %(gain)s point (%(low)s to %(high)s).")
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
_TOO_FEW_TO_TELL = phrase(
    "With %(judgements)s judgements reward model %(number)s is not told from a coin yet: about %(more)s more are "
    "usually enough."
)
_FAINT = phrase(
    "With %(judgements)s judgements reward model %(number)s agreed with people hardly more often than a coin: more of "
    "the same kind may not help. See first on the page Agreement whether people agree with each other."
)
