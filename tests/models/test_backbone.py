import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.architecture import Architecture
from models.backbone import (
    ModelError,
    build_language_model,
    hidden_states,
    load_language_model,
    pad_right,
    project,
    response_log_probabilities,
)
from models.saving import save_language_model
from models.tokenization import train_tokenizer
from tests.models.directories import TEXTS

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18], [20]]
RESPONSES = [[30, 31, 32, 33, 0], [40, 0], [50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 0]]


def test_any_family_loads_saves_and_opens_as_a_plain_causal_model(model_directory: Path, tmp_path: Path) -> None:
    loaded = load_language_model(model_directory)
    save_language_model(loaded, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([PROMPTS[1]])
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, loaded.model(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path).pad_token_id == loaded.pad_id


def test_padding_is_never_end_of_sequence(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    assert loaded.pad_id not in loaded.eos_ids
    assert loaded.model.get_input_embeddings().num_embeddings > loaded.pad_id


def test_log_probabilities_do_not_depend_on_padding(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    with torch.no_grad():
        together = response_log_probabilities(loaded.model, PROMPTS, RESPONSES, loaded.pad_id, 1.0)
        alone = [
            response_log_probabilities(loaded.model, [prompt], [response], loaded.pad_id, 1.0)
            for prompt, response in zip(PROMPTS, RESPONSES, strict=True)
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


def test_log_probabilities_are_those_of_a_plain_left_padded_forward_pass(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    prompt, response, padding = PROMPTS[0], RESPONSES[0], 7
    ids = torch.tensor([[loaded.pad_id] * padding + prompt + response])
    mask = torch.tensor([[0] * padding + [1] * (len(prompt) + len(response))])
    with torch.no_grad():
        ours = response_log_probabilities(loaded.model, [prompt], [response], loaded.pad_id, 0.7)
        logits = loaded.model(ids, attention_mask=mask, position_ids=mask.cumsum(-1) - mask).logits[0]
    logits[:, loaded.pad_id] = -torch.inf  # which has no probability
    expected = [
        torch.log_softmax(logits[padding + len(prompt) - 1 + step].double() / 0.7, -1)[token]
        for step, token in enumerate(response)
    ]
    torch.testing.assert_close(ours.double(), torch.stack(expected), atol=1e-4, rtol=0)


def test_projected_hidden_states_are_the_models_own_logits(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    ids = pad_right(PROMPTS[:1], loaded.pad_id)
    with torch.no_grad():
        projected = project(loaded.model, hidden_states(loaded.model, ids))
        expected = loaded.model(ids).logits
    assert bool((projected[..., loaded.pad_id] < -1e8).all()), "padding is never predicted"
    expected[..., loaded.pad_id] = projected[..., loaded.pad_id]
    torch.testing.assert_close(projected, expected)


def test_every_listed_end_of_sequence_id_counts(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(directory_of("llama"), tmp_path / "model")
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [0, 17]}))
    assert load_language_model(folder).eos_ids == (0, 17)


def test_dropout_never_acts(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("gpt2"))  # its configuration asks for dropout of 0.1
    first, second = (response_log_probabilities(loaded.model, PROMPTS, RESPONSES, loaded.pad_id, 1.0) for _ in range(2))
    assert torch.equal(first, second)


def test_an_architecture_that_is_not_listed_is_refused(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(directory_of("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(ModelError, match="mamba"):
        load_language_model(folder)


def test_pickled_weights_are_refused(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(directory_of("llama"), tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load"):
        load_language_model(folder)


def test_code_of_a_repository_is_not_run(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(directory_of("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text("raise SystemExit('their code ran')")
    with pytest.raises(ModelError):
        load_language_model(folder)


def test_missing_weights_are_refused(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(directory_of("llama"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks the weights"):
        load_language_model(folder)


def test_a_model_from_scratch_is_fixed_by_its_seed() -> None:
    tokenizer = train_tokenizer(TEXTS, 320)
    shape = Architecture(hidden_size=16, layers=1, heads=2, intermediate_size=24)
    first, second, third = (build_language_model(shape, tokenizer, seed=seed).model for seed in (1, 1, 2))
    weights = [model.get_input_embeddings().weight for model in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
