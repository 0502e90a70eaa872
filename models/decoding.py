"""One more token for every row of a batch: a key-value cache, and the step that reads and grows it.

A step of a small model is over in milliseconds, more than half of which the library spends on copying its cache and on
preparing masks. Models of Llama's shape have a step of their own here, which calls the same layers with the same
weights, adapters and all; every other model takes the library's.
"""

# B = rows, U = different prompts, P = prompt tokens, T = room for prompt and response, V = vocabulary, D = hidden
# size, H = heads of queries, K = heads of keys and values, C = width of a head

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

from models.half_weights import HalfWeights, LayerProducts, StepProducts, half_weights, plain_products

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import DynamicLayer

# Their layers have the same names and order; Qwen2's projections have biases, which are the layers' own business.
LLAMA_SHAPED = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM)

_BLOCK = 16


class Decoder(Protocol):
    """`start`, then `step` for each token but the last. Both give the (B, V) logits of the next token."""

    def start(self, ids_BP: Tensor, mask_BP: Tensor) -> Tensor: ...

    def step(self, token_B: Tensor) -> Tensor: ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""


def decoder_for(model: "PreTrainedModel") -> Decoder:
    """The fastest step that gives what the model gives."""
    if not _is_llama_shaped(model):
        return AnyDecoder(model)
    halves, llama = _prepared.get(model), cast(LlamaForCausalLM, model)
    if halves is None:
        return LlamaDecoder(llama, plain_products(llama))
    return LlamaDecoder(llama, halves.products(llama), shares_prompts=True)


@contextmanager
def prepared(model: "PreTrainedModel") -> Iterator[None]:
    """Whatever makes steps faster, once for all decoders of this model meanwhile. Its weights must not change; adapters
    may. It takes as long as some twenty steps of eight rows save, and half the memory of the weights, until it ends."""
    if model in _prepared or not _is_llama_shaped(model):
        yield
        return
    _prepared[model] = half_weights(cast(LlamaForCausalLM, model))
    try:
        yield
    finally:
        del _prepared[model]


_prepared: WeakKeyDictionary["PreTrainedModel", HalfWeights | None] = WeakKeyDictionary()


def _is_llama_shaped(model: "PreTrainedModel") -> bool:
    config = model.config
    return (
        type(model) in LLAMA_SHAPED and config.hidden_act == "silu" and getattr(config, "sliding_window", None) is None
    )


class AnyDecoder:
    """The library's step."""

    def __init__(self, model: "PreTrainedModel") -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)

    def start(self, ids_BP: Tensor, mask_BP: Tensor) -> Tensor:
        self._mask_BT = mask_BP
        self._position_B1 = _positions(mask_BP)[:, -1:]
        return _with_cache(self._model, self._cache, ids_BP, mask_BP, _positions(mask_BP))

    def step(self, token_B: Tensor) -> Tensor:
        self._mask_BT = torch.cat([self._mask_BT, torch.ones_like(self._mask_BT[:, :1])], dim=-1)
        self._position_B1 = self._position_B1 + 1
        return _with_cache(self._model, self._cache, token_B[:, None], self._mask_BT, self._position_B1)

    def keep(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._mask_BT, self._position_B1 = self._mask_BT[rows], self._position_B1[rows]


class LlamaDecoder:
    """Keys and values are written in place into room that grows by `_BLOCK` tokens. What isn't written yet is masked
    and not cut off: a product over a part of each row's memory took three times as long as one over all of it."""

    def __init__(self, model: LlamaForCausalLM, products: StepProducts, *, shares_prompts: bool = False) -> None:
        self._model = model
        self._products = products
        self._shares_prompts = shares_prompts

    def start(self, ids_BP: Tensor, mask_BP: Tensor) -> Tensor:
        cache = DynamicCache(config=self._model.config)
        if self._shares_prompts and len(ids_BP) > 1:
            logits_BV, mask_BP = _read_together(self._model, cache, ids_BP, mask_BP)
        else:
            logits_BV = _with_cache(self._model, cache, ids_BP, mask_BP, _positions(mask_BP))
        self._position_B = _positions(mask_BP)[:, -1]
        self._length = ids_BP.shape[1]
        layers = cast("list[DynamicLayer]", cache.layers)
        self._keys = [cast(Tensor, layer.keys) for layer in layers]
        self._values = [cast(Tensor, layer.values) for layer in layers]
        bias_BT = torch.zeros_like(mask_BP, dtype=logits_BV.dtype).masked_fill_(mask_BP == 0, -torch.inf)
        self._bias_BKT = bias_BT[:, None].repeat(1, self._keys[0].shape[1], 1)
        return logits_BV

    def step(self, token_B: Tensor) -> Tensor:
        if self._length == self._bias_BKT.shape[2]:
            self._grow()
        self._bias_BKT[:, :, self._length] = 0
        self._position_B = self._position_B + 1
        trunk = self._model.model
        state_BD = trunk.embed_tokens(token_B)
        rotation = trunk.rotary_emb(state_BD, self._position_B[:, None])
        for index, (layer, products) in enumerate(zip(trunk.layers, self._products.layers, strict=True)):
            normed_BD = _rms_norm(layer.input_layernorm, state_BD)
            seen_BD = self._seen(index, layer.self_attn.scaling, products, normed_BD, rotation)
            (attended_BD,) = products.attended(seen_BD)
            state_BD = state_BD + attended_BD
            gate, up = products.gate_up(_rms_norm(layer.post_attention_layernorm, state_BD))
            (said_BD,) = products.down(nn.functional.silu(gate, inplace=True).mul_(up))
            state_BD = state_BD + said_BD
        self._length += 1
        (logits_BV,) = self._products.head(_rms_norm(trunk.norm, state_BD))
        return logits_BV

    def keep(self, rows: Tensor) -> None:
        self._keys = [keys_BKTC[rows] for keys_BKTC in self._keys]
        self._values = [values_BKTC[rows] for values_BKTC in self._values]
        self._bias_BKT, self._position_B = self._bias_BKT[rows], self._position_B[rows]

    def _seen(
        self,
        index: int,
        scaling: float,
        products: LayerProducts,
        normed_BD: Tensor,
        rotation: tuple[Tensor, Tensor],
    ) -> Tensor:
        keys_BKTC, values_BKTC = self._keys[index], self._values[index]
        rows, heads, room, width = keys_BKTC.shape
        query_BHC, key_BKC, value_BKC = (said.view(rows, -1, width) for said in products.query_key_value(normed_BD))
        keys_BKTC[:, :, self._length] = _rotated(key_BKC, *rotation)
        values_BKTC[:, :, self._length] = value_BKC
        # From here on one matrix for each row and head that is asked: B K of them.
        queries = _rotated(query_BHC, *rotation).view(rows * heads, -1, width)
        keys, values = keys_BKTC.view(-1, room, width), values_BKTC.view(-1, room, width)
        bias = self._bias_BKT.view(-1, 1, room)
        weights = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=scaling).softmax(-1)
        return torch.bmm(weights, values).view(rows, -1)

    def _grow(self) -> None:
        self._keys = [nn.functional.pad(keys_BKTC, (0, 0, 0, _BLOCK)) for keys_BKTC in self._keys]
        self._values = [nn.functional.pad(values_BKTC, (0, 0, 0, _BLOCK)) for values_BKTC in self._values]
        self._bias_BKT = nn.functional.pad(self._bias_BKT, (0, _BLOCK), value=-torch.inf)


def _with_cache(model: "PreTrainedModel", cache: DynamicCache, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cast(Tensor, output.logits[:, -1])


def _read_together(
    model: LlamaForCausalLM, cache: DynamicCache, ids_BP: Tensor, mask_BP: Tensor
) -> tuple[Tensor, Tensor]:
    """Equal prompts are read once, and so are the tokens that all of them begin with: those of a chat template, say.
    Gives the (B, V) logits and the mask of the cache, in which padding follows what is shared."""
    both_U2P, row_B = torch.stack([ids_BP, mask_BP], 1).unique(dim=0, return_inverse=True)
    ids_UP, mask_UP = both_U2P.unbind(1)
    prompts = [ids_P[mask_P == 1].tolist() for ids_P, mask_P in zip(ids_UP, mask_UP, strict=True)]
    alike = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    begin = [column[0] for column in alike][: min(map(len, prompts)) - 1]  # each has a token of its own to read
    if len(prompts) > 1 and begin:
        model.model(input_ids=ids_UP.new_tensor([begin]), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(prompts))
        # Padding on the left is as long as before, and then comes what is left of each prompt.
        ids_UP = ids_UP[:, len(begin) :]
        mask_UP = torch.cat([torch.ones_like(mask_UP[:, : len(begin)]), mask_UP[:, : ids_UP.shape[1]]], dim=1)
    positions_UP = _positions(mask_UP)[:, -ids_UP.shape[1] :]
    logits_UV = _with_cache(model, cache, ids_UP, mask_UP, positions_UP)
    cache.batch_select_indices(row_B)
    return logits_UV[row_B], mask_UP[row_B]


def _positions(mask_BP: Tensor) -> Tensor:
    return mask_BP.cumsum(-1) - mask_BP  # exclusive: the first real token is at position 0


def _rms_norm(norm: nn.Module, state_BD: Tensor) -> Tensor:
    mean_square = state_BD.square().mean(-1, keepdim=True)
    scaled_BD = state_BD * mean_square.add_(cast(float, norm.variance_epsilon)).rsqrt_()
    return scaled_BD.mul_(cast(Tensor, norm.weight))


def _rotated(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """(B, heads, C) turned by its position. Su et al. 2021, in the layout of Llama: halves, not neighbours."""
    first, second = heads.chunk(2, dim=-1)
    return torch.addcmul(heads * cosine, torch.cat([-second, first], dim=-1), sine)
