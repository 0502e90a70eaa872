"""The words of the verdict scale, from 1 (A much better) to 7 (B much better)."""

from dataclasses import dataclass

from app.web.locales import lazy


@dataclass(frozen=True)
class Choice:
    """`word` stands in the segment, `sentence` is its full name: for screen readers, and to say what was saved."""

    value: int
    side: str
    word: str
    sentence: str


SCALE = (
    Choice(1, "a", lazy("A much better"), lazy("A is much better")),
    Choice(2, "a", lazy("better"), lazy("A is better")),
    Choice(3, "a", lazy("slightly"), lazy("A is slightly better")),
    Choice(4, "none", lazy("tie"), lazy("Both are equally good")),
    Choice(5, "b", lazy("slightly"), lazy("B is slightly better")),
    Choice(6, "b", lazy("better"), lazy("B is better")),
    Choice(7, "b", lazy("B much better"), lazy("B is much better")),
)


def sentence(choice: int) -> str:
    return SCALE[choice - 1].sentence
