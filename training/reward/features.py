"""Frozen features of responses: what a linear teacher reads.

What a language model finds unlikely is the best single sign of a garbled response, and it costs no labels; the
middle of the trunk, where words are meanings already and not yet predictions, is the best place to read the rest from.
"""

# B = responses, N = tokens of one response, T = tokens, D = hidden size, V = vocabulary, F = features

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from models.backbone import LanguageModel, middle_and_last_hidden_states, pad_right, project
from models.placement import HOST, moved
from models.reward import RewardModel, latents
from training.data.batches import length_batches
from training.data.examples import Example
from training.runtime.ranks import ranks
from training.runtime.replicas import shards, together

UNLIKELY = -4.0  # nats; a token that the policy itself would hardly have written
SOMEWHAT_UNLIKELY = -3.0
LIKELIHOOD_FEATURES = 7
BATCH_TOKENS = 8192
EXAMPLES_AT_ONCE = 512  # features of more would fill the memory


@torch.inference_mode()
def embed(model: LanguageModel | RewardModel, examples: Sequence[Example]) -> Tensor:
    """What linear models read of responses, (B, F): the states that a reward model's heads read, which are (B, D), or a
    policy's `response_features`."""
    if isinstance(model, LanguageModel):
        return response_features(model, examples)
    return batched_latents(model, [example.token_ids for example in examples], batch_tokens=BATCH_TOKENS)


@torch.inference_mode()
def batched_latents(reward_model: RewardModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int) -> Tensor:
    """(B, D): what a reward model's heads read of each sequence, in order, on the host."""
    found_BD = torch.zeros(len(sequences), reward_model.head.in_features)
    for batch in length_batches([len(sequence) for sequence in sequences], batch_tokens=batch_tokens):
        found_BD[batch] = latents(reward_model, [sequences[index] for index in batch]).to(HOST)
    return found_BD


@torch.inference_mode()
def response_features(policy: LanguageModel, examples: Sequence[Example]) -> Tensor:
    """(B, F) features of whole responses."""
    return torch.stack([prefix_NF[-1] for prefix_NF in prefix_features(policy, examples)])


@torch.inference_mode()
def features_at_once(policy: LanguageModel, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """What `response_features` and `prompt_features` give, up to rounding, by one pass in one thread: for PPO, which
    asks after every rollout, beside other models."""
    batches = length_batches([len(example) for example in examples], batch_tokens=BATCH_TOKENS)
    found = {index: (prefix_NF[-1], prompt_D) for index, prefix_NF, prompt_D in _read(policy, examples, batches)}
    feature_F, prompt_D = zip(*(found[index] for index in range(len(examples))), strict=True)
    return torch.stack(feature_F).to(HOST), torch.stack(prompt_D).to(HOST)


@torch.inference_mode()
def prompt_features(policy: LanguageModel, examples: Sequence[Example]) -> Tensor:
    """(B, 2 D): middle and last hidden states where the response is about to begin."""
    found = torch.zeros(len(examples), 2 * policy.model.config.hidden_size)
    lengths = [len(example.prompt_ids) for example in examples]

    def read(batch: Sequence[int]) -> Tensor:
        ids_BT = pad_right([examples[index].prompt_ids for index in batch], policy.pad_id, policy.device)
        middle_BTD, last_BTD = middle_and_last_hidden_states(policy.model, ids_BT)
        rows = torch.arange(len(batch), device=policy.device)
        ends = moved(torch.tensor([lengths[index] - 1 for index in batch]), policy.device)
        return torch.cat([middle_BTD[rows, ends], last_BTD[rows, ends]], dim=1).to(HOST)

    batches = length_batches(lengths, batch_tokens=BATCH_TOKENS)
    for batch, state_BD in zip(batches, ranks().each(read, batches), strict=True):
        found[batch] = state_BD
    return found


@torch.inference_mode()
def prefix_features(policy: LanguageModel, examples: Sequence[Example]) -> Iterator[Tensor]:
    """One (N, F = 2 D + 7) tensor for each example, in order: features of the response up to each of its tokens.

    Mean and maximum of the trunk's middle hidden states so far, then how likely the tokens so far were.
    """
    for start in range(0, len(examples), EXAMPLES_AT_ONCE):
        chunk = examples[start : start + EXAMPLES_AT_ONCE]
        batches = length_batches([len(example) for example in chunk], batch_tokens=BATCH_TOKENS)
        own = ranks().share(batches)
        count = min(shards(), len(own))
        parts = together(*(partial(_features_of, policy, chunk, own[first::count]) for first in range(count)))
        found = {
            index: prefix_NF
            for of_process in ranks().gather(parts)
            for part in of_process
            for index, prefix_NF in part.items()
        }
        yield from (found[index] for index in range(len(chunk)))


@torch.inference_mode()
def _features_of(
    policy: LanguageModel, examples: Sequence[Example], batches: Sequence[Sequence[int]]
) -> dict[int, Tensor]:
    return {index: prefix_NF.to(HOST) for index, prefix_NF, _ in _read(policy, examples, batches)}


def _read(
    policy: LanguageModel, examples: Sequence[Example], batches: Sequence[Sequence[int]]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of each example its place, the features of all prefixes of its response, and those of its prompt, (2 D,)."""
    for batch in batches:
        ids_BT = pad_right([examples[index].token_ids for index in batch], policy.pad_id, policy.device)
        middle_BTD, last_BTD = middle_and_last_hidden_states(policy.model, ids_BT)
        for place, index in enumerate(batch):
            first, end = len(examples[index].prompt_ids), len(examples[index])
            logits_NV = project(policy.model, last_BTD[place, first - 1 : end - 1])
            likelihood_N7 = likelihood_so_far(logits_NV, ids_BT[place, first:end])
            prefix_NF = torch.cat([pooled_so_far(middle_BTD[place, first:end]), likelihood_N7], dim=1)
            yield index, prefix_NF, torch.cat([middle_BTD[place, first - 1], last_BTD[place, first - 1]])


def pooled_so_far(state_ND: Tensor) -> Tensor:
    """(N, 2 D): running mean and running maximum."""
    count_N1 = torch.arange(1, len(state_ND) + 1, device=state_ND.device)[:, None]
    return torch.cat([state_ND.cumsum(0) / count_N1, state_ND.cummax(0).values], dim=1)


def likelihood_so_far(logits_NV: Tensor, token_N: Tensor) -> Tensor:
    """(N, 7): mean, minimum, deviation and sum of the tokens' log-probabilities so far, how many of them were unlikely,
    the share that was somewhat so, and their number."""
    log_probability_N = torch.log_softmax(logits_NV.float(), dim=-1).gather(-1, token_N[:, None]).squeeze(-1)
    count_N = torch.arange(1.0, len(token_N) + 1, device=token_N.device)
    mean_N = log_probability_N.cumsum(0) / count_N
    variance_N = (log_probability_N.square().cumsum(0) / count_N - mean_N.square()).clamp(min=0)
    return torch.stack(
        [
            mean_N,
            log_probability_N.cummin(0).values,
            variance_N.sqrt(),
            mean_N * count_N,
            (log_probability_N < UNLIKELY).cumsum(0).float(),
            (log_probability_N < SOMEWHAT_UNLIKELY).cumsum(0) / count_N,
            count_N,
        ],
        dim=1,
    )
