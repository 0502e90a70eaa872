"""What is said of a model by its files alone, and which are turned away: real directories, written here."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from app.errors import Invalid
from app.services.loop.runs import base_models, needs
from app.services.loop.runs.base_models import look_at
from training.memory import parts
from training.memory.shape import ModelShape

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "vocab_size": 32,
    "max_position_embeddings": 512,
}


def write_model(folder: Path, *, dtype: str = "BF16", **config: Any) -> Path:
    """A directory as models are published, with tensors that hold nothing."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\nlicense: mit\n")
    for part, shape in enumerate(([32, 8], [8])):
        write_tensors(folder / f"model-0000{part + 1}-of-00002.safetensors", dtype, shape)
    return folder


def write_tensors(path: Path, dtype: str, shape: list[int]) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": dtype, "shape": shape}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def test_a_model_is_known_by_its_files(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    card = look_at(f" {folder} ", home=tmp_path / "home", folders=None)
    assert (card.location, card.model_type, card.parameters) == (str(folder), "llama", 264)
    assert (card.dtypes, card.context, card.licence, card.has_chat_template) == (("BF16",), 512, "apache-2.0", True)
    needed = needs.shown(card.shape, memory_bytes=10**12)
    assert [(need.stage, need.with_adapters) for need in needed] == [(stage, False) for stage in needs.SHOWN]
    assert all(need.fits and need.memory_bytes > parts.PROCESS and need.step_seconds > 0 for need in needed)
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "README.md").unlink()
    plain = look_at(str(folder), home=tmp_path / "home", folders=None)
    assert (plain.licence, plain.has_chat_template) == (None, False)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert look_at(str(folder), home=tmp_path / "home", folders=None).has_chat_template


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert"}, "Its type is bert"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "made for something else"),
        ({"auto_map": {"AutoModelForCausalLM": "code.Model"}}, "code of its own"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"dtype": "I8"}, "quantised"),
    ],
)
def test_a_model_that_could_not_be_trained_is_turned_away(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    dtype = str(config.pop("dtype", "F32"))
    folder = write_model(tmp_path / "model", dtype=dtype, **config)
    with pytest.raises(Invalid, match=said):
        look_at(str(folder), home=tmp_path / "home", folders=None)


def test_files_that_are_missing_broken_or_dangerous_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = sorted(folder.glob("*.safetensors"))

    def refusal() -> str:
        with pytest.raises(Invalid) as refused:
            look_at(str(folder), home=tmp_path / "home", folders=None)
        return refused.value.message

    weights[1].write_bytes(b"\xff" * 8)
    assert refusal() == "model-00002-of-00002.safetensors is not a whole safetensors file."
    weights[1].write_bytes(b"")
    assert "not a whole" in refusal()
    for path in weights:
        path.unlink()
    assert "no weights" in refusal()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "pickled" in refusal()
    (folder / "manifest.json").write_text('{"kind": "reward"}')
    assert "judges responses" in refusal()
    (folder / "manifest.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in refusal()
    (folder / "config.json").write_text("[1]")
    assert "config.json can't be read" in refusal()
    (folder / "config.json").unlink()
    assert "no config.json" in refusal()


def test_a_place_that_is_not_allowed_says_nothing_of_what_is_there(tmp_path: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "shared"
    inside = write_model(home / "models" / "theirs" / "policy-run-1")
    elsewhere = write_model(tmp_path / "elsewhere" / "model")
    allowed = write_model(shared / "model")
    (shared / "link").symlink_to(elsewhere)
    (shared / "sly").symlink_to(inside)
    assert look_at(str(allowed), home=home, folders=(shared,)).parameters == 264
    missing = tmp_path / "nowhere"
    for place in (elsewhere, missing, shared / "link", shared / "sly", shared / ".." / "elsewhere" / "model", inside):
        with pytest.raises(Invalid) as refused:
            look_at(str(place), home=home, folders=(shared,))
        assert refused.value.message == base_models.NOT_ALLOWED
    # An admin names any place but the data of the site itself, where other projects' models lie.
    assert look_at(str(elsewhere), home=home, folders=None).parameters == 264
    for place in (inside, shared / "sly", "~/model", "relative/but/deep"):
        with pytest.raises(Invalid):
            look_at(str(place), home=home, folders=None)


def test_a_model_of_the_hub_comes_from_this_machines_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Invalid, match="huggingface-cli download some/model"):
        look_at("some/model", home=tmp_path / "home", folders=())
    cached = tmp_path / "models--some--model"
    write_model(cached / "snapshots" / "0123abcd")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abcd")
    assert look_at("some/model", home=tmp_path / "home", folders=()).location == "some/model"
    (cached / "refs" / "main").write_text("../../x")
    with pytest.raises(Invalid, match="not on this machine"):
        look_at("some/model", home=tmp_path / "home", folders=())


def test_what_is_too_much_says_with_which_settings_it_would_fit() -> None:
    shape = ModelShape(10**9, 2 * 10**9, 24, 2048, 5632, 2048, 512, 32_000, gated=True, tied=True)
    memory_bytes = 12 * 10**9
    by_stage = {need.stage: need for need in needs.shown(shape, memory_bytes=memory_bytes, flop_rate=1e11)}
    assert by_stage["sft"].fits, "by the defaults of a model of this size"
    sft = needs.of_stage("sft", shape, {"micro_batch_tokens": 2048}, memory_bytes=memory_bytes, flop_rate=1e11)
    assert sft is not None
    assert (sft.with_adapters, sft.fits, sft.is_refused) == (True, False, True)
    assert sft.changed == "micro_batch_tokens 512"
    assert sft.changed_bytes <= memory_bytes < sft.memory_bytes
