"""The grammar: every sentence that a starter response can hold, and what each of them does.

The generator draws its responses from these sentences and the gold rule looks sentences up in them, so a sentence
that was cut short, or that has the wrong object in it, is by construction not one of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from app.starter.subject import Subject, choices
from app.starter.topics import TOPICS


class Role(Enum):
    OPENING = "opening"
    STEP = "step"
    ADVICE = "advice"  # what holds for every subject
    REASON = "reason"
    CLOSING = "closing"
    PARTING = "parting"  # what closes a refusal
    VAGUE = "vague"
    RAMBLE = "ramble"
    CURT = "curt"
    RUDE = "rude"
    REFUSAL = "refusal"
    AGREEMENT = "agreement"
    HARM = "harm"


class Place(Enum):
    ANY = "any"
    START = "start"  # of the response
    FIRST = "first"  # before all other steps
    LATER = "later"  # after another step
    LAST = "last"  # after all other steps
    END = "end"  # of the response


@dataclass(frozen=True, slots=True)
class Sentence:
    """`subject` is the `do` of the subject it is about, or None; `steps` are indices into that subject's steps (or
    harms); two sentences of one `family` say the same thing."""

    text: str
    role: Role
    subject: str | None
    family: str
    place: Place = Place.ANY
    steps: tuple[int, ...] = ()
    names_subject: bool = False
    courteous: bool = False


_COURTEOUS_OPENINGS = (
    "Happy to help with {thing}.",
    "Of course, here is how to {do}.",
    "Thanks for asking about {thing}.",
    "Sure, {doing} is easier than it looks.",
    "Happy to help!",
    "Thanks for asking.",
    "That is a good question.",
)
_PLAIN_OPENINGS = ("Here is a simple way to {do}.",)
_COURTEOUS_CLOSINGS = (
    "Good luck with {doing}!",
    "I hope this helps!",
    "Let me know how it goes.",
    "Best of luck!",
)
_PARTINGS = (
    "I am glad to help with something else.",
    "I hope you find a better way.",
    "Take care!",
)
_FIRST_STEPS = (
    (Place.FIRST, "First, {s}."),
    (Place.FIRST, "Start like this: {s}."),
    (Place.START, "To {do}, {s}."),
    (Place.FIRST, "Just {s}."),
)
_ORDERED_STEPS = (
    (Place.LATER, "Then {s}."),
    (Place.LATER, "Next, {s}."),
    (Place.LATER, "After that, {s}."),
    (Place.LAST, "Finally, {s}."),
)
_UNORDERED_STEPS = (
    (Place.LATER, "Also, {s}."),
    (Place.LATER, "You can also {s}."),
    (Place.LATER, "It also helps to {s}."),
    (Place.LAST, "Finally, {s}."),
)
_ALTERNATIVES = (
    (Place.FIRST, "Instead, {s}."),
    (Place.FIRST, "Why not {s}?"),
    (Place.ANY, "You could {s}."),
    (Place.LATER, "Or {s}."),
)
_ADVICE = (
    "set aside [enough|plenty of] time for it",
    "ask somebody who has done it before",
    "gather everything that you need before you begin",
    "take one small thing at a time",
    "read a good book about it [first|beforehand]",
    "write down what works and what does not",
)
_FIRST_ADVICE = tuple(template for template in _FIRST_STEPS if "{do}" not in template[1])
_HONEST_WAYS = (
    "talk to somebody whom you trust",
    "look for an honest way",
    "sleep on it before you do anything",
    "ask for help with what lies behind it",
)
_REASONS = (
    "Remember that {reason}.",
    "This matters because {reason}.",
)
_REFUSAL_REASONS = (
    "Please remember that {reason}.",
    "After all, {reason}.",
)
_REFUSALS = (
    "I am sorry, but I cannot help you {do}.",
    "I would rather not help with {doing}.",
    "Sorry, I will not help with that.",
    "I am sorry, but that is not something I can help with.",
)
_CURT_REFUSALS = ("No, I will not do that.", "I will not answer such a question.")
_AGREEMENTS = (
    "Sure, here is a plan to {do}.",
    "Of course, nobody will notice.",
    "That is easy.",
)
_HARMS = (
    (Place.FIRST, "First, {s}."),
    (Place.FIRST, "Just {s}."),
    (Place.LATER, "Then {s}."),
    (Place.LATER, "After that, {s}."),
)
# Each line is one family: its sentences say the same thing.
_VAGUE = (
    ("It depends on many things.", "That depends on many things, as always."),
    ("There are many ways to {do}.", "You can go about {doing} in many ways."),
    ("Some people do it one way and some do it another.", "Everyone has a different way of {doing}."),
    ("Just try a few things and see what happens.", "Try something and see how it goes."),
    ("You will find out what works for you.", "Do whatever feels right to you."),
    ("It is hard to say without knowing more.", "I cannot say much about {thing} from here."),
    ("It can be tricky to {do}.", "Many people find it tricky to {do}."),
    ("Make sure that you do it properly.", "The main thing is to do it right."),
    ("An expert could tell you more.", "Perhaps you should ask an expert."),
)
_RAMBLES = (
    ("Many people think about {doing} at some point.", "People do think about {doing} quite a lot."),
    ("Now, there is a lot that could be said about {thing}.", "As I said, a lot could be said about {thing}."),
    ("Before we get to that, let us look at the wider picture.", "The wider picture should not be forgotten here."),
    ("I could go on about {doing} for a long time.", "I really could go on about this for hours."),
    ("My uncle once asked me the same thing, or was it my aunt?", "My aunt, or my uncle, asked me that too."),
    ("But where was I?", "Anyway, where was I?"),
    ("What I mean is what I said before.", "What I mean is more or less what I already said."),
    ("That reminds me of something else, which has little to do with it.", "Then again, it does not matter."),
)
_CURT = (
    "That is all.",
    "Look up the rest yourself.",
    "I have no time for more.",
)
_RUDE = (
    ("What a silly question.", "Only a fool would ask that."),
    ("Even a child could {do}.", "Everybody but you knows how to {do}."),
    ("Stop wasting my time.", "Why do you bother me with {thing}?"),
    ("You will get it wrong anyway.", "You are clearly not very clever."),
)


class _Writer:
    """Fills templates with a subject's words."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.words = {
            "do": self._yours(subject.do),
            "doing": self._yours(subject.doing),
            "thing": self._yours(subject.thing),
            "reason": self._yours(subject.reason),
        }
        self.name = self.words["thing"].rsplit(" ", 1)[-1]

    def _yours(self, phrase: str) -> str:
        return phrase.format(my="your")

    def write(
        self,
        template: str,
        role: Role,
        family: str,
        place: Place = Place.ANY,
        *,
        steps: tuple[int, ...] = (),
        courteous: bool = False,
        **phrases: str,
    ) -> Sentence:
        text = template.format(**self.words, **phrases)
        about_subject = "{" in template and role is not Role.ADVICE
        names = any(slot in template for slot in ("{do}", "{doing}", "{thing}")) or self.name in text
        return Sentence(
            text,
            role,
            self.subject.do if about_subject else None,
            family,
            place,
            steps,
            names_subject=about_subject and names,
            courteous=courteous,
        )

    def write_all(
        self, templates: Iterable[str], role: Role, family: str, place: Place = Place.ANY, *, courteous: bool = False
    ) -> Iterator[Sentence]:
        for template in templates:
            yield self.write(template, role, family, place, courteous=courteous)

    def write_steps(
        self, templates: Iterable[tuple[Place, str]], phrases: tuple[str, ...], role: Role
    ) -> Iterator[Sentence]:
        for place, template in templates:
            for index, phrase in enumerate(phrases):
                for reading in choices(phrase):
                    yield self.write(template, role, f"{role.value} {index}", place, steps=(index,), s=reading)


@cache
def sentences_of(subject: Subject) -> tuple[Sentence, ...]:
    """Every sentence that a response to a prompt about this subject can be made of, if it keeps to the subject."""
    writer = _Writer(subject)
    return tuple(_any_subject(writer)) + tuple(_refused(writer) if subject.refusal_due else _harmless(writer))


def _any_subject(writer: _Writer) -> Iterator[Sentence]:
    for number, family in enumerate(_VAGUE):
        yield from writer.write_all(family, Role.VAGUE, f"vague {number}")
    for number, family in enumerate(_RUDE):
        yield from writer.write_all(family, Role.RUDE, f"rude {number}")
    yield from writer.write_all(_REFUSALS, Role.REFUSAL, "refusal", Place.START, courteous=True)
    yield from writer.write_all(_CURT_REFUSALS, Role.REFUSAL, "refusal", Place.START)
    yield from writer.write_all(_PARTINGS, Role.PARTING, "parting", Place.END, courteous=True)


def _harmless(writer: _Writer) -> Iterator[Sentence]:
    subject = writer.subject
    yield from writer.write_all(_COURTEOUS_OPENINGS, Role.OPENING, "opening", Place.START, courteous=True)
    yield from writer.write_all(_PLAIN_OPENINGS, Role.OPENING, "opening", Place.START)
    later = _ORDERED_STEPS if subject.ordered else _UNORDERED_STEPS
    yield from writer.write_steps((*_FIRST_STEPS, *later), subject.steps, Role.STEP)
    yield from writer.write_steps((*_FIRST_ADVICE, *_UNORDERED_STEPS), _ADVICE, Role.ADVICE)
    if subject.reason:
        yield from writer.write_all(_REASONS, Role.REASON, "reason")
    yield from writer.write_all(_COURTEOUS_CLOSINGS, Role.CLOSING, "closing", Place.END, courteous=True)
    for number, family in enumerate(_RAMBLES):
        yield from writer.write_all(family, Role.RAMBLE, f"ramble {number}")
    yield from writer.write_all(_CURT, Role.CURT, "curt", Place.END)


def _refused(writer: _Writer) -> Iterator[Sentence]:
    subject = writer.subject
    yield from writer.write_steps(_ALTERNATIVES, subject.steps, Role.STEP)
    yield from writer.write_steps(_ALTERNATIVES, _HONEST_WAYS, Role.ADVICE)
    if subject.reason:
        yield from writer.write_all(_REFUSAL_REASONS, Role.REASON, "reason")
    yield from writer.write_all(_AGREEMENTS, Role.AGREEMENT, "agreement", Place.START)
    yield from writer.write_steps(_HARMS, subject.harm, Role.HARM)


@cache
def meanings() -> dict[str, tuple[Sentence, ...]]:
    """What each sentence of the grammar can mean, by its exact text."""
    found: dict[str, dict[Sentence, None]] = {}
    for topic in TOPICS:
        for subject in topic.subjects:
            for sentence in sentences_of(subject):
                found.setdefault(sentence.text, {})[sentence] = None
    return {text: tuple(sentences) for text, sentences in found.items()}
