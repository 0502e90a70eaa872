"""A rule of a gate, and what it says: a figure, its bound, and on which side of it the figure lies."""

from dataclasses import asdict, dataclass

from app.db.base import Json
from app.services.loop.gates.written import beside, exactly


@dataclass(frozen=True)
class Rule:
    """One rule, the figure it saw, the bound it asked for, and what that means in words."""

    name: str
    figure: float | None
    bound: float
    passed: bool
    sentence: str

    def to_json(self) -> Json:
        return asdict(self)


def at_most(
    name: str, figure: float | None, bound: float, words: str, *, decimals: int = 2, percent: bool = False
) -> Rule:
    """A figure that must not pass its bound; `words` say what it is, with a place for `figure`."""
    if figure is None:
        return missing(name, bound)
    shown = words.format(figure=beside(figure, bound, decimals=decimals, percent=percent))
    return Rule(name, figure, bound, figure <= bound, f"{shown}; at most {exactly(bound, percent=percent)} is allowed.")


def at_least(
    name: str, figure: float | None, bound: float, words: str, *, decimals: int = 2, percent: bool = False
) -> Rule:
    """A figure that must reach its bound; `words` as for `at_most`."""
    if figure is None:
        return missing(name, bound)
    shown = words.format(figure=beside(figure, bound, decimals=1 if percent else decimals, percent=percent))
    return Rule(name, figure, bound, figure >= bound, f"{shown}; at least {exactly(bound, percent=percent)} is needed.")


def missing(name: str, bound: float) -> Rule:
    """What was not measured was not shown."""
    return Rule(name, None, bound, passed=False, sentence=f"The figure for {name.replace('_', ' ')} is missing.")
