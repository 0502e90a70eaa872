"""Kinds of simulated people: what each says of the same tasks."""

from collections import Counter

import pytest

from app import starter
from app.simulation.kinds import MIXED, Kind, answers_of
from app.simulation.page import SeenTask
from app.starter import gold

TASKS = [
    SeenTask(prompt.text, (one.text, other.text), "/", {})
    for prompt, one, other in starter.comparisons(0, 120)
    if gold.preference(prompt.text, one.text, other.text) != 0
]


def side(kind: Kind, task: SeenTask, *, noise: float = 0.0) -> int:
    """1 where A is said to be better, -1 where B is, 0 for a tie."""
    choice = int(answers_of(kind, noise=noise, seed=3, annotator=0)(task)["choice"])
    return (choice < 4) - (choice > 4)


def right(kind: Kind) -> float:
    said = [(side(kind, task), gold.preference(task.prompt, *task.responses)) for task in TASKS]
    return sum(said_ * truly > 0 for said_, truly in said) / len(said)


def test_thirteen_people_are_of_five_kinds() -> None:
    assert Counter(MIXED) == {"noisy": 7, "lazy": 2, "sided": 2, "adversarial": 1, "different": 1}


def test_the_noisy_are_right_the_adversarial_wrong_and_the_sided_in_between() -> None:
    assert right("noisy") == 1
    assert right("adversarial") == 0
    assert 0.6 < right("sided") < 0.9


def test_the_lazy_press_the_first_whatever_it_says() -> None:
    assert {side("lazy", task) for task in TASKS} == {1}


def test_who_is_different_likes_what_is_short_and_says_it_again() -> None:
    for task in TASKS:
        a, b = (len(text.split()) for text in task.responses)
        assert side("different", task) * (b - a) >= 0
        assert side("different", task) == side("different", task)
    assert 0.1 < right("different") < 0.9


@pytest.mark.parametrize("kind", ["noisy", "lazy", "sided", "adversarial", "different"])
def test_everybody_can_rank_and_choose_the_best(kind: Kind) -> None:
    three = (*TASKS[0].responses, TASKS[1].responses[0])
    answer = answers_of(kind, noise=0.1, seed=0, annotator=0)
    ranking = answer(SeenTask(TASKS[0].prompt, three, "/", {"answer_type": "ranking"}))
    assert set(ranking) == {"rank_a", "rank_b", "rank_c"}
    assert set(answer(SeenTask(TASKS[0].prompt, three, "/", {"answer_type": "best"}))) == {"best"}
