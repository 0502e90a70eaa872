"""Any decoder that does what training rests on is let in; of one that doesn't, a line says what it fails."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, PreTrainedConfig

from models.backbone import LanguageModel, ModelError, load_language_model, require_decoder, response_log_probabilities
from models.generation import sample_responses
from models.probe import ProbeReport, probe
from models.reward import load_reward_model, reward_model_from_policy, save_reward_model, scores
from models.saving import save_language_model
from tests.models.directories import FAMILIES, bare_tokenizer

WIDTHS = {"num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 330, "eos_token_id": 0}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 1, "max_position_embeddings": 128}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
OTHERS: dict[str, dict[str, object]] = {
    "cohere": SHAPE | {"logit_scale": 0.25},
    "falcon": {"hidden_size": 32},
    "gpt_oss": SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "granite": SHAPE | {"logits_scaling": 8.0, "residual_multiplier": 0.5},
    "mixtral": SHAPE | {"num_local_experts": 4},
    "opt": {"hidden_size": 32, "ffn_dim": 48, "word_embed_proj_dim": 16},
    "phi": SHAPE,
    "qwen3_moe": SHAPE | EXPERTS | {"num_experts": 4, "head_dim": 16},
    "smollm3": SHAPE,
}
"""Families of other forms: experts, sinks, scaled logits, learnt positions, layers without any."""


def write(family: str, folder: Path) -> Path:
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**WIDTHS, **OTHERS[family], "bos_token_id": None, "pad_token_id": None})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    bare_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", OTHERS)
def test_a_family_that_was_never_named_is_let_in(family: str, tmp_path: Path) -> None:
    policy = load_language_model(write(family, tmp_path / "model"))
    found = probe(policy)
    assert found.model_type == family
    assert found.library_classifier == (family not in ("cohere", "granite"))
    assert found.packing
    prompts = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15]]
    sampled = sample_responses(policy, prompts, max_new_tokens=8, temperature=0.8, seed=0)
    with torch.no_grad():
        trained_N = response_log_probabilities(
            policy.model, prompts, [one.token_ids for one in sampled], policy.pad_id, 0.8
        )
        save_language_model(policy, tmp_path / "saved")
        again_N = response_log_probabilities(
            load_language_model(tmp_path / "saved").model,
            prompts,
            [one.token_ids for one in sampled],
            policy.pad_id,
            0.8,
        )
    assert torch.equal(again_N, trained_N)
    kept = torch.tensor([value for response in sampled for value in response.log_probabilities])
    torch.testing.assert_close(kept, trained_N, atol=1e-4, rtol=0)
    judge = reward_model_from_policy(policy, seed=0)
    save_reward_model(judge, tmp_path / "reward")
    reopened = load_reward_model(tmp_path / "reward")
    with torch.no_grad():
        torch.testing.assert_close(scores(reopened, prompts), scores(judge, prompts))


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_everything_is_tried_with_pass(directory_of: Callable[[str], Path], family: str) -> None:
    found = probe(load_language_model(directory_of(family)))
    assert found.packing
    assert found.library_classifier
    assert found.own_step == (family in ("llama", "qwen2"))
    assert found.shared_prompts == (family not in ("gemma2", "gemma3_text", "mistral"))


def test_what_was_found_is_told_in_lines_and_kept() -> None:
    found = ProbeReport("cohere", packing=False, shared_prompts=True, own_step=False, library_classifier=False)
    assert found.lines == (
        "cohere: logits, padding on either side, caches and a classifier are right",
        "packing: refused, as rows would see each other",
        "prompts: computed once for their responses",
        "sampling: the step of the library",
        "reward models: with a head of ours, which opens here alone",
    )
    assert ProbeReport(**found.to_json()) == found  # type: ignore[arg-type]


class Changed(LlamaForCausalLM):
    """A Llama whose forward pass is not what it was."""

    def forward(self, input_ids: torch.Tensor, **told: Any) -> Any:
        return self.change(super().forward(input_ids, **told), told)

    def change(self, output: Any, told: dict[str, Any]) -> Any:
        return output


class Shifted(Changed):
    def change(self, output: Any, told: dict[str, Any]) -> Any:
        return SimpleNamespace(logits=output.logits + torch.arange(output.logits.shape[-1]))


class Forgetful(Changed):
    """Of what is in the cache it uses nothing but the mask."""

    def change(self, output: Any, told: dict[str, Any]) -> Any:
        cache = told.get("past_key_values")
        if cache is not None:
            for layer in cache.layers:
                layer.keys, layer.values = torch.zeros_like(layer.keys), layer.values
        return output


class Mistaken(Changed):
    """On the left, padding is read like any token."""

    def forward(self, input_ids: torch.Tensor, **told: Any) -> Any:
        mask = told.pop("attention_mask", None)
        return super().forward(input_ids, attention_mask=None if mask is None else torch.ones_like(mask), **told)


class Refusing(Changed):
    def forward(self, input_ids: torch.Tensor, **told: Any) -> Any:
        if "position_ids" in told:
            raise TypeError("forward() got an unexpected keyword argument 'position_ids'")
        return super().forward(input_ids, **told)


def changed(directory: Path, kind: type[Changed]) -> LanguageModel:
    loaded = load_language_model(directory)
    loaded.model.__class__ = kind
    return loaded


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Shifted, "logits cannot be used: they are no linear map of the last hidden state"),
        (Mistaken, "padding on the left cannot be used: a mask and positions don't undo it"),
        (Refusing, "padding on the left cannot be used: forward() got an unexpected keyword argument 'position_ids'"),
        (Forgetful, "the cache cannot be used: it doesn't give what one pass gives"),
    ],
)
def test_a_model_that_does_something_else_is_refused_by_the_probe_that_it_fails(
    kind: type[Changed], told: str, directory_of: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError) as refused:
        probe(changed(directory_of("llama"), kind))
    assert str(refused.value) == f"a model of type 'llama' that fails the probe of {told}"


def test_a_model_that_sees_what_follows_is_refused(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    trunk = loaded.model.base_model
    plain = type(trunk).forward

    def forward(input_ids: torch.Tensor, **told: Any) -> Any:
        output = plain(trunk, input_ids, **told)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(1, keepdim=True)
        return output

    trunk.forward = forward
    with pytest.raises(ModelError, match=r"fails the probe of padding on the right .*: tokens see what follows"):
        probe(loaded)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("bert", "is an encoder's, and what writes is a decoder"),
        ("t5", "is an encoder's, and what writes is a decoder"),
        ("mamba", "carries a state from token to token"),
        ("gemma3", "reads more than text"),
        ("vit", "is none that the library writes with"),
    ],
)
def test_what_a_configuration_shows_to_be_something_else_is_refused_before_it_is_loaded(kind: str, told: str) -> None:
    with pytest.raises(ModelError, match=f"model type '{kind}' of here {told}"):
        require_decoder(AutoConfig.for_model(kind), "here")


def test_any_decoder_has_a_configuration_that_is_let_in() -> None:
    for family in (*FAMILIES, *OTHERS):
        config: PreTrainedConfig = AutoConfig.for_model(family)
        require_decoder(config, "here")
