"""Each stage with each kind of bad input that can reach it: refused in one line without an artifact, or put right."""

import json
import shutil
from pathlib import Path

import pytest

from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.stages.test_bad_input import preferences_of, refused, sft_settings
from tests.training.stages.test_crashes import flip_a_byte, stage_settings, weights
from training.records import CompletionRecord, DemonstrationRecord, read_records
from training.runtime.checkpoint import CheckpointStore

STAGES = ("sft", "reward", "ppo", "dpo", "kto", "generate", "evaluate")
LESS_USUAL = ("cost", "embed")


@pytest.fixture(scope="module")
def stranger(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with another tokenizer."""
    out = tmp_path_factory.mktemp("stranger") / "sft"
    architecture = toy.ARCHITECTURE | {"vocab_size": 300}
    assert toy.run("sft", out, **sft_settings(world) | {"architecture": architecture, "batch_tokens": 512}) == 0
    return out / "artifact"


@pytest.fixture
def settings(world: Path, policy: Path, reward: Path) -> dict[str, dict[str, object]]:
    """Good ones, by stage, as short as can be."""
    evaluate = {
        "policy": policy,
        "reference": policy,
        "reward": reward,
        "prompts": world / "prompts.jsonl",
        "preferences": world / "few_preferences.jsonl",
        "max_new_tokens": 8,
    }
    few = {"preferences": world / "few_preferences.jsonl"}
    short = {
        "sft": {"epochs": 1},
        "reward": {**few, "distil_steps": 4, "reference_samples": 64},
        "ppo": {"iterations": 2},
        "dpo": {**few, "epochs": 1},
        "kto": {"responses": world / "few_verdicts.jsonl", "epochs": 1},
    }
    return {
        stage: (evaluate if stage == "evaluate" else stage_settings(stage, world, policy, reward))
        | short.get(stage, {})
        for stage in STAGES
    } | {
        "cost": {"policy": policy, **few, "prompts": world / "prompts.jsonl"},
        "embed": {"policy": policy, "responses": world / "responses.jsonl"},
    }


FILES = [
    ("sft", "demonstrations"),
    ("sft", "held_out"),
    ("reward", "preferences"),
    ("reward", "prompts"),
    ("ppo", "prompts"),
    ("ppo", "held_out_prompts"),
    ("dpo", "preferences"),
    ("kto", "responses"),
    ("generate", "prompts"),
    ("evaluate", "prompts"),
    ("evaluate", "preferences"),
    ("cost", "preferences"),
    ("embed", "responses"),
]


@pytest.mark.parametrize(("stage", "role"), FILES)
def test_a_file_of_zero_rows(
    stage: str, role: str, settings: dict[str, dict[str, object]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n")
    assert "empty.jsonl holds no records" in refused(stage, tmp_path / "out", capfd, **settings[stage] | {role: path})


@pytest.mark.parametrize("stage", [*STAGES, *LESS_USUAL])
def test_an_unknown_setting(
    stage: str, settings: dict[str, dict[str, object]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(stage, tmp_path / "out", capfd, **settings[stage], colour="blue")
    assert said == "colour: unknown setting\n"


@pytest.mark.parametrize(
    ("stage", "role"),
    [
        ("ppo", "reference"),
        ("dpo", "reference"),
        ("kto", "reference"),
        ("evaluate", "reference"),
        ("ppo", "policy"),
        ("ppo", "reward"),
    ],
)
def test_a_tokenizer_that_does_not_match(
    stage: str,
    role: str,
    settings: dict[str, dict[str, object]],
    world: Path,
    stranger: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = stranger
    if role == "reward":
        made = reward_settings(world, stranger) | {"distil_steps": 2}
        assert toy.run("reward", tmp_path / "reward", **made) == 0
        other = tmp_path / "reward" / "artifact"
    capfd.readouterr()
    said = refused(stage, tmp_path / "out", capfd, **settings[stage] | {role: other})
    assert "tokenizer" in said or "vocabulary" in said


@pytest.mark.parametrize("stage", ["reward", "dpo", "evaluate"])
def test_pairs_longer_than_the_model(
    stage: str,
    settings: dict[str, dict[str, object]],
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    long = preferences_of(world, tmp_path, response_b="bread and " * 600)
    refused(stage, tmp_path / "out", capfd, **settings[stage] | {"preferences": long})


@pytest.mark.parametrize("stage", ["ppo", "generate", "evaluate"])
def test_responses_longer_than_the_model(
    stage: str, settings: dict[str, dict[str, object]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(stage, tmp_path / "out", capfd, **settings[stage] | {"max_new_tokens": 10_000})
    assert "no prompt leaves room for 10000 new tokens" in said


@pytest.mark.parametrize(("stage", "role"), [("reward", "preferences"), ("dpo", "preferences"), ("kto", "responses")])
def test_a_file_of_validation_prompts_alone(
    stage: str, role: str, settings: dict[str, dict[str, object]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.jsonl"
    rows = Path(str(settings[stage][role])).read_text().splitlines()
    path.write_text("\n".join(json.dumps(json.loads(row) | {"split": "validation"}) for row in rows[:5]))
    said = refused(stage, tmp_path / "out", capfd, **settings[stage] | {role: path})
    assert "to train on: 5 are" in said
    assert "kept for validation" in said


def test_all_ties_teach_dpo_nothing(
    settings: dict[str, dict[str, object]], world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ties = preferences_of(world, tmp_path, preference=0.5)
    said = refused("dpo", tmp_path / "out", capfd, **settings["dpo"] | {"preferences": ties})
    assert "all training pairs are ties" in said


@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_validation_pairs_of_equal_responses_measure_nothing(
    stage: str, settings: dict[str, dict[str, object]], world: Path, tmp_path: Path
) -> None:
    path = tmp_path / "equal.jsonl"
    rows = [json.loads(line) for line in (world / "few_preferences.jsonl").read_text().splitlines()]
    for row in rows:
        if row["split"] == "validation":
            row |= {"response_b": row["response_a"], "preference": 1.0}
    path.write_text("\n".join(map(json.dumps, rows)))
    assert toy.run(stage, tmp_path / "out", **settings[stage] | {"preferences": path}) == 0
    told = toy.result(tmp_path / "out")
    assert (told["accuracy"], told["validation_pairs"], told["pairs_dropped"]) == (
        None,
        0,
        sum(row["split"] == "validation" for row in rows),
    )


def test_all_ties_leave_nothing_to_agree_with(
    settings: dict[str, dict[str, object]], world: Path, tmp_path: Path
) -> None:
    ties = preferences_of(world, tmp_path, preference=0.5)
    assert toy.run("evaluate", tmp_path / "out", **settings["evaluate"] | {"preferences": ties}) == 0
    assert toy.result(tmp_path / "out").get("accuracy") is None


@pytest.mark.parametrize("method", ["distil", "finetune"])
@pytest.mark.parametrize("preference", [0.0, 1.0])
def test_one_class_only_is_as_good_as_two(
    method: str, preference: float, settings: dict[str, dict[str, object]], world: Path, tmp_path: Path
) -> None:
    """Which side is better may be the same everywhere: sides are no features."""
    path = tmp_path / "one.jsonl"
    rows = []
    for line in (world / "few_preferences.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["preference"] == 0.5:
            continue
        if row["preference"] != preference:
            row |= {"response_a": row["response_b"], "response_b": row["response_a"], "preference": preference}
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n")
    change = {"preferences": path, "method": method, "distil_steps": 20}
    assert toy.run("reward", tmp_path / "out", **settings["reward"] | change) == 0
    assert toy.run("dpo", tmp_path / "dpo", **settings["dpo"] | {"preferences": path}) == 0


@pytest.mark.parametrize("stage", ["reward", "dpo", "evaluate"])
def test_empty_responses_are_responses(
    stage: str, settings: dict[str, dict[str, object]], world: Path, tmp_path: Path
) -> None:
    empty = preferences_of(world, tmp_path, response_b="")
    assert toy.run(stage, tmp_path / "out", **settings[stage] | {"preferences": empty}) == 0


def test_a_policy_that_has_learnt_to_say_nothing(
    settings: dict[str, dict[str, object]], world: Path, policy: Path, tmp_path: Path
) -> None:
    """Empty demonstrations, then every stage on the policy that they make."""
    records = read_records(world / "demonstrations.jsonl", DemonstrationRecord)
    path = tmp_path / "silent.jsonl"
    path.write_text("".join(json.dumps(record.to_json() | {"response": ""}) + "\n" for record in records))
    made = settings["sft"] | {"model": policy, "demonstrations": path, "learning_rate": 1e-2, "epochs": 2}
    assert toy.run("sft", tmp_path / "sft", **made) == 0
    silent = tmp_path / "sft" / "artifact"
    assert toy.run("generate", tmp_path / "generate", **settings["generate"] | {"policy": silent}) == 0
    written = read_records(tmp_path / "generate" / "completions.jsonl", CompletionRecord)
    assert {(record.text, record.token_count, record.ended_with_eos) for record in written} == {("", 1, True)}
    both = {"policy": silent, "reference": silent}
    assert toy.run("evaluate", tmp_path / "evaluate", **settings["evaluate"] | both) == 0
    assert (toy.result(tmp_path / "evaluate")["length"], toy.result(tmp_path / "evaluate")["distinct_2"]) == (1.0, 0.0)
    assert toy.run("ppo", tmp_path / "ppo", **settings["ppo"] | both) == 0
    assert toy.result(tmp_path / "ppo")["eos_rate"] == 1.0


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("reward", {"distil_learning_rate": 1e30, "distil_steps": 20}),
        ("reward", {"method": "finetune", "finetune_learning_rate": 1e30, "finetune_epochs": 4}),
        ("ppo", {"actor_learning_rate": 1e30, "critic_warmup_iterations": 0, "max_kl": None, "max_update_kl": None}),
        ("ppo", {"critic_learning_rate": 1e30, "value_clip": None, "iterations": 6}),
        ("dpo", {"learning_rate": 1e30, "epochs": 4}),
        ("kto", {"learning_rate": 1e30, "epochs": 4}),
    ],
)
def test_a_loss_that_is_not_a_number(
    stage: str,
    change: dict[str, object],
    settings: dict[str, dict[str, object]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said = refused(stage, tmp_path / "out", capfd, **settings[stage] | change)
    assert "not finite" in said or "same score" in said


@pytest.mark.parametrize("stage", ["reward", "ppo", "dpo", "kto", "generate"])
def test_a_checkpoint_with_a_flipped_byte_is_passed_over(
    stage: str, settings: dict[str, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings[stage] | {"checkpoint_steps": 1}
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert toy.run(stage, unbroken, **config) == 0
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "clear", lambda self: None)  # as if killed just before the end
        assert toy.run(stage, broken, **config) == 0
    (broken / "result.json").unlink()
    newest = max((broken / "checkpoints").iterdir())
    flip_a_byte(newest / ("state.json" if stage == "generate" else "tensors.safetensors"))
    assert toy.run(stage, broken, **config) == 0
    if stage == "generate":
        assert (broken / "completions.jsonl").read_bytes() == (unbroken / "completions.jsonl").read_bytes()
    else:
        assert weights(broken) == weights(unbroken)


@pytest.mark.parametrize("stage", STAGES)
def test_an_eos_that_is_a_list_and_padding_that_is_eos(
    stage: str, settings: dict[str, dict[str, object]], policy: Path, tmp_path: Path
) -> None:
    """As others publish models: every listed id ends a response, and the padding token becomes one that is not EOS."""
    odd = shutil.copytree(policy, tmp_path / "odd")
    (odd / "manifest.json").unlink()
    eos_id = json.loads((odd / "config.json").read_text())["eos_token_id"]
    for name, change in (
        ("config.json", {"eos_token_id": [eos_id, eos_id + 1], "pad_token_id": eos_id}),
        ("generation_config.json", {"eos_token_id": [eos_id, eos_id + 1], "pad_token_id": eos_id}),
        ("tokenizer_config.json", {"pad_token": "<|end|>"}),
    ):
        content = json.loads((odd / name).read_text())
        (odd / name).write_text(json.dumps(content | change))
    by_itself = {stage: {"policy": odd} for stage in ("reward", "dpo", "kto", "generate")}
    named = {"sft": {"model": odd}, **by_itself}
    both = {"policy": odd, "reference": odd}
    assert toy.run(stage, tmp_path / "out", **settings[stage] | named.get(stage, both)) == 0
