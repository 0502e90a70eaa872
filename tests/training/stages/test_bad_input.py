"""Whatever is wrong with the input ends in exit code 2, one line on stderr, and no artifact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.stages.test_crashes import flip_a_byte, ppo_settings
from training.records import PreferenceRecord, PromptRecord, conversation, read_records, write_records
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import BAD_INPUT


def sft_settings(world: Path) -> dict[str, object]:
    return {
        "demonstrations": world / "demonstrations.jsonl",
        "architecture": toy.ARCHITECTURE,
        "epochs": 1,
        "batch_tokens": 4096,
    }


def refused(
    stage: str, out: Path, capfd: pytest.CaptureFixture[str], *, code: int = BAD_INPUT, **settings: object
) -> str:
    """The one line that the refusal says."""
    capfd.readouterr()  # what was said before it: bars of a library that no stage has silenced yet
    found = toy.run(stage, out, **settings)
    message = capfd.readouterr().err
    assert found == code, message
    assert message.count("\n") == 1
    assert not (out / "artifact").exists()
    assert not (out / "result.json").exists()
    return message


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"learnig_rate": 1e-3}, "learnig_rate: unknown setting"),
        ({"architecture": {"hiden_size": 3}}, "architecture.hiden_size: unknown setting"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": -1.0}, "learning_rate: must be above 0"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": True}, "epochs: must be a whole number"),
        ({"epochs": "3"}, "epochs: must be a whole number"),
        ({"seed": -1}, "seed"),
        ({"demonstrations": None}, "demonstrations: must be a path"),
        ({"model": "/nowhere/at/all"}, "there is no model at /nowhere/at/all"),
        ({"architecture": {"layers": 0}}, "architecture.layers: must be at least 1"),
        ({"architecture": {"hidden_size": 130, "heads": 4}}, "architecture.hidden_size: must be a multiple"),
        ({"max_length": 3}, "every demonstration is longer than 3 tokens"),
        ({"learning_rate": 1e30, "epochs": 4, "batch_tokens": 512}, "training diverged"),
    ],
)
def test_a_bad_setting(
    change: dict[str, object], word: str, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert word in refused("sft", tmp_path / "out", capfd, **sft_settings(world) | change)


def test_a_setting_that_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "demonstrations: missing" in refused("sft", tmp_path / "out", capfd)


@pytest.mark.parametrize("out", ["out", "run.json"])
def test_a_config_that_is_not_json_wherever_the_output_is_to_go(tmp_path: Path, out: str) -> None:
    (tmp_path / "run.json").write_text("{")
    with toy.command("sft", tmp_path / "run.json", tmp_path / out) as process:
        _, message = process.communicate()
    assert process.returncode == BAD_INPUT
    assert message.startswith("config: cannot read")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "holds no records"),
        ('{"prompt_id": "a"}\n', "line 1"),
        ("\n{not json\n", "line 2"),
        (
            '{"prompt_id": "a", "prompt": [{"role": "assistant", "content": "hi"}], "response": "x"}\n',
            "not the assistant's",
        ),
    ],
)
def test_bad_demonstrations(
    content: str, word: str, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    assert word in refused("sft", tmp_path / "out", capfd, **sft_settings(world) | {"demonstrations": path})


def test_a_missing_file(world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = sft_settings(world) | {"demonstrations": tmp_path / "none.jsonl"}
    assert "none.jsonl" in refused("sft", tmp_path / "out", capfd, **settings)


def test_a_folder_that_holds_another_run(world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert toy.run("sft", tmp_path / "out", **sft_settings(world)) == 0
    shutil.rmtree(tmp_path / "out" / "artifact")
    (tmp_path / "out" / "result.json").unlink()
    assert "another configuration" in refused("sft", tmp_path / "out", capfd, **sft_settings(world) | {"epochs": 2})


def test_an_artifact_with_a_flipped_byte(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = shutil.copytree(policy, tmp_path / "policy")
    flip_a_byte(damaged / "model.safetensors")
    settings = {"policy": damaged, "prompts": world / "prompts.jsonl"}
    assert "does not match its manifest" in refused("generate", tmp_path / "out", capfd, **settings)


def test_a_folder_that_is_a_file(world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert "cannot make the folder" in refused("sft", tmp_path / "out", capfd, **sft_settings(world))


def half_of_the_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def weights_without_meaning(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def a_vocabulary_that_is_none(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = "none"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def no_end_of_sequence(folder: Path) -> None:
    """Neither the tokenizer names one, nor a configuration, nor does the template write one after a turn."""
    for name, key in (
        ("tokenizer_config.json", "eos_token"),
        ("config.json", "eos_token_id"),
        ("generation_config.json", "eos_token_id"),
    ):
        settings = json.loads((folder / name).read_text())
        del settings[key]
        (folder / name).write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text("{% for turn in messages %}{{ turn['content'] }}{% endfor %}")


def a_template_that_refuses(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system here') }}")


def a_width(width: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | {"hidden_size": width}))

    return change


@pytest.mark.parametrize("stage", ["generate", "reward"])
@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (half_of_the_weights, "cannot load a language model"),
        (weights_without_meaning, "not a number"),
        (a_vocabulary_that_is_none, "cannot load a language model"),
        (no_end_of_sequence, "no end-of-sequence token"),
        (a_template_that_refuses, "no system here"),
        (a_width(64), "has shape"),
        (a_width("wide"), "expected int"),
    ],
)
def test_a_model_of_ones_own_that_cannot_be_used(
    stage: str,
    damage: Callable[[Path], None],
    word: str,
    world: Path,
    policy: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(policy, tmp_path / "policy")
    (folder / "manifest.json").unlink()
    damage(folder)
    settings = {"policy": folder, "prompts": world / "prompts.jsonl"}
    if stage == "reward":
        settings["preferences"] = world / "preferences.jsonl"
    assert word in refused(stage, tmp_path / "out", capfd, **settings)


def test_a_prompt_longer_than_the_model(policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "long.jsonl"
    write_records(path, [PromptRecord("long", conversation(("user", "bread and " * 600)))])
    assert "no prompt leaves room" in refused("generate", tmp_path / "out", capfd, policy=policy, prompts=path)


def preferences_of(world: Path, tmp_path: Path, **change: object) -> Path:
    """A few of the toy's, each of them changed."""
    rows = [record.to_json() | change for record in read_records(world / "few_preferences.jsonl", PreferenceRecord)]
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"preference": 0.5}, "all training pairs are ties"),
        ({"response_a": "bread", "response_b": "bread"}, "of equal responses"),
        ({"response_a": "\ud800"}, "response_a holds half a character: '\\ud800'"),
        ({"split": "validation"}, "to train on"),
        ({"prompt_id": "one"}, "is in both splits"),
        ({"preference": 1.5}, "preference must lie in [0, 1]"),
        ({"weight": 0}, "weight must be positive"),
        ({"response_a": "bread " * 600}, "to train on"),
    ],
)
def test_bad_preferences(
    change: dict[str, object],
    word: str,
    world: Path,
    policy: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = reward_settings(world, policy) | {"preferences": preferences_of(world, tmp_path, **change)}
    assert word in refused("reward", tmp_path / "out", capfd, **settings)


@pytest.mark.slow
def test_pairs_that_were_judged_both_ways_alike(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The teacher then knows nothing, and its student would be noise."""
    rows = [record.to_json() for record in read_records(world / "preferences.jsonl", PreferenceRecord)]
    rows = [row | {"preference": verdict} for row in rows for verdict in (0.0, 1.0)]
    path = tmp_path / "both.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = reward_settings(world, policy) | {"preferences": path, "distil_steps": 2}
    assert "contradict each other" in refused("reward", tmp_path / "out", capfd, **settings)


def test_a_policy_given_as_reward_model(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused("ppo", tmp_path / "out", capfd, **ppo_settings(world, policy, policy))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"minibatch_size": 32}, "minibatch_size: must not exceed batch_size"),
        ({"kl_penalty": "loss"}, "kl_estimator: k1 in the loss has no gradient"),
        ({"kl_estimator": "k4"}, "kl_estimator: must be one of usual, k1, k2, k3"),
        ({"ptx_coefficient": 1.0}, "demonstrations: needed"),
        ({"publish": "best"}, "held_out_prompts: needed"),
        ({"dual_clip": 1.0}, "dual_clip: must be above 1"),
        ({"clip": 0.2}, "clip: unknown setting"),
        ({"clip_low": 1.5}, "clip_low: must lie in"),
        ({"value_clip": 0}, "value_clip: must be above 0"),
        ({"critic": "none"}, "critic: must be one of usual, separate, shared, adapter"),
        ({"whiten_rewards": 1}, "whiten_rewards: must be true or false"),
        ({"held_out_prompts": "none.jsonl", "publish": "best"}, "none.jsonl"),
        ({"on_alarm": "roll_back"}, "kl_roll_backs: must be above 0"),
        ({"on_alarm": "stop", "detector_responses": 0}, "detector_responses: without any"),
        ({"acting_alarms": ["mood"]}, "acting_alarms: must be one of divergence"),
        ({"acting_alarms": "outliers"}, "acting_alarms: must be a list"),
        ({"alarms": {"mood": 1.0}}, "alarms.mood: unknown setting"),
        ({"alarms": {"outliers": 2.0}}, "alarms.outliers: must lie in"),
        ({"held_out_reward": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_bad_setting_of_ppo(
    change: dict[str, object],
    word: str,
    world: Path,
    policy: Path,
    reward: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert word in refused("ppo", tmp_path / "out", capfd, **ppo_settings(world, policy, reward) | change)


def test_a_checkpoint_of_another_layout(
    world: Path, policy: Path, reward: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ppo_settings(world, policy, reward) | {"iterations": 2, "checkpoint_steps": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "clear", lambda self: None)
        patch.setattr("training.ppo.loop.CHECKPOINT_LAYOUT", 1)
        assert toy.run("ppo", tmp_path / "out", **settings) == 0
    (tmp_path / "out" / "result.json").unlink()
    shutil.rmtree(tmp_path / "out" / "artifact")
    assert "written by another version" in refused("ppo", tmp_path / "out", capfd, **settings)


def test_an_artifact_of_another_format(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    later = shutil.copytree(policy, tmp_path / "policy")
    manifest = json.loads((later / "manifest.json").read_text())
    (later / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    settings = {"policy": later, "prompts": world / "prompts.jsonl"}
    assert "has format 2; this version reads 1" in refused("generate", tmp_path / "out", capfd, **settings)


def test_evaluating_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "policy, preferences" in refused("evaluate", tmp_path / "out", capfd)
