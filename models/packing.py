"""Several sequences in one row, each blind to the others, so that hardly anything is padding."""

# B = rows, T = tokens of a row, N = response tokens of all sequences in turn, D = hidden size

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from models.backbone import response_positions
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
