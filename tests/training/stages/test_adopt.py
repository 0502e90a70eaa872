"""A model that is taken over as it is: published as a policy with its lineage, and refused like any other."""

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.directories import write_directory
from tests.training import toy
from tests.training.stages.test_bad_input import refused
from training.data.opening import open_language_model
from training.records import conversation


def test_a_model_becomes_a_policy_and_its_weights_stay(tmp_path: Path) -> None:
    source = write_directory("llama", tmp_path / "model")
    out = tmp_path / "out"
    assert toy.run("adopt", out, model=str(source)) == 0
    manifest = json.loads((out / "artifact" / "manifest.json").read_text())
    assert manifest["kind"] == "policy"
    assert manifest["lineage"]["stage"] == "adopt"
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (source, out / "artifact"))
    assert toy.result(out)["parameters"] == sum(weight.numel() for weight in after.parameters())
    weights = after.state_dict()
    for name, weight in before.state_dict().items():
        # A row more, where it had no padding token.
        assert torch.equal(weights[name][: len(weight)], weight), name
    assert toy.run("adopt", out, model=str(source)) == 0, "done is done"


def test_the_report_shows_the_model_as_training_sees_it(tmp_path: Path) -> None:
    source = write_directory("llama", tmp_path / "model")
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert toy.run("adopt", tmp_path / "out", model=str(source)) == 0
    report = cast(dict[str, object], toy.result(tmp_path / "out")["report"])
    rate = report.pop("flop_rate")
    assert isinstance(rate, float)
    assert rate > 0
    assert report == {
        "family": "llama",
        "parameters": toy.result(tmp_path / "out")["parameters"],
        "dtypes": ["F32"],
        "licence": "apache-2.0",
        "context": 128,
        "has_template": False,
        "rendered": "User: Is water wet?\n\nAssistant: It makes things wet.<eos>",
        "end_of_turn": "<eos>",
        "ends": ["<eos>"],
    }


def test_what_is_no_policy_is_refused(tmp_path: Path, reward: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no model at" in refused("adopt", tmp_path / "none", capfd, model=str(tmp_path / "nowhere"))
    assert "a policy is needed" in refused("adopt", tmp_path / "judge", capfd, model=str(reward))


def test_what_was_set_of_the_template_holds_for_every_later_stage(tmp_path: Path) -> None:
    source = write_directory("llama", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ 'thinking' if enable_thinking is not defined or enable_thinking else 'at once' }}: "
        "{{ messages[0]['content'] }}{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    )
    tokenizer.save_pretrained(source)
    settings = {"chat_template_kwargs": {"enable_thinking": False}, "system_turns": "fold"}
    assert toy.run("adopt", tmp_path / "out", model=str(source), **settings) == 0
    policy = open_language_model(str(tmp_path / "out" / "artifact"))
    asked = [conversation(("system", "Be kind."), ("user", "Hello"))]
    assert policy.tokenizer.decode(policy.encode_prompts(asked)[0]) == "at once: Be kind.\n\nHello"
    probed = toy.result(tmp_path / "out")["probe"]
    assert isinstance(probed, dict)
    assert probed["packing"]
