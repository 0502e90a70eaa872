"""Sequences that share a row don't see each other."""

from pathlib import Path

import torch

from models.backbone import load_language_model, response_hidden_states
from models.packing import first_fit, packed_response_hidden_states

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18], [20], [5, 6, 7, 8], [30, 31]]
RESPONSES = [[40, 41, 0], [42, 0], [43, 44, 45, 46, 0], [47, 0], [48, 49, 50, 51, 52, 53, 54, 0]]


def test_packed_states_and_gradients_are_those_of_rows_of_their_own(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    gradients, states = [], []
    for hidden_states in (response_hidden_states, packed_response_hidden_states):
        loaded.model.zero_grad()
        hidden_ND, tokens_N = hidden_states(loaded.model, PROMPTS, RESPONSES, loaded.pad_id)
        assert tokens_N.tolist() == [token for response in RESPONSES for token in response]
        hidden_ND.square().sum().backward()
        states.append(hidden_ND.detach())
        gradients.append([p.grad.clone() for p in loaded.model.parameters() if p.grad is not None])
    torch.testing.assert_close(states[0], states[1], atol=1e-5, rtol=1e-5)
    for apart, packed in zip(*gradients, strict=True):
        torch.testing.assert_close(apart, packed, atol=1e-4, rtol=1e-4)


def test_every_sequence_has_a_place_and_no_row_is_over_full() -> None:
    lengths = [7, 3, 3, 5, 2, 9, 1, 1, 4]
    rows = first_fit(lengths, 9)
    assert sorted(index for row in rows for index in row) == list(range(9))
    assert all(sum(lengths[index] for index in row) <= 9 for row in rows)
    assert len(rows) == 4
