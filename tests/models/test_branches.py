"""A prompt that is computed once for all of its responses gives each the states that it has alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model, response_hidden_states
from models.branches import (
    Branches,
    arranged,
    branch_hidden_states,
    last_positions,
    predicting_positions,
    prompts_can_be_shared,
    visibility,
)
from models.reward import branch_scores, reward_model_from_policy, scores

ROWS = [
    Branches([5, 6, 7, 30, 31, 32, 33], [[9, 10, 0], [11, 0], [12, 13, 14, 15, 0], [16, 0]]),
    Branches([20], [[40, 41, 42, 43, 44, 0], [45, 0]]),
    Branches([21, 22, 23, 24, 25, 26, 27, 28], [[29, 0]]),
]
SHARING_FAMILIES = ("gemma", "gpt2", "gpt_neox", "llama", "olmo2", "phi3", "qwen2", "qwen3")


def alone(rows: list[Branches]) -> list[Branches]:
    return [one for row in rows for one in row.apart]


def test_a_response_sees_its_prompt_and_itself_and_nothing_else() -> None:
    branch_BT = torch.tensor([[0, 0, 1, 1, 2, 2, 2, -1]])
    seen_TT = visibility(branch_BT, torch.float64)[0, 0] == 0
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1, 1, 1],
    ]
    assert seen_TT[:7, :7].int().tolist() == expected
    assert not seen_TT[:7, 7].any(), "padding is seen"


@pytest.mark.parametrize("family", SHARING_FAMILIES)
def test_hidden_states_are_those_of_each_response_alone(directory_of: Callable[[str], Path], family: str) -> None:
    """In float64, where nothing but a wrong mask or position could make a difference."""
    model = load_language_model(directory_of(family)).model.double()
    assert prompts_can_be_shared(model)
    with torch.no_grad():
        together_RD = branch_hidden_states(model, ROWS, 0)[last_positions(ROWS)]
        alone_RD = branch_hidden_states(model, alone(ROWS), 0)[last_positions(alone(ROWS))]
        before_ND = branch_hidden_states(model, ROWS, 0)[predicting_positions(ROWS)]
        prompts, responses = zip(*((row.prompt, row.responses[0]) for row in alone(ROWS)), strict=True)
        expected_ND, _ = response_hidden_states(model, prompts, responses, 0)
    torch.testing.assert_close(together_RD, alone_RD, atol=1e-12, rtol=0)
    torch.testing.assert_close(before_ND, expected_ND, atol=1e-12, rtol=0)


@pytest.mark.parametrize("family", SHARING_FAMILIES)
def test_gradients_flow_into_the_shared_prompt(directory_of: Callable[[str], Path], family: str) -> None:
    reward_model = reward_model_from_policy(load_language_model(directory_of(family)), seed=0)
    weight_R = torch.linspace(-1, 2, 7)
    parameters = [weight for weight in reward_model.model.parameters() if weight.requires_grad]
    found = []
    for rows in (ROWS, alone(ROWS)):
        loss = (branch_scores(reward_model, rows) * weight_R).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append((loss, torch.cat([one.flatten() for one in gradients if one is not None])))
    (loss, gradient), (expected_loss, expected_gradient) = found
    torch.testing.assert_close(loss, expected_loss, atol=0, rtol=1e-5)
    assert float((gradient - expected_gradient).norm()) <= 1e-5 * float(expected_gradient.norm())


def test_scores_are_those_of_the_whole_sequences(directory_of: Callable[[str], Path]) -> None:
    reward_model = reward_model_from_policy(load_language_model(directory_of("llama")), seed=0)
    with torch.no_grad():
        expected_R = scores(reward_model, [row.token_ids for row in alone(ROWS)])
        torch.testing.assert_close(branch_scores(reward_model, ROWS), expected_R, atol=1e-5, rtol=0)


def test_a_model_with_a_sliding_window_computes_each_response_alone(directory_of: Callable[[str], Path]) -> None:
    """Its window is shorter than the sequences, and a visibility from outside would replace it."""
    assert not prompts_can_be_shared(load_language_model(directory_of("mistral")).model)


def test_a_model_whose_prompts_look_ahead_computes_each_response_alone(directory_of: Callable[[str], Path]) -> None:
    model = load_language_model(directory_of("llama")).model
    trunk_forward = model.base_model.forward

    def reads_the_last_token(**arguments: object) -> object:
        output = trunk_forward(**arguments)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state[:, -1:]
        return output

    model.base_model.forward = reads_the_last_token
    assert not prompts_can_be_shared(model)


def test_a_model_that_takes_no_positions_computes_each_response_alone(directory_of: Callable[[str], Path]) -> None:
    model = load_language_model(directory_of("llama")).model
    trunk_forward = model.base_model.forward
    model.base_model.forward = lambda input_ids, use_cache: trunk_forward(input_ids=input_ids, use_cache=use_cache)
    assert not prompts_can_be_shared(model)


def test_a_prompt_is_shared_where_that_is_less_work() -> None:
    long_prompt, long_responses = Branches(range(100), [[1] * 20] * 2), Branches([1], [[2] * 400] * 4)
    assert arranged([long_prompt, long_responses], 128, share_prompts=True) == [long_prompt, *long_responses.apart]
    assert arranged([long_prompt], 128, share_prompts=False) == long_prompt.apart
