"""Responses that branch off one prompt, in one row of a batch: the prompt is computed once for all of them.

Each response sees the prompt and itself, and its positions continue from the prompt's, so that its hidden states are
those of prompt and response alone. That holds of decoders only, in which no state of a prompt depends on what follows
it; `prompts_can_be_shared` finds out.
"""

# B = rows of a batch, T = tokens of a row, K = responses of a row, R = responses of the batch, N = their tokens

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from models.backbone import hidden_states, pad_right
from models.placement import HOST, moved

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE_TOLERANCE = 1e-4
"""Of hidden states, relative to the largest."""


@dataclass(frozen=True, slots=True)
class Branches:
    """A row: the prompt, then each response to it."""

    prompt: Sequence[int]
    responses: Sequence[Sequence[int]]

    @property
    def token_ids(self) -> list[int]:
        return [*self.prompt, *itertools.chain.from_iterable(self.responses)]

    @property
    def starts(self) -> list[int]:
        """The column in which each response begins."""
        lengths = [len(self.prompt), *map(len, self.responses)]
        return list(itertools.accumulate(lengths))[:-1]

    @property
    def apart(self) -> "list[Branches]":
        return [Branches(self.prompt, [response]) for response in self.responses]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.responses))


def arranged(rows: Sequence[Branches], width: int, *, share_prompts: bool) -> list[Branches]:
    """Rows of the same responses in the same order: together with their prompt where that is allowed and takes less
    work, otherwise each in a row of its own.
    """
    return [one for row in rows for one in ([row] if share_prompts and _cheaper_together(row, width) else row.apart)]


def neighbours(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], width: int) -> list[Branches]:
    """Rows of the responses in their order: those next to each other that answer one prompt together with it, where
    that takes less work."""
    pairs = zip(map(tuple, prompts), responses, strict=True)
    together = [
        Branches(prompt, [response for _, response in answered])
        for prompt, answered in itertools.groupby(pairs, key=itemgetter(0))
    ]
    return arranged(together, width, share_prompts=True)


def branch_hidden_states(model: "PreTrainedModel", rows: Sequence[Branches], pad_id: int) -> Tensor:
    """(B, T, D) last hidden states; those of padding are meaningless."""
    ids_BT = pad_right([row.token_ids for row in rows], pad_id, model.device)
    if all(len(row.responses) == 1 for row in rows):
        return hidden_states(model, ids_BT)
    branch_BT, position_BT = _branches_and_positions(rows, ids_BT.shape[1], model.device)
    output = model.base_model(
        input_ids=ids_BT,
        attention_mask=visibility(branch_BT, model.dtype),
        position_ids=position_BT,
        use_cache=False,
    )
    return cast(Tensor, output.last_hidden_state)


def last_positions(rows: Sequence[Branches], device: torch.device = HOST) -> tuple[Tensor, Tensor]:
    """(R,) rows and columns of the responses' last tokens."""
    places = [
        (index, start + len(response) - 1)
        for index, row in enumerate(rows)
        for start, response in zip(row.starts, row.responses, strict=True)
    ]
    row_R, column_R = moved(torch.tensor(places), device).unbind(1)
    return row_R, column_R


def predicting_positions(rows: Sequence[Branches], device: torch.device = HOST) -> tuple[Tensor, Tensor]:
    """(N,) rows and columns of the states that predict the responses' tokens: the prompt's last token, then each of
    the response but its last."""
    places = [
        (index, len(row.prompt) - 1 if offset == 0 else start + offset - 1)
        for index, row in enumerate(rows)
        for start, response in zip(row.starts, row.responses, strict=True)
        for offset in range(len(response))
    ]
    row_N, column_N = moved(torch.tensor(places), device).unbind(1)
    return row_N, column_N


def visibility(branch_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, T), added to attention's scores: nothing is seen but what came before, in the prompt (branch 0) or in
    the same branch."""
    same_BTT = branch_BT[:, :, None] == branch_BT[:, None, :]
    seen_BTT = (same_BTT | (branch_BT == 0)[:, None, :]).tril()
    added_BTT = torch.zeros(seen_BTT.shape, dtype=dtype, device=branch_BT.device)
    return added_BTT.masked_fill_(~seen_BTT, torch.finfo(dtype).min)[:, None]


@torch.no_grad()
def prompts_can_be_shared(model: "PreTrainedModel") -> bool:
    """Whether the model takes positions and visibility from outside and its prompts don't look ahead.

    A sliding window, which a given visibility would replace, is longer than any probe and so asked for by name.
    """
    if getattr(model.config, "sliding_window", None) is not None:
        return False
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    ids = [(7 * index + 1) % size for index in range(24)]
    rows = [Branches(ids[:7], [ids[7:10], ids[10:16], ids[16:17]]), Branches(ids[17:19], [ids[19:20], ids[20:24]])]
    try:
        together_RD = branch_hidden_states(model, rows, 0)[last_positions(rows, model.device)]
    except (TypeError, ValueError, RuntimeError):  # whatever a model makes of arguments that it doesn't know
        return False
    alone = [one for row in rows for one in row.apart]
    alone_RD = branch_hidden_states(model, alone, 0)[last_positions(alone, model.device)]
    return bool((together_RD - alone_RD).abs().max() <= PROBE_TOLERANCE * alone_RD.abs().max())


def _cheaper_together(row: Branches, width: int) -> bool:
    """By the operations of a layer of width D: some 24 D^2 a token in products, and in attention 4 D for each pair of
    tokens, of a row with a given visibility all, without one half of them."""
    together = len(row) * (6 * width + len(row))
    return together < sum(len(one) * (6 * width + len(one) / 2) for one in row.apart)


def _branches_and_positions(rows: Sequence[Branches], longest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, T) each: 0 in the prompt, 1 to K in the responses and -1 in padding; how many tokens a token follows."""
    branch_BT = torch.full((len(rows), longest), -1)
    position_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        prompt = len(row.prompt)
        branch_BT[index, :prompt] = 0
        position_BT[index, :prompt] = torch.arange(prompt)
        for number, (start, response) in enumerate(zip(row.starts, row.responses, strict=True), start=1):
            end = start + len(response)
            branch_BT[index, start:end] = number
            position_BT[index, start:end] = torch.arange(prompt, prompt + len(response))
    return moved(branch_BT, device), moved(position_BT, device)
