"""Responses of graded quality, drawn from the grammar."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from app.starter.sentences import Place, Role, Sentence, sentences_of
from app.starter.subject import Subject
from app.starter.topics import TOPICS

# Only the grades that fit a prompt take part, so shares are relative. About a fifth of the responses are good, no more
# than vague ones: a policy that imitates all this has room to improve, and yet has seen often enough what good is. Few
# are wrong, because a small policy makes such mistakes by itself, and more of them if it is taught to.
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "helpful": 0.20,
    "vague": 0.22,
    "wrong": 0.03,
    "rambling": 0.18,
    "curt": 0.15,
    "over_refusal": 0.05,
    "rude": 0.17,
    "refusal": 0.18,
    "blunt": 0.07,
    "unsafe": 0.30,
}

MOST_WORDS = 55


@dataclass(frozen=True, slots=True)
class StarterResponse:
    text: str
    grade: str


@cache
def _by_role(subject: Subject) -> dict[Role, tuple[Sentence, ...]]:
    """What may be said about it; of an unfamiliar subject, nothing that is true of it alone, not even its name."""
    found: dict[Role, list[Sentence]] = {}
    for sentence in sentences_of(subject):
        if subject.familiar or sentence.subject is None or sentence.role is Role.HARM:
            found.setdefault(sentence.role, []).append(sentence)
    return {role: tuple(sentences) for role, sentences in found.items()}


@cache
def _confusable(subject: Subject) -> tuple[tuple[Subject, ...], tuple[Subject, ...]]:
    """The subjects that wrong responses are about by mistake: those of the same topic, and those of the next one.

    So few, because a small language model can learn no more; never one that is held out.
    """
    topics = [topic for topic in TOPICS if topic.subjects[0].familiar and not topic.subjects[0].refusal_due]
    usable = [[s for s in topic.subjects if not s.held_out] for topic in topics if not topic.held_out]
    own = next((place for place, topic in enumerate(TOPICS) if subject in topic.subjects), 0) % len(usable)
    return tuple(s for s in usable[own] if s is not subject), tuple(usable[(own + 1) % len(usable)])


class _Draw:
    """Random sentences of one subject."""

    def __init__(self, subject: Subject, rng: random.Random) -> None:
        self.subject = subject
        self.rng = rng

    def other(self) -> "_Draw":
        """The same for a subject that is mistaken for this one."""
        near, far = _confusable(self.subject)
        return _Draw(self.rng.choice(near if self.rng.random() < 0.6 else far), self.rng)

    def one(self, role: Role, fits: Callable[[Sentence], bool] = lambda _: True) -> Sentence:
        return self.rng.choice([s for s in _by_role(self.subject)[role] if fits(s)])

    def maybe(self, probability: float, role: Role, courteous: bool = False) -> list[Sentence]:
        if role not in _by_role(self.subject) or self.rng.random() >= probability:
            return []
        return [self.one(role, lambda s: s.courteous or not courteous)]

    def families(self, role: Role, count: int) -> list[Sentence]:
        """`count` sentences that say different things."""
        names = sorted({s.family for s in _by_role(self.subject)[role]})
        chosen = self.rng.sample(names, count)
        return [self.rng.choice([s for s in _by_role(self.subject)[role] if s.family == name]) for name in chosen]

    def steps(self, count: int, role: Role = Role.STEP, said: Sequence[Sentence] = (), more: int = 0) -> list[Sentence]:
        """`count` different steps after what was `said`, with so many `more` steps of another subject to follow.

        An unfamiliar subject has none: general advice takes their place.
        """
        if role is Role.STEP and not self.subject.familiar:
            role = Role.ADVICE
        known = sorted({sentence.steps[0] for sentence in _by_role(self.subject)[role]})
        indices = self.rng.sample(known, min(count, len(known)))
        if self.subject.ordered and role is not Role.ADVICE:
            indices.sort()
        before = sum(sentence.role is role for sentence in said)
        found: list[Sentence] = []
        for number, index in enumerate(indices, start=before):
            places = _places(number, before + len(indices) + more, opened=bool(said))
            used = {_first_word(sentence) for sentence in found}
            fitting = [s for s in _by_role(self.subject)[role] if s.steps == (index,) and s.place in places]
            found.append(self.rng.choice([s for s in fitting if _first_word(s) not in used] or fitting))
        return found


def _places(number: int, count: int, opened: bool) -> tuple[Place, ...]:
    """Where the wording of step `number` of `count` may belong; two steps are too few for a "finally"."""
    if number == 0:
        return (Place.ANY, Place.FIRST) if opened else (Place.ANY, Place.FIRST, Place.START)
    if number == count - 1 and count > 2:
        return (Place.ANY, Place.LATER, Place.LAST)
    return (Place.ANY, Place.LATER)


def _first_word(sentence: Sentence) -> str:
    return sentence.text.split(" ", 1)[0]


def _helpful(draw: _Draw) -> list[Sentence]:
    opening = draw.maybe(0.75, Role.OPENING)
    steps = draw.steps(draw.rng.choice((2, 2, 3, 3)), said=opening)
    return [*opening, *steps, *draw.maybe(0.3, Role.REASON), *draw.maybe(0.5, Role.CLOSING)]


def _vague(draw: _Draw) -> list[Sentence]:
    said = draw.families(Role.VAGUE, draw.rng.choice((2, 2, 3)))
    return [*draw.maybe(0.5, Role.OPENING), *said, *draw.maybe(0.4, Role.CLOSING)]


def _wrong(draw: _Draw) -> list[Sentence]:
    other = draw.other()
    variant = draw.rng.random()
    if variant < 0.3:
        return _helpful(other)
    opening, closing = draw.maybe(0.85, Role.OPENING), draw.maybe(0.5, Role.CLOSING)
    if variant < 0.7:
        return [*opening, *other.steps(draw.rng.choice((2, 3)), said=opening), *closing]
    right = [*opening, *draw.steps(1, said=opening, more=2)]
    return [*right, *other.steps(2, said=right), *closing]


def _rambling(draw: _Draw) -> list[Sentence]:
    said = draw.families(Role.RAMBLE, draw.rng.choice((2, 3, 3)))
    again = draw.one(Role.RAMBLE, lambda s: s.family == said[0].family)
    steps = draw.steps(draw.rng.choice((0, 1, 1)), said=said)
    return [*draw.maybe(0.5, Role.OPENING), *said, *steps, again, *draw.maybe(0.3, Role.CLOSING)]


def _blunt(draw: _Draw) -> list[Sentence]:
    return [draw.one(Role.REFUSAL, lambda s: not s.courteous)]


def _curt(draw: _Draw) -> list[Sentence]:
    return [*draw.steps(1), *draw.maybe(0.6, Role.CURT)]


def _rude(draw: _Draw) -> list[Sentence]:
    said = draw.families(Role.RUDE, draw.rng.choice((1, 2, 2)))
    steps = [] if draw.subject.refusal_due else draw.steps(draw.rng.choice((0, 0, 1, 2)), said=said)
    return [*said, *steps]


def _refusal(draw: _Draw) -> list[Sentence]:
    refusal = draw.one(Role.REFUSAL, lambda s: s.courteous)
    steps = draw.steps(draw.rng.choice((0, 1, 1, 2)), said=[refusal])
    return [refusal, *draw.maybe(0.5, Role.REASON), *steps, *draw.maybe(0.4, Role.PARTING)]


def _over_refusal(draw: _Draw) -> list[Sentence]:
    refusal = draw.one(Role.REFUSAL, lambda s: s.courteous)
    expert = draw.families(Role.VAGUE, 1) if draw.rng.random() < 0.3 else []
    return [refusal, *expert, *draw.maybe(0.5, Role.PARTING)]


def _unsafe(draw: _Draw) -> list[Sentence]:
    agreement = draw.maybe(0.7, Role.AGREEMENT)
    return [*agreement, *draw.steps(draw.rng.choice((2, 3)), Role.HARM, agreement)]


_HARMLESS_GRADES: Mapping[str, Callable[[_Draw], list[Sentence]]] = {
    "helpful": _helpful,
    "vague": _vague,
    "wrong": _wrong,
    "rambling": _rambling,
    "curt": _curt,
    "over_refusal": _over_refusal,
    "rude": _rude,
}
_REFUSED_GRADES: Mapping[str, Callable[[_Draw], list[Sentence]]] = {
    "refusal": _refusal,
    "unsafe": _unsafe,
    "vague": _vague,
    "blunt": _blunt,
    "rude": _rude,
}


def grades_for(subject: Subject) -> tuple[str, ...]:
    return tuple(_REFUSED_GRADES if subject.refusal_due else _HARMLESS_GRADES)


def write_response(subject: Subject, grade: str, rng: random.Random) -> StarterResponse:
    """A response of this grade to any prompt about the subject. Raises KeyError if the grade doesn't fit it."""
    grades = _REFUSED_GRADES if subject.refusal_due else _HARMLESS_GRADES
    while True:
        text = " ".join(sentence.text for sentence in grades[grade](_Draw(subject, rng)))
        if len(text.split()) <= MOST_WORDS:
            return StarterResponse(text, grade)


def draw_response(subject: Subject, rng: random.Random, weights: Mapping[str, float]) -> StarterResponse:
    """A response whose grade is drawn by `weights`; a grade that they don't name is never drawn."""
    grades = grades_for(subject)
    grade = rng.choices(grades, [weights.get(grade, 0.0) for grade in grades])[0]
    return write_response(subject, grade, rng)
