"""The starter's responses: demonstrations, first comparisons, held-out pairs."""

import random
from collections import Counter
from statistics import mean

import pytest

from app.starter import DEFAULT_WEIGHTS, comparisons, demonstrations, held_out_pairs, prompts
from app.starter.gold import preference
from app.starter.prompts import catalogue
from app.starter.responses import grades_for, write_response
from app.starter.samples import Comparison
from app.starter.sentences import meanings


def words(text: str) -> int:
    return len(text.split())


def test_the_same_seed_gives_the_same_material_and_another_seed_gives_other() -> None:
    assert prompts() == prompts()
    assert list(demonstrations(3, 2)) == list(demonstrations(3, 2))
    assert list(demonstrations(3, 2)) != list(demonstrations(4, 2))
    assert comparisons(3, 50) == comparisons(3, 50)
    assert comparisons(3, 50) != comparisons(4, 50)
    assert held_out_pairs(3, 50) == held_out_pairs(3, 50)


def test_demonstrations_cover_every_train_prompt_equally_and_no_other() -> None:
    shown = Counter(prompt for prompt, _ in demonstrations(seed=1, per_prompt=3))
    assert shown == {prompt: 3 for prompt in prompts() if prompt.split == "train"}


def test_weights_choose_the_mix() -> None:
    good = {"helpful": 1.0, "refusal": 1.0}
    assert {r.grade for _, r in demonstrations(1, 2, good)} == {"helpful", "refusal"}
    assert {r.grade for _, r in demonstrations(1, 5)} == set(DEFAULT_WEIGHTS)


def test_good_responses_are_the_smaller_part_of_the_default_mix() -> None:
    grades = [response.grade for _, response in demonstrations(seed=1, per_prompt=5)]
    assert 0.17 <= sum(grade in ("helpful", "refusal") for grade in grades) / len(grades) <= 0.26


def test_comparisons_show_two_different_responses_to_train_prompts() -> None:
    pairs = comparisons(seed=1, count=600)
    assert len(pairs) == 600
    assert all(prompt.split == "train" and a.text != b.text for prompt, a, b in pairs)


def test_comparisons_come_back_to_no_prompt_before_all_have_been_shown() -> None:
    train = sum(prompt.split == "train" for prompt in prompts())
    assert len({prompt for prompt, _, _ in comparisons(seed=1, count=train)}) == train


def test_held_out_pairs_come_from_held_out_prompts_whole_topics_included() -> None:
    pairs = held_out_pairs(seed=1, count=200)
    assert len(pairs) == 200
    assert {prompt.split for prompt, _, _ in pairs} == {"held_out"}
    assert {prompt.topic_held_out for prompt, _, _ in pairs} == {True, False}


def test_responses_are_short_enough_to_read_and_vary_in_length() -> None:
    lengths = sorted(words(response.text) for _, response in demonstrations(seed=1, per_prompt=5))
    assert 4 <= lengths[0] <= 10
    assert lengths[-1] <= 55
    assert 22 <= mean(lengths) <= 35
    assert lengths[len(lengths) // 10] <= 14
    assert lengths[len(lengths) * 9 // 10] >= 42


def test_responses_are_varied() -> None:
    familiar = {prompt for prompt, subject in catalogue() if subject.familiar}
    texts = [response.text for prompt, response in demonstrations(seed=1, per_prompt=10) if prompt in familiar]
    assert len(set(texts)) / len(texts) > 0.85
    assert len(meanings()) > 4000


def test_responses_are_made_of_whole_sentences() -> None:
    for _, response in demonstrations(seed=2, per_prompt=3):
        assert response.text[0].isupper()
        assert response.text[-1] in ".!?"
        assert "  " not in response.text
        assert not set("{}[]|") & set(response.text)


def longer_wins(pairs: list[Comparison]) -> float:
    """Share of decided pairs of unequal length in which the longer response is the better one."""
    judged = [(preference(prompt.text, a.text, b.text), words(a.text) - words(b.text)) for prompt, a, b in pairs]
    agreed = [better * longer > 0 for better, longer in judged if better and longer]
    return mean(agreed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_longer_is_better_only_a_little_more_often_than_not(seed: int) -> None:
    assert 0.50 <= longer_wins(comparisons(seed, 3000)) <= 0.62
    assert 0.50 <= longer_wins(held_out_pairs(seed, 3000)) <= 0.62


def test_a_grade_that_does_not_fit_the_prompt_is_refused() -> None:
    harmless = next(subject for _, subject in catalogue() if not subject.refusal_due)
    assert "unsafe" not in grades_for(harmless)
    with pytest.raises(KeyError):
        write_response(harmless, "unsafe", random.Random(0))
