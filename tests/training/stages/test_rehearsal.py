"""What could be lost at the end of a run is found out at its beginning, before a step is taken."""

import json
from pathlib import Path

import pytest

from models.backbone import LanguageModel, load_language_model
from models.reward import RewardModel
from models.saving import save_language_model
from tests.faults.room import no_room_beyond
from tests.models.directories import write_directory
from tests.training.stages.test_bad_input import refused, sft_settings
from tests.training.stages.test_crashes import stage_settings
from training.data import rehearsal
from training.disk import NO_ROOM


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo", "dpo", "kto"])
def test_where_nothing_can_be_saved_no_step_is_taken(
    stage: str, world: Path, policy: Path, reward: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = sft_settings(world) if stage == "sft" else stage_settings(stage, world, policy, reward)
    with no_room_beyond(20_000):  # a disk that is full, and so a matter of waiting and not of the input
        message = refused(stage, out, capfd, code=NO_ROOM, **settings)
    assert "can't be saved and opened again" in message
    assert not (out / "metrics.jsonl").exists()
    assert not list(out.rglob("*.part"))


def test_a_model_that_is_another_once_saved_is_refused(
    world: Path,
    policy: Path,
    reward: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a head once was that a library left out of its file and drew anew."""

    def save_without_head(reward_model: RewardModel, folder: Path) -> None:
        reward_model.head.weight.data *= 2
        save(reward_model, folder)
        reward_model.head.weight.data /= 2

    save = rehearsal.save_reward_model
    monkeypatch.setattr(rehearsal, "save_reward_model", save_without_head)
    message = refused("reward", tmp_path / "out", capfd, **stage_settings("reward", world, policy, reward))
    assert "is another model once it is saved" in message


@pytest.mark.parametrize(
    ("stage", "changed", "words"),
    [
        ("adopt", {"eos_token_id": 17}, "it ends or pads otherwise"),
        ("sft", {"rms_norm_eps": 0.5}, "is another model once it is saved"),
    ],
)
def test_a_policy_that_is_another_once_saved_is_refused(
    stage: str,
    changed: dict[str, object],
    words: str,
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by what a library writes into a configuration."""

    def save_changed(policy: LanguageModel, folder: Path) -> None:
        save(policy, folder)
        for path in (folder / "config.json", folder / "generation_config.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    save = rehearsal.save_language_model
    monkeypatch.setattr(rehearsal, "save_language_model", save_changed)
    given = {"model": write_directory("llama", tmp_path / "model")}
    settings = {"adopt": given, "sft": sft_settings(world) | given}[stage]
    assert words in refused(stage, tmp_path / "out", capfd, **settings)
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.parametrize(
    "generation",
    [{"temperature": 0.6, "top_p": 0.9}, {"output_scores": True}, {"num_beams": 1, "length_penalty": 2.0}],
)
def test_what_a_generation_config_may_hold_and_not_be_written_with_is_saved(
    generation: dict[str, object], tmp_path: Path
) -> None:
    folder = write_directory("llama", tmp_path / "theirs")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 17], **generation}))
    save_language_model(load_language_model(folder), tmp_path / "saved")
    assert load_language_model(tmp_path / "saved").eos_ids == (0, 17)
