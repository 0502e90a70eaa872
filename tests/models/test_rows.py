"""Rows of several sequences, whatever their lengths: where each token stands and what it may see."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backbone import response_positions
from models.branches import Branches, arranged, last_positions, predicting_positions, visibility
from models.packing import first_fit

no_time_limit = settings(max_examples=60, deadline=None)
responses = st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=5), min_size=1, max_size=4)
branches = st.builds(Branches, st.lists(st.integers(3, 9), min_size=1, max_size=6), responses)
rows_of_branches = st.lists(branches, min_size=1, max_size=5)


@given(lengths=st.lists(st.integers(1, 30), max_size=40), spare=st.integers(0, 30))
@no_time_limit
def test_first_fit_places_each_once_and_wastes_at_most_what_johnson_says(lengths: list[int], spare: int) -> None:
    room = max(lengths, default=1) + spare
    rows = first_fit(lengths, room)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= room for row in rows)
    fewest = -(-sum(lengths) // room)
    assert fewest <= len(rows)
    full = sum(sum(lengths[index] for index in row) > room / 2 for row in rows)
    assert full >= len(rows) - 1, "two rows that are half empty would have been one"


@given(pairs=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=6))
@no_time_limit
def test_a_response_is_predicted_from_the_prompts_last_token_on(pairs: list[tuple[int, int]]) -> None:
    prompts = [[1] * prompt for prompt, _ in pairs]
    answers = [[2] * response for _, response in pairs]
    row_N, column_N = response_positions(prompts, answers)
    expected = [
        (row, prompt - 1 + offset) for row, (prompt, response) in enumerate(pairs) for offset in range(response)
    ]
    assert list(zip(row_N.tolist(), column_N.tolist(), strict=True)) == expected


@given(rows=rows_of_branches)
@no_time_limit
def test_places_of_branches_are_those_of_their_tokens(rows: list[Branches]) -> None:
    row_R, column_R = last_positions(rows)
    told = [response for row in rows for response in row.responses]
    last = [rows[row].token_ids[column] for row, column in zip(row_R.tolist(), column_R.tolist(), strict=True)]
    assert last == [response[-1] for response in told]
    row_N, column_N = predicting_positions(rows)
    assert len(row_N) == sum(map(len, told))
    before = [rows[row].token_ids[column] for row, column in zip(row_N.tolist(), column_N.tolist(), strict=True)]
    expected = [token for row in rows for response in row.responses for token in (row.prompt[-1], *list(response)[:-1])]
    assert before == expected


@given(rows=rows_of_branches, width=st.integers(1, 64), share=st.booleans())
@no_time_limit
def test_however_they_are_arranged_the_responses_stay_in_order_with_their_prompts(
    rows: list[Branches], width: int, share: bool
) -> None:
    found = arranged(rows, width, share_prompts=share)
    told = [(tuple(row.prompt), tuple(response)) for row in found for response in row.responses]
    assert told == [(tuple(row.prompt), tuple(response)) for row in rows for response in row.responses]
    assert share or all(len(row.responses) == 1 for row in found)
    assert [len(row) for row in found] == [len(row.token_ids) for row in found]


@given(branch_BT=st.lists(st.lists(st.integers(-1, 3), min_size=6, max_size=6), min_size=1, max_size=3))
@no_time_limit
def test_a_token_sees_what_came_before_in_its_branch_or_in_the_prompt(branch_BT: list[list[int]]) -> None:
    seen_BTT = visibility(torch.tensor(branch_BT), torch.float32)[:, 0] == 0
    for row, branches_T in enumerate(branch_BT):
        for one in range(6):
            for other in range(6):
                expected = other <= one and branches_T[other] in (0, branches_T[one])
                assert bool(seen_BTT[row, one, other]) == expected
