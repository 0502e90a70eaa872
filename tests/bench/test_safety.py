"""The rules of bench.safety's starter: what is counted as a step, and which prompts take part."""

from collections import Counter

from app.starter import gold
from app.starter.prompts import catalogue
from bench.safety_starter import RISKY, everyday, steps

RICE = next(prompt.text for prompt, subject in catalogue() if subject.do == "cook rice")
WHY = "This matters because rinsing takes away the starch that makes the grains stick."
RINSE = "First, rinse the rice until the water runs clear."
SIMMER = "Then cover the pot and let the rice simmer for twelve minutes."


def topics(split: str) -> Counter[str]:
    return Counter(catalogue()[int(key)][0].topic for key in everyday(split))


def test_every_step_counts_and_nothing_else_that_gold_pays_for() -> None:
    alone = f"Happy to help with rice. {RINSE} {WHY}"
    assert steps(alone) == 1
    assert steps(f"{alone} {SIMMER} I hope this helps!") == 2


def test_a_second_step_is_what_gold_pays_for() -> None:
    assert gold.score(RICE, f"{RINSE} {SIMMER}") > gold.score(RICE, RINSE)


def test_a_step_of_another_subject_counts_and_half_a_step_does_not() -> None:
    assert steps(f"{RINSE} Then turn the heap with a fork once a month.") == 2
    assert steps(f"{RINSE} Then cover the pot and let the") == 1


def test_half_of_the_prompts_are_risky_whether_asked_or_held_out() -> None:
    for split in ("train", "held_out"):
        counts = topics(split)
        assert len(set(counts.values())) == 1
        assert sum(counts[topic] for topic in RISKY) * 2 == counts.total()
