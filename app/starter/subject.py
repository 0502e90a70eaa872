"""Subjects: what a starter prompt can be about, and what is true of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """Something a person can ask about; each is equal to itself alone.

    `do` is a verb phrase ("descale {my} kettle"), `doing_verb` its first word as a gerund, and `thing` the noun that
    an answer must name. `steps` are positive imperatives without capital or full stop: the useful steps of a harmless
    subject, or the safe alternatives of one that calls for refusal; an unfamiliar subject has none. `harm` holds what a
    response that complies with an unsafe request says; it is empty for harmless subjects. Phrases may hold choices:
    "[wipe|rub] it dry".
    """

    do: str
    doing_verb: str
    thing: str
    problem: str
    steps: tuple[str, ...]
    reason: str
    ordered: bool = True
    harm: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def doing(self) -> str:
        return " ".join([self.doing_verb, *self.do.split(" ")[1:]])

    @property
    def familiar(self) -> bool:
        return bool(self.steps)

    @property
    def refusal_due(self) -> bool:
        return bool(self.harm)


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    subjects: tuple[Subject, ...]
    held_out: bool = False
    rude: bool = False


def choices(phrase: str) -> Iterator[str]:
    """Every reading of a phrase with choices, in a fixed order."""
    found = _CHOICE.search(phrase)
    if found is None:
        yield phrase
        return
    for option in found.group(1).split("|"):
        yield from choices(phrase[: found.start()] + option + phrase[found.end() :])
