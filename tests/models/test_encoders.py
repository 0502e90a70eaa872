"""Reward models on encoders are what any other tool makes of a prompt and a response."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.backbone import ModelError, load_language_model
from models.read_out import ReadOut
from models.reward import (
    RewardModel,
    latents,
    load_reward_model,
    reward_model_from_encoder,
    save_reward_model,
    scores,
    scores_by_head,
)
from tests.models.encoders import ENCODERS, POSITIONS, write_encoder
from training.records import Conversation, conversation

PROMPTS = [
    conversation(("user", "eat tea")),
    conversation(("user", "How do I boil an egg?"), ("assistant", "slowly"), ("user", "and rice?")),
    conversation(("system", "kindly"), ("user", "sell bread")),
    conversation(("user", "fix")),
]
RESPONSES = ["bring some warm bread and a little soup", "now", "", "for them, slowly"]


@pytest.fixture(scope="session")
def encoder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a family, written once."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: root / family if (root / family).exists() else write_encoder(family, root / family)


@pytest.fixture(params=ENCODERS)
def directory(request: pytest.FixtureRequest, encoder_of: Callable[[str], Path]) -> Path:
    return encoder_of(request.param)


def sequences(reward_model: RewardModel) -> list[tuple[int, ...]]:
    halves = zip(reward_model.encode_prompts(PROMPTS), reward_model.encode_responses(RESPONSES), strict=True)
    return [prompt + response for prompt, response in halves]


@torch.no_grad()
def scores_by_other_tools(folder: Path) -> Tensor:
    """By nothing but transformers, in one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    prompts = [tokenizer.apply_chat_template(messages(prompt), tokenize=False) for prompt in PROMPTS]
    return model(**tokenizer(prompts, RESPONSES, padding=True, return_tensors="pt")).logits.squeeze(-1)


def messages(prompt: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in prompt]


def lively(reward_model: RewardModel) -> RewardModel:
    """Weights so large that scores differ by what is read."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in reward_model.model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return reward_model


@torch.no_grad()
def test_padding_does_not_change_scores(directory: Path) -> None:
    reward_model = lively(reward_model_from_encoder(directory, seed=0))
    together = scores(reward_model, sequences(reward_model))
    alone = torch.cat([scores(reward_model, [sequence]) for sequence in sequences(reward_model)])
    assert together.std() > 0.01  # a hundred times what padding may change; words are merged in another order each time
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("heads", [1, 3])
def test_any_other_tool_gets_our_scores_of_two_texts(directory: Path, heads: int, tmp_path: Path) -> None:
    reward_model = lively(reward_model_from_encoder(directory, seed=0, read_out=ReadOut(members=heads)))
    reward_model.set_statistics(0.25, 1.5)
    save_reward_model(reward_model, tmp_path)
    ours = scores(reward_model, sequences(reward_model))
    torch.testing.assert_close(scores_by_other_tools(tmp_path), ours, atol=1e-4, rtol=0)
    reloaded = load_reward_model(tmp_path)
    assert sequences(reloaded) == sequences(reward_model)
    assert torch.equal(
        scores_by_head(reloaded, sequences(reloaded)), scores_by_head(reward_model, sequences(reward_model))
    )
    assert (reloaded.score_mean, reloaded.score_std) == (0.25, 1.5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "score"}


@torch.no_grad()
def test_all_heads_are_linear_in_what_they_read(directory: Path) -> None:
    reward_model = lively(reward_model_from_encoder(directory, seed=0, read_out=ReadOut(members=2)))
    read = latents(reward_model, sequences(reward_model))
    assert read.shape == (len(PROMPTS), reward_model.width)
    torch.testing.assert_close(reward_model.head(read), scores_by_head(reward_model, sequences(reward_model)))
    assert reward_model.head.out_features == 2


def test_the_checkpoints_weights_are_kept_and_what_is_new_follows_from_the_seed(directory: Path) -> None:
    one, same, other = (reward_model_from_encoder(directory, seed=seed) for seed in (0, 0, 1))
    weights, others = one.model.state_dict(), other.model.state_dict()
    trunk = one.model.base_model.state_dict(prefix=f"{one.model.base_model_prefix}.")
    assert all(torch.equal(weight, same.model.state_dict()[name]) for name, weight in weights.items())
    assert all(torch.equal(weight, others[name]) for name, weight in trunk.items() if ".pooler." not in name)
    assert not torch.equal(one.head.weight, other.head.weight)


@torch.no_grad()
def test_what_is_longer_than_the_positions_loses_the_oldest_of_the_prompt(directory: Path) -> None:
    reward_model = lively(reward_model_from_encoder(directory, seed=0))
    assert reward_model.max_positions == POSITIONS
    body = reward_model.encode_responses(["some soup"])[0]
    pairs = reward_model.pairs
    assert pairs is not None
    words = reward_model.tokenizer("warm bread " * POSITIONS, add_special_tokens=False)["input_ids"]
    room = POSITIONS - len(body) - len(pairs.prompt([]))
    cut = scores(reward_model, [pairs.prompt(words) + body, pairs.prompt(()) + pairs.response(words)])
    expected = [pairs.prompt(words[-room:]) + body]
    expected.append(pairs.prompt(()) + pairs.response(words[: POSITIONS - len(pairs.prompt(())) - len(pairs.closing)]))
    torch.testing.assert_close(cut, scores(reward_model, expected))


def test_a_template_of_ones_own_may_hold_separators(encoder_of: Callable[[str], Path], tmp_path: Path) -> None:
    reward_model = lively(reward_model_from_encoder(encoder_of("bert"), seed=0))
    reward_model.tokenizer.chat_template = "{% for message in messages %}{{ message['content'] + '[SEP]' }}{% endfor %}"
    save_reward_model(reward_model, tmp_path)
    with torch.no_grad():
        ours = scores(reward_model, sequences(reward_model))
    torch.testing.assert_close(scores_by_other_tools(tmp_path), ours, atol=1e-4, rtol=0)


def test_special_tokens_that_a_person_types_are_plain_text(encoder_of: Callable[[str], Path]) -> None:
    reward_model = reward_model_from_encoder(encoder_of("bert"), seed=0)
    (prompt,) = reward_model.encode_prompts([conversation(("user", "tea [SEP] [CLS]"))])
    (response,) = reward_model.encode_responses(["bread [SEP] soup [PAD]"])
    tokenizer = reward_model.tokenizer
    specials = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.sep_token_id]
    assert [token for token in prompt + response if token in {*specials, tokenizer.pad_token_id}] == specials


def test_another_classifier_may_be_the_base_and_an_encoder_without_trunk_may_not(
    encoder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    ensemble = reward_model_from_encoder(encoder_of("roberta"), seed=0, read_out=ReadOut(members=3))
    save_reward_model(ensemble, tmp_path / "ensemble")
    assert reward_model_from_encoder(tmp_path / "ensemble", seed=1).read_out.heads == 1
    model = AutoModelForSequenceClassification.from_pretrained(encoder_of("bert"), num_labels=3)
    AutoTokenizer.from_pretrained(encoder_of("bert")).save_pretrained(tmp_path / "three")
    model.save_pretrained(tmp_path / "three")
    assert reward_model_from_encoder(tmp_path / "three", seed=0).head.out_features == 1
    weights = {name: tensor for name, tensor in model.state_dict().items() if "layer.1" not in name}
    model.save_pretrained(tmp_path / "three", state_dict=weights)
    with pytest.raises(ModelError, match=r"lacks the weights of bert\.encoder\.layer\.1"):
        reward_model_from_encoder(tmp_path / "three", seed=0)


def test_an_encoder_is_no_policy(directory: Path) -> None:
    with pytest.raises(ModelError, match="is an encoder's, and what writes is a decoder"):
        load_language_model(directory)
