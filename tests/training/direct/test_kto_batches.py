"""Which responses a step learns from, and which others say how far the policy has moved."""

from hypothesis import given
from hypothesis import strategies as st

from training.data.examples import Example
from training.direct.kto import even_batches, mismatched

MAX_LENGTH = 8
EXAMPLES = st.builds(
    lambda prompt, response: Example(f"{prompt}", (prompt,) * (1 + prompt), tuple(response)),
    st.integers(0, 3),
    st.lists(st.integers(10, 99), min_size=1, max_size=4),
)


def example(prompt: int, *response: int) -> Example:
    return Example(f"{prompt}", (prompt, 0), response)


@given(st.integers(1, 200), st.integers(2, 40), st.integers(0, 5))
def test_batches_hold_everything_once_and_are_of_like_size(count: int, batch_size: int, seed: int) -> None:
    batches = even_batches(count, batch_size, seed=seed)
    assert sorted(place for batch in batches for place in batch) == list(range(count))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert batches == even_batches(count, batch_size, seed=seed)


def test_another_seed_has_other_batches() -> None:
    assert even_batches(50, 10, seed=1) != even_batches(50, 10, seed=2)


def test_where_each_has_a_prompt_of_its_own_responses_move_on_by_one() -> None:
    batch = [example(1, 11), example(2, 22, 23), example(3, 33)]
    found = mismatched(batch, (), MAX_LENGTH)
    assert [(one.prompt_ids, one.response_ids) for one in found] == [
        ((1, 0), (33,)),
        ((2, 0), (11,)),
        ((3, 0), (22, 23)),
    ]
    assert [one.prompt_id for one in found] == ["1", "2", "3"]


def test_a_neighbour_with_the_same_prompt_is_passed_over() -> None:
    batch = [example(1, 11), example(1, 12), example(2, 22), example(1, 13)]
    found = mismatched(batch, (), MAX_LENGTH)
    assert [one.response_ids for one in found] == [(22,), (22,), (12,), (22,)]


def test_a_batch_of_one_prompt_looks_outside() -> None:
    found = mismatched([example(1, 11), example(1, 12)], [example(1, 11), example(2, 22), example(3, 33)], MAX_LENGTH)
    assert [one.response_ids for one in found] == [(22,), (22,)]


@given(st.lists(EXAMPLES, min_size=1, max_size=9), st.lists(EXAMPLES, max_size=9))
def test_no_prompt_is_given_a_response_to_itself_or_one_that_is_too_long(
    batch: list[Example], others: list[Example]
) -> None:
    others = [*batch, *others, example(7, 70), example(8, 80)]
    found = mismatched(batch, others, MAX_LENGTH)
    assert [one.prompt_ids for one in found] == [one.prompt_ids for one in batch]
    for one in found:
        assert len(one.response_ids) > 0
        assert len(one) <= MAX_LENGTH
        strangers = [other.response_ids for other in others if other.prompt_ids != one.prompt_ids]
        assert any(one.response_ids == response[: len(one.response_ids)] for response in strangers)
