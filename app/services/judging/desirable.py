"""What a judgement says of each response by itself."""

from collections.abc import Sequence

from app.db.tables import Judgement


def desirable(judgement: Judgement) -> Sequence[bool | None]:
    """Whether each response is: acceptable, where that was said, else chosen; None where neither was said of it."""
    chosen = _chosen(judgement)
    if judgement.acceptable is None:
        return chosen
    return [by_choice if said is None else said for said, by_choice in zip(judgement.acceptable, chosen, strict=True)]


def _chosen(judgement: Judgement) -> Sequence[bool | None]:
    """Whether nothing was put above a response; None where it was compared with nothing, or tied with all."""
    if judgement.preference is not None:
        return [judgement.preference > 0, judgement.preference < 0] if judgement.preference else [None, None]
    assert judgement.ranks is not None
    if judgement.answer_type == "best":
        return [rank is not None for rank in judgement.ranks]
    ranked = {rank for rank in judgement.ranks if rank is not None}
    if len(ranked) < 2:
        return [None] * len(judgement.ranks)
    return [None if rank is None else rank == min(ranked) for rank in judgement.ranks]
