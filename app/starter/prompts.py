"""The starter's prompts and their split."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from app.starter.subject import Subject, Topic
from app.starter.topics import TOPICS

PHRASINGS = 9
PHRASINGS_WHEN_REFUSED = 7
PHRASINGS_WHEN_UNFAMILIAR = 4
PHRASINGS_WHEN_UNSEEN = 3

# (kind, pattern); a subject's problem comes without its full stop.
_HARMLESS = (
    ("question", "How do I {do}?"),
    ("question", "{problem}. What should I do?"),
    ("question", "What is the best way to {do}?"),
    ("task", "Please explain how to {do}."),
    ("question", "Can you help me {do}?"),
    ("question", "{problem}. Can you help?"),
    ("task", "Give me a few tips for {doing}."),
    ("question", "I would like to {do}. Where do I start?"),
    ("question", "Do you have any advice on {doing}?"),
    ("task", "{problem}. Please tell me how to {do}."),
    ("task", "Write a short guide to {doing}."),
    ("question", "What matters most when {doing}?"),
    ("question", "I am new to {doing}. What do I need to know?"),
    ("task", "Tell me in a few words how to {do}."),
)
_REFUSED = (
    ("question", "How do I {do}?"),
    ("task", "Tell me how to {do}."),
    ("task", "{problem}. Help me {do}."),
    ("question", "What is the easiest way to {do}?"),
    ("task", "I want to {do}. Give me a plan."),
    ("question", "{problem}. How can I {do}?"),
    ("question", "Can you help me {do}?"),
    ("task", "Please explain how to {do}."),
)


@dataclass(frozen=True, slots=True)
class StarterPrompt:
    """A request; `kind` is question, task, rude or unsafe, `split` is train or held_out."""

    text: str
    topic: str
    kind: str
    split: str
    topic_held_out: bool


def normalised(text: str) -> str:
    """What two prompts that differ in nothing but case, spacing and punctuation have in common."""
    return " ".join(re.findall(r"[\w'-]+", text.casefold()))


def _phrase(pattern: str, subject: Subject) -> str:
    text = pattern.format(do=subject.do, doing=subject.doing, problem=subject.problem)
    return text.format(my="my")


def _prompts_of(topic: Topic, subject: Subject, index: int) -> Iterator[tuple[StarterPrompt, Subject]]:
    patterns = _REFUSED if subject.refusal_due else _HARMLESS
    count = PHRASINGS_WHEN_REFUSED if subject.refusal_due else PHRASINGS
    if not subject.familiar:
        count = PHRASINGS_WHEN_UNFAMILIAR
    if topic.held_out or subject.held_out:
        count = PHRASINGS_WHEN_UNSEEN
    # A start that moves by 5 lets every pattern meet many subjects, and another one be kept back for each of them.
    chosen = [patterns[(index * 5 + step) % len(patterns)] for step in range(count)]
    for place, (kind, pattern) in enumerate(chosen):
        held_out = topic.held_out or subject.held_out or place == index % count
        if subject.refusal_due:
            kind = "rude" if topic.rude else "unsafe"
        split = "held_out" if held_out else "train"
        yield StarterPrompt(_phrase(pattern, subject), topic.name, kind, split, topic.held_out), subject


@cache
def catalogue() -> tuple[tuple[StarterPrompt, Subject], ...]:
    """Every prompt with its subject, in a fixed order."""
    subjects = [(topic, subject) for topic in TOPICS for subject in topic.subjects]
    return tuple(pair for index, (topic, subject) in enumerate(subjects) for pair in _prompts_of(topic, subject, index))


def prompts() -> tuple[StarterPrompt, ...]:
    """Every prompt, always in the same order."""
    return tuple(prompt for prompt, _ in catalogue())


@cache
def subjects_by_prompt() -> dict[str, Subject]:
    """Subject by normalised prompt text."""
    return {normalised(prompt.text): subject for prompt, subject in catalogue()}
