"""Whatever is wrong with a model of one's own is told in one line; whatever is merely unusual is put right."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from models.backbone import ModelError, first_line, freeze, load_language_model, pad_right
from models.reward import (
    is_encoder,
    load_reward_model,
    reward_model_from_encoder,
    reward_model_from_policy,
    save_reward_model,
)
from models.saving import save_language_model
from models.value import ActorCritic, Critic
from tests.models.encoders import write_encoder
from training.records import conversation

Family = Callable[[str], Path]


@pytest.fixture
def folder(directory_of: Family, tmp_path: Path) -> Path:
    """A Llama that a test may damage."""
    return shutil.copytree(directory_of("llama"), tmp_path / "model")


@pytest.fixture
def reward_folder(directory_of: Family, tmp_path: Path) -> Path:
    save_reward_model(reward_model_from_policy(load_language_model(directory_of("llama")), seed=0), tmp_path / "reward")
    return tmp_path / "reward"


def change_config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def change_tokenizer(folder: Path, **change: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def refusal(load: Callable[[Path], object], location: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load(location)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("load", [load_language_model, load_reward_model, is_encoder])
def test_a_place_without_a_model_is_named(load: Callable[[Path], object], tmp_path: Path) -> None:
    assert refusal(load, tmp_path / "nowhere") == f"there is no model at {tmp_path / 'nowhere'}"
    (tmp_path / "empty").mkdir()
    assert refusal(load, tmp_path / "empty").startswith(f"cannot read a model configuration at {tmp_path / 'empty'}: ")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "unheard of"}', '{"model_type": 5}'])
def test_a_configuration_that_is_none_is_refused(content: str, folder: Path) -> None:
    (folder / "config.json").write_text(content)
    assert str(folder) in refusal(load_language_model, folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 40])
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    assert refusal(load_language_model, folder).startswith(f"cannot load a language model from {folder}: ")


def test_without_weights_there_is_no_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(load_language_model, folder).startswith(f"cannot load a language model from {folder}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_weight_that_is_no_number_is_named(name: str, value: float, folder: Path) -> None:
    change_weights(folder, lambda weights: weights[name].view(-1)[-1:].fill_(value))
    assert refusal(load_language_model, folder) == f"{folder}: {name} holds what is not a number, or infinite"


def test_weights_of_another_size_are_named_with_both(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(31)}))
    said = f"{folder}: model.norm.weight has shape [31], and its configuration asks for [32]"
    assert refusal(load_language_model, folder) == said


def test_more_layers_than_its_configuration_tells_of_are_no_model(folder: Path) -> None:
    change_config(folder, num_hidden_layers=1)
    said = f"{folder} holds model.layers.1.input_layernorm.weight, and its configuration tells of fewer layers"
    assert refusal(load_language_model, folder) == said


ANSWERED = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}<eos>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "the tokenizer's chat template leaves out what people say"),
        ("hello", "the tokenizer's chat template leaves out what people say"),
        ("{% for turn in messages %}<eos>{% endfor %}", "the tokenizer's chat template leaves out what people say"),
        (5, "the tokenizer's chat template is 5, and no text"),
        (
            [{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "y"}],
            "of the tokenizer's chat templates (rag, tool_use) none is the default",
        ),
    ],
)
def test_a_template_that_is_none_is_refused_with_the_model(template: object, why: str, folder: Path) -> None:
    change_tokenizer(folder, chat_template=template)
    assert refusal(load_language_model, folder) == f"cannot use {folder}: {why}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages + 1 }}", 'can only concatenate list (not "int") to list'),
        ("{{ messages[0].content.foo() }}", "'str object' has no attribute 'foo'"),
        ("{{ messages | banana }}", "No filter named 'banana'."),
    ],
)
def test_whatever_a_template_does_wrong_is_told_of_the_prompt(template: str, why: str, folder: Path) -> None:
    change_tokenizer(folder, chat_template=template)
    (found,) = load_language_model(folder).try_prompts([conversation(("user", "Hello"))])
    assert str(found) == f"the tokenizer's chat template cannot render a prompt: {why}"


def test_of_several_templates_the_default_is_taken(folder: Path) -> None:
    change_tokenizer(
        folder, chat_template=[{"name": "default", "template": ANSWERED}, {"name": "rag", "template": "x"}]
    )
    loaded = load_language_model(folder)
    assert loaded.tokenizer.decode(loaded.encode_prompts([conversation(("user", "Hello"))])[0]) == "[user]Hello<eos>"


@pytest.mark.parametrize("ends", [[0, 5000], -1, [], None, [0]])
def test_ends_that_there_are_no_tokens_of_are_left_out(ends: object, folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, "suppress_tokens": [10, 9999]}))
    loaded = load_language_model(folder)
    assert loaded.eos_ids == (0,)
    assert loaded.model.generation_config.suppress_tokens == [10, loaded.pad_id]


def test_an_end_that_is_no_number_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": "0"}')
    said = f"cannot use {folder}: eos_token_id is '0', and no number of a token"
    assert refusal(load_language_model, folder) == said


def test_what_it_does_not_need_is_no_trouble(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"something.else": torch.zeros(3)}))
    load_language_model(folder)


def test_weights_in_half_precision_are_widened(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({name: one.bfloat16() for name, one in weights.items()}))
    change_config(folder, dtype="bfloat16")
    loaded = load_language_model(folder)
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}


def test_weights_in_several_files_are_read(directory_of: Family, tmp_path: Path) -> None:
    loaded = load_language_model(directory_of("llama"))
    loaded.model.save_pretrained(tmp_path, max_shard_size="40KB")
    loaded.tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    again = load_language_model(tmp_path)
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)


def test_a_row_that_is_added_for_padding_is_always_the_same(directory_of: Family) -> None:
    torch.manual_seed(1)
    one = load_language_model(directory_of("llama"))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    other = load_language_model(directory_of("llama"))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weight in one.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], weight)


def test_what_is_loaded_again_is_not_changed_again(directory_of: Family, tmp_path: Path) -> None:
    loaded = load_language_model(directory_of("gpt2"))
    save_language_model(loaded, tmp_path / "once")
    once = load_language_model(tmp_path / "once")
    save_language_model(once, tmp_path / "twice")
    assert (tmp_path / "twice" / "model.safetensors").read_bytes() == (
        tmp_path / "once" / "model.safetensors"
    ).read_bytes()
    assert (once.pad_id, once.eos_ids, once.max_positions) == (loaded.pad_id, loaded.eos_ids, 128)


def test_encoders_are_told_from_decoders_by_their_configuration(directory_of: Family, tmp_path: Path) -> None:
    encoder = write_encoder("bert", tmp_path)
    assert (is_encoder(encoder), is_encoder(directory_of("llama"))) == (True, False)
    assert "model type 'bert'" in refusal(load_language_model, encoder)
    assert "model type 'llama'" in refusal(
        lambda place: reward_model_from_encoder(place, seed=0), directory_of("llama")
    )


def test_a_classifier_with_several_labels_is_no_reward_model(directory_of: Family, tmp_path: Path) -> None:
    loaded = load_language_model(directory_of("llama"))
    config = type(loaded.model.config).from_dict(loaded.model.config.to_dict() | {"num_labels": 3})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    assert refusal(load_reward_model, tmp_path) == f"{tmp_path} has 3 labels; a reward model has one"


def test_a_reward_model_without_its_head_is_refused(reward_folder: Path) -> None:
    change_weights(reward_folder, lambda weights: weights.pop("score.weight"))
    assert refusal(load_reward_model, reward_folder) == f"{reward_folder} is not a reward model: it lacks score.weight"


def test_a_head_that_is_no_number_is_named(reward_folder: Path) -> None:
    change_weights(reward_folder, lambda weights: weights["score.weight"].fill_(float("nan")))
    assert "score.weight holds what is not a number" in refusal(load_reward_model, reward_folder)


def test_a_reward_model_without_statistics_has_scores_as_they_are(reward_folder: Path) -> None:
    loaded = load_reward_model(reward_folder)
    assert (loaded.score_mean, loaded.score_std) == (0.0, 1.0)
    assert (loaded.width, loaded.max_positions, loaded.is_encoder) == (32, 128, False)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("one line", "one line"),
        ("  first\nsecond", "first"),
        ("announced:\n  the cause\nmore", "announced: the cause"),
        ("", "ValueError"),
        ("\n\n", "ValueError"),
    ],
)
def test_of_a_long_error_the_first_line_is_told(said: str, told: str) -> None:
    assert first_line(ValueError(said)) == told


def test_a_frozen_model_learns_nothing(directory_of: Family) -> None:
    loaded = load_language_model(directory_of("llama"))
    freeze(loaded.model)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_rows_are_padded_on_their_right_to_the_longest() -> None:
    assert pad_right([[1, 2, 3], [4], []], 9).tolist() == [[1, 2, 3], [4, 9, 9], [9, 9, 9]]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_critic_on_the_policys_trunk_says_nothing_at_first_and_shares_it(family: str, directory_of: Family) -> None:
    policy = load_language_model(directory_of(family))
    shared, beside = Critic.on_trunk_of(policy), Critic.beside(policy)
    ids_BT = pad_right([[5, 6, 7, 8], [9]], policy.pad_id)
    for critic in (shared, beside):
        assert critic(ids_BT).tolist() == [[0.0] * 4] * 2
        assert all(parameter.requires_grad for parameter in critic.parameters())
        assert not critic.training
    own = {parameter.data_ptr() for parameter in policy.model.parameters()}
    assert {parameter.data_ptr() for parameter in shared.trunk.parameters()} <= own
    assert not {parameter.data_ptr() for parameter in beside.trunk.parameters()} & own


def test_a_critic_beside_a_frozen_model_learns_all_the_same(reward_folder: Path) -> None:
    reward_model = load_reward_model(reward_folder)
    freeze(reward_model.model)
    critic = Critic.from_reward_model(reward_model)
    critic(torch.tensor([[5, 6, 7]])).sum().backward()
    assert all(parameter.grad is not None for parameter in critic.parameters())
    assert all(parameter.grad is None for parameter in reward_model.model.parameters())


def test_policy_and_heads_are_one_module_with_every_weight_once(directory_of: Family) -> None:
    policy = load_language_model(directory_of("llama"))
    heads = {name: Critic.on_trunk_of(policy).head for name in ("critic", "cost_critic")}
    module = ActorCritic(policy.model, heads)
    assert set(module.heads) == {"critic", "cost_critic"}
    assert len(list(module.parameters())) == len(list(policy.model.parameters())) + 4
