"""Steps with weights in float16, of models whose weights it holds exactly."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from models import decoding, half_weights
from models.backbone import LanguageModel, load_language_model, response_log_probabilities
from models.decoding import prepared
from models.generation import sample_responses
from models.half_weights import HalfWeight
from models.holding import hold
from models.lora import activate, learnt_weights
from models.saving import round_weights
from tests.models.test_decoding import PROMPTS, assert_steps_are_plain_passes, moved

pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine not in ("x86", "fbgemm"), reason="no kernels for it on this processor"
)


@pytest.fixture
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_weights, "FEWEST_WEIGHTS", 0)


@pytest.fixture(params=["llama", "qwen2"])
def in_bfloat16(request: pytest.FixtureRequest, directory_of: Callable[[str], Path]) -> LanguageModel:
    """As it is opened from a file in bfloat16; Qwen2's layers have biases, which stay in float32."""
    loaded = load_language_model(directory_of(request.param))
    round_weights(loaded.model, torch.bfloat16)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if name.endswith("bias"):
                weight.normal_()
    return loaded


def in_halves(model: PreTrainedModel) -> bool:
    return isinstance(decoding._prepared.get(model), half_weights.HalfWeights)


@pytest.mark.usefixtures("small_ones_too")
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_steps_are_those_of_plain_passes(in_bfloat16: LanguageModel, held: bool, adapted: bool) -> None:
    model = in_bfloat16.model
    if held:
        hold(model.base_model, "bfloat16")
    if adapted:
        moved(model)
    with prepared(model):
        assert in_halves(model)
        assert_steps_are_plain_passes(in_bfloat16)
    assert not in_halves(model)


BEGIN = [5, 6, 7, 8]


@pytest.mark.usefixtures("small_ones_too")
@pytest.mark.parametrize(
    "prompts",
    [
        [[*BEGIN, 9, 10, 11], [*BEGIN, 9], [*BEGIN, 12, 13]],
        [[*BEGIN, 9, 10], BEGIN, [*BEGIN, 9, 10]],
        [BEGIN, BEGIN, BEGIN],
        [[5], [5, 6], [5, 6, 7]],
    ],
)
def test_prompts_that_begin_alike_are_as_if_each_was_read_alone(
    prompts: list[list[int]], in_bfloat16: LanguageModel
) -> None:
    with prepared(in_bfloat16.model):
        assert_steps_are_plain_passes(in_bfloat16, prompts)


@pytest.mark.usefixtures("small_ones_too")
def test_what_is_written_has_the_log_probabilities_that_training_computes(in_bfloat16: LanguageModel) -> None:
    """And adapters that learn in between are taken as they are."""
    model = in_bfloat16.model
    moved(model)
    with prepared(model):
        for turn in range(3):
            if turn == 1:
                with torch.no_grad():
                    for weight in learnt_weights(model).values():
                        weight.mul_(-1.5)
            if turn == 2:
                activate(model, None)
            sampled = sample_responses(in_bfloat16, PROMPTS, max_new_tokens=12, temperature=0.8, seed=3)
            with torch.no_grad():
                trained = response_log_probabilities(
                    model, PROMPTS, [response.token_ids for response in sampled], in_bfloat16.pad_id, 0.8
                )
            kept = torch.tensor([value for response in sampled for value in response.log_probabilities])
            torch.testing.assert_close(kept, trained, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("small_ones_too")
def test_long_responses_prepare_a_model_and_forget_it(
    in_bfloat16: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that weights that learn afterwards are never mistaken for those that they were."""
    asked: list[bool] = []
    decoder_for = decoding.decoder_for

    def watched(model: PreTrainedModel) -> decoding.Decoder:
        asked.append(in_halves(model))
        return decoder_for(model)

    monkeypatch.setattr("models.generation.decoder_for", watched)
    for tokens in (4, 32):
        sample_responses(in_bfloat16, PROMPTS, max_new_tokens=tokens, temperature=1.0, seed=0)
    assert asked == [False, True]
    assert not in_halves(in_bfloat16.model)


@pytest.mark.usefixtures("small_ones_too")
def test_a_model_that_float16_would_round_writes_what_it_wrote(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    written = sample_responses(loaded, PROMPTS, max_new_tokens=12, temperature=1.0, seed=0)
    with prepared(loaded.model):
        assert not in_halves(loaded.model)
        assert sample_responses(loaded, PROMPTS, max_new_tokens=12, temperature=1.0, seed=0) == written


def test_a_small_model_stays_as_it_is(in_bfloat16: LanguageModel) -> None:
    with prepared(in_bfloat16.model):
        assert not in_halves(in_bfloat16.model)


def layer_of(weight_OI: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=False)
    layer.weight = nn.Parameter(weight_OI)
    return layer


@pytest.mark.parametrize("scale", [1e-6, 0.05, 300.0])
def test_a_product_is_rounded_as_in_float32_whatever_the_size_of_weights(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first_OI, second_OI = (
        (scale * torch.randn(size, 512, generator=generator)).bfloat16().float() for size in (96, 33)
    )
    input_BI = torch.randn(5, 512, generator=generator)
    exact_BO = input_BI.double() @ torch.cat([first_OI, second_OI]).double().T
    with torch.inference_mode():
        said_BO = HalfWeight([layer_of(first_OI), layer_of(second_OI)])(input_BI)
    torch.testing.assert_close(said_BO.double(), exact_BO, rtol=0, atol=1e-6 * float(exact_BO.abs().max()))


@pytest.mark.parametrize("weights", [[1.0, 1.0 + 2**-12], [1.0, 2**-40], [1.0, float("nan")]])
def test_weights_that_would_be_rounded_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="would round"):
        HalfWeight([layer_of(torch.tensor([weights]))])
