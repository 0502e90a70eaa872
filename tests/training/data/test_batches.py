"""Batches and endless shuffles: nothing lost, nothing twice, within the budget, and the same again by the seed."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.branches import Branches
from training.data.batches import draw, length_batches, row_batches, shuffled_batches, shuffled_length_batches

lengths_of_rows = st.lists(st.integers(1, 60), max_size=60)
budgets = st.integers(1, 200)
seeds = st.integers(0, 2**40)
no_time_limit = settings(max_examples=60, deadline=None)


def padded(batch: list[int], lengths: list[int]) -> int:
    return len(batch) * max(lengths[index] for index in batch)


@given(lengths=lengths_of_rows, budget=budgets, seed=seeds)
@no_time_limit
def test_every_row_is_in_one_batch_and_every_batch_within_the_budget(
    lengths: list[int], budget: int, seed: int
) -> None:
    for batches in (
        length_batches(lengths, batch_tokens=budget),
        shuffled_length_batches(lengths, batch_tokens=budget, seed=seed),
    ):
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(len(batch) == 1 or padded(batch, lengths) <= budget for batch in batches)


@given(lengths=lengths_of_rows, budget=budgets, seed=seeds)
@no_time_limit
def test_packed_batches_count_no_padding(lengths: list[int], budget: int, seed: int) -> None:
    batches = shuffled_batches(lengths, batch_tokens=budget, seed=seed)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or sum(lengths[index] for index in batch) <= budget for batch in batches)


@given(lengths=lengths_of_rows, budget=budgets)
@no_time_limit
def test_plain_batches_go_from_the_shortest_to_the_longest_and_are_as_full_as_may_be(
    lengths: list[int], budget: int
) -> None:
    batches = length_batches(lengths, batch_tokens=budget)
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths)
    for batch, following in pairwise(batches):
        assert padded([*batch, following[0]], lengths) > budget


@given(lengths=lengths_of_rows, budget=budgets, seed=seeds)
@no_time_limit
def test_the_seed_alone_decides(lengths: list[int], budget: int, seed: int) -> None:
    for shuffled in (shuffled_length_batches, shuffled_batches):
        first, again = (shuffled(lengths, batch_tokens=budget, seed=seed) for _ in range(2))
        assert first == again


@pytest.mark.parametrize("shuffled", [shuffled_length_batches, shuffled_batches])
def test_another_seed_has_other_neighbours_and_another_order(shuffled: type[object]) -> None:
    lengths = [10] * 64
    batches = [shuffled(lengths, batch_tokens=80, seed=seed) for seed in range(20)]  # type: ignore[call-arg]
    neighbours = {tuple(sorted(found[0])) for found in batches}  # type: ignore[index]
    assert len(neighbours) == 20
    assert len({found[0][0] for found in batches}) > 10  # type: ignore[index]


def test_long_rows_do_not_always_come_last() -> None:
    lengths = list(range(1, 101))
    firsts = [shuffled_length_batches(lengths, batch_tokens=300, seed=seed)[0] for seed in range(20)]
    longest = [max(lengths[index] for index in batch) for batch in firsts]
    assert min(longest) < 40 < 60 < max(longest)


def test_shuffled_batches_of_length_hardly_pad() -> None:
    lengths = [1 + index % 50 for index in range(500)]
    batches = shuffled_length_batches(lengths, batch_tokens=400, seed=1)
    assert sum(padded(batch, lengths) for batch in batches) < 1.15 * sum(lengths)


def test_no_rows_make_no_batches() -> None:
    assert length_batches([], batch_tokens=5) == []
    assert shuffled_length_batches([], batch_tokens=5, seed=0) == []
    assert shuffled_batches([], batch_tokens=5, seed=0) == []
    assert row_batches([], batch_tokens=5) == []


@given(
    judgements=st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4)), max_size=30),
    budget=budgets,
)
@no_time_limit
def test_judgements_in_one_row_and_in_several_do_not_mix(judgements: list[tuple[int, list[int]]], budget: int) -> None:
    rows_of = []
    for place, (prompt, responses) in enumerate(judgements):
        row = Branches([1] * prompt, [[2] * length for length in responses])
        rows_of.append([row] if place % 2 else row.apart)
    batches = row_batches(rows_of, batch_tokens=budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(rows_of)))
    for batch in batches:
        assert len({len(rows_of[index]) == 1 for index in batch}) == 1
        tokens = [len(rows_of[index]) * max(map(len, rows_of[index])) for index in batch]
        assert len(batch) == 1 or len(batch) * max(tokens) <= budget


@given(items=st.integers(1, 20), start=st.integers(0, 200), count=st.integers(0, 60), seed=seeds)
@no_time_limit
def test_a_stretch_of_an_endless_sequence_is_that_stretch_wherever_one_begins(
    items: int, start: int, count: int, seed: int
) -> None:
    whole = draw(range(items), start=0, count=start + count, seed=seed, purpose="x")
    assert draw(range(items), start=start, count=count, seed=seed, purpose="x") == whole[start:]


@given(items=st.integers(1, 20), rounds=st.integers(1, 4), seed=seeds)
@no_time_limit
def test_each_comes_once_before_any_comes_again(items: int, rounds: int, seed: int) -> None:
    drawn = draw(range(items), start=0, count=items * rounds, seed=seed, purpose="x")
    for begin in range(0, len(drawn), items):
        assert sorted(drawn[begin : begin + items]) == list(range(items))


def test_every_round_and_every_purpose_has_an_order_of_its_own() -> None:
    orders = [
        tuple(draw(range(30), start=30 * epoch, count=30, seed=seed, purpose=purpose))
        for epoch in range(3)
        for seed in (0, 1)
        for purpose in ("prompts", "demonstrations")
    ]
    assert len(set(orders)) == len(orders)


def test_over_many_seeds_every_place_is_as_likely() -> None:
    firsts = Counter(draw("abcde", start=0, count=1, seed=seed, purpose="x")[0] for seed in range(1000))
    assert all(abs(firsts[one] - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5 for one in "abcde")
