"""What a dataset version makes of judgements where people are not believed alike."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.db.base import Json

PairOfJudgement = tuple[int, int, int]
"""A judgement, and the positions of two responses that it says something of."""


@dataclass(frozen=True)
class Belief:
    """How likely the first response is better, and how much that weighs."""

    preference: float
    weight: float


@dataclass(frozen=True)
class Beliefs:
    """What judgements count as: pairs by what all people said; what somebody says of a response alone by the person, 1
    being to be taken as it is said, 0 nothing, -1 the opposite. People are pseudonyms of exports; whoever isn't in it
    is believed. `told` is what the version keeps of how they came about, so that it can be read and made again.
    """

    of_pairs: Mapping[PairOfJudgement, Belief]
    of_people: Mapping[str, float]
    told: Json

    def to_json(self) -> Json:
        people = {person: round(believed, 4) for person, believed in sorted(self.of_people.items())}
        return {**self.told, "people": people}
