"""Several sequences in one row, each blind to the others, so that hardly anything is padding."""

# B = rows, T = tokens of a row, N = response tokens of all sequences in turn, D = hidden size

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from models.backbone import response_hidden_states, response_positions
from models.branches import PROBE_TOLERANCE
from models.placement import moved

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def first_fit(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Indices by row, the longest first, each in the first row that has room. None is longer than a row.

    Johnson 1973: at most 11 / 9 of the fewest rows, and six ninths of one.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        row = next((row for row, free in enumerate(room) if free >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(row_tokens)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def packed_response_hidden_states(
    model: "PreTrainedModel", prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int
) -> tuple[Tensor, Tensor]:
    """(N, D) hidden states and (N,) tokens like `response_hidden_states`, computed in rows as long as the longest
    sequence.

    Positions begin anew with every sequence, from which the model sees where one ends.
    """
    sequences = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    lengths = [len(sequence) for sequence in sequences]
    rows = first_fit(lengths, max(lengths))
    ids_BT = torch.full((len(rows), max(lengths)), pad_id)
    position_BT = torch.zeros_like(ids_BT)
    row_of, start_of = [0] * len(lengths), [0] * len(lengths)
    for row, packed in enumerate(rows):
        start = 0
        for index in packed:
            end = start + lengths[index]
            ids_BT[row, start:end] = torch.tensor(sequences[index])
            position_BT[row, start:end] = torch.arange(lengths[index])
            row_of[index], start_of[index] = row, start
            start = end
    ids_BT, position_BT = moved(ids_BT, model.device), moved(position_BT, model.device)
    output = model.base_model(input_ids=ids_BT, position_ids=position_BT, use_cache=False)
    sequence_N, column_N = response_positions(prompts, responses)
    row_N = moved(torch.tensor(row_of)[sequence_N], model.device)
    column_N = moved(column_N + torch.tensor(start_of)[sequence_N], model.device)
    return cast(Tensor, output.last_hidden_state)[row_N, column_N], ids_BT[row_N, column_N + 1]


@torch.no_grad()
def rows_can_be_packed(model: "PreTrainedModel") -> bool:
    """Whether the model sees from positions alone where a sequence ends; not every family does."""
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    ids = [(7 * index + 1) % size for index in range(24)]
    prompts, responses = [ids[:3], ids[3:5], ids[5:6]], [ids[6:14], ids[14:17], ids[17:24]]
    try:
        packed_ND, _ = packed_response_hidden_states(model, prompts, responses, 0)
    except (TypeError, ValueError):  # whatever a model makes of arguments that it doesn't know
        return False
    apart_ND, _ = response_hidden_states(model, prompts, responses, 0)
    return bool((packed_ND - apart_ND).abs().max() <= PROBE_TOLERANCE * apart_ND.abs().max())
