"""kill -9 of the real command at any instant, then the same command again: the same weights, bit for bit."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training import toy
from tests.training.conftest import reward_settings
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import CANCELLED


def stage_settings(stage: str, world: Path, policy: Path, reward: Path) -> dict[str, object]:
    often = reward_settings(world, policy) | {"checkpoint_steps": 3}
    match stage:
        case "sft":
            return {
                "demonstrations": world / "demonstrations.jsonl",
                "architecture": toy.ARCHITECTURE,
                "epochs": 3,
                "batch_tokens": 512,
                "checkpoint_steps": 4,
            }
        case "reward":
            return often | {"distil_steps": 12}
        case "reward, tried out":
            tries = {"method": "cross_validated", "folds": 2, "heads": 3, "read_out": "worst", "mismatch_steps": 3}
            short = {"preferences": world / "few_preferences.jsonl", "distil_steps": 6, "batch_tokens": 2048}
            return often | tries | short
        case "reward, by demonstrations":
            normalised = {"normalise_over": "demonstrations", "demonstrations": world / "demonstrations.jsonl"}
            return often | normalised | {"method": "finetune", "heads": 2}
        case "ppo":
            return ppo_settings(world, policy, reward) | {"checkpoint_steps": 1}
        case "dpo":
            return {
                "policy": policy,
                "preferences": world / "preferences.jsonl",
                "epochs": 2,
                "batch_tokens": 2048,
                "micro_batch_tokens": 2048,
                "checkpoint_steps": 3,
            }
        case "kto":
            return {"policy": policy, "responses": world / "verdicts.jsonl", "epochs": 2, "checkpoint_steps": 3}
        case _:
            return {"policy": policy, "prompts": world / "prompts.jsonl", "batch_size": 8, "checkpoint_steps": 1}


def ppo_settings(world: Path, policy: Path, reward: Path) -> dict[str, object]:
    return {
        "policy": policy,
        "reference": policy,
        "reward": reward,
        "prompts": world / "prompts.jsonl",
        "iterations": 5,
        "batch_size": 16,
        "minibatch_size": 8,
        "critic_warmup_iterations": 1,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
    }


@pytest.fixture(scope="module")
def unbroken_sft(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage makes of the settings of "sft" where nothing comes between."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert toy.run("sft", out, **stage_settings("sft", world, world, world)) == 0
    return out


WITHOUT_PPO = ["sft", "reward", "reward, tried out", "reward, by demonstrations", "dpo", "kto"]


# The other ways to learn a reward model are killed twenty times each in `make proof`.
@pytest.mark.parametrize(
    "variant", ["sft", "ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in ("reward", "dpo", "kto"))]
)
def test_a_killed_run_ends_in_the_same_weights(
    variant: str, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    config = toy.write_config(tmp_path / "run.json", **stage_settings(variant, world, policy, reward))
    stage = variant.split(",")[0]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert toy.exit_code(toy.child(stage, config, unbroken)) == 0
    steps = len(toy.metrics_lines(unbroken))
    rng = random.Random(variant)
    kills = 0
    for target in sorted(rng.sample(range(1, steps), 2)):
        process = toy.child(stage, config, broken)
        kills += toy.kill_after_progress(process, broken, lines=target, delay_seconds=rng.uniform(0, 0.03))
    assert kills, "the child was too fast to be killed: give it more steps"
    assert toy.exit_code(toy.child(stage, config, broken)) == 0
    assert weights(broken) == weights(unbroken)
    assert (broken / "result.json").read_bytes() == (unbroken / "result.json").read_bytes()
    assert [row["step"] for row in toy.metrics(broken)] == list(range(1, steps + 1))


@pytest.mark.slow
@pytest.mark.parametrize("variant", WITHOUT_PPO)
def test_a_run_killed_at_twenty_instants_ends_in_the_same_state(
    variant: str, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    config = toy.write_config(tmp_path / "run.json", **stage_settings(variant, world, policy, reward))
    require_the_same_state(variant.split(",")[0], config, tmp_path, kills=20, rng=random.Random(f"{variant} 20"))


@pytest.mark.parametrize(
    ("variant", "kills"),
    [
        ("everything", 2),
        pytest.param("cost", 2, marks=pytest.mark.slow),
        pytest.param("defaults", 20, marks=pytest.mark.slow),
        pytest.param("everything", 20, marks=pytest.mark.slow),
        pytest.param("adapters", 20, marks=pytest.mark.slow),
        pytest.param("rloo", 20, marks=pytest.mark.slow),
        pytest.param("grpo", 20, marks=pytest.mark.slow),
        pytest.param("cost", 20, marks=pytest.mark.slow),
        pytest.param("bfloat16", 5, marks=pytest.mark.slow),
    ],
)
def test_ppo_killed_at_any_instant_ends_in_the_same_state(
    variant: str, kills: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    """Weights of policy and critics, all optimisers, KL coefficient, multiplier and the costs that it answers to,
    history, best policy: the last checkpoint holds them all. Kills come at random times after the start, so that some
    hit loading, saving and publishing."""
    settings = ppo_settings(world, policy, reward) | {"iterations": 4 + kills, "checkpoint_steps": 1}
    if variant == "everything":
        settings |= everything(world)
    if variant == "bfloat16":
        settings |= {"precision": "bfloat16"}
    if variant == "adapters":
        settings |= {"lora_rank": 4}
    if variant == "cost":
        settings |= {"cost": as_cost(reward, tmp_path / "cost"), "cost_window": 24, "multiplier_learning_rate": 0.3}
    if variant in ("rloo", "grpo"):
        settings |= {"algorithm": variant, "samples_per_prompt": 4, "critic_warmup_iterations": 3}
    config = toy.write_config(tmp_path / "run.json", **settings)
    require_the_same_state("ppo", config, tmp_path, kills=kills, rng=random.Random(f"{variant} {kills}"))
    assert bool(toy.result(tmp_path / "unbroken")["roll_backs"]) == (variant == "everything")


def require_the_same_state(stage: str, config: Path, folder: Path, *, kills: int, rng: random.Random) -> None:
    """Of a run in one go and of one that was killed so often, at random times after each start."""
    unbroken, broken = folder / "unbroken", folder / "broken"
    began = time.monotonic()
    assert toy.exit_code(toy.child(stage, config, unbroken, keep_checkpoints=True)) == 0
    duration = time.monotonic() - began
    done = 0
    while done < kills:
        (broken / "result.json").unlink(missing_ok=True)  # as if a run that was faster had been killed just before
        process = toy.child(stage, config, broken, keep_checkpoints=True)
        process.join(rng.uniform(0, max(duration / kills, duration / 6)))
        process.kill()
        done += toy.exit_code(process) == -signal.SIGKILL
    (broken / "result.json").unlink(missing_ok=True)
    assert toy.exit_code(toy.child(stage, config, broken, keep_checkpoints=True)) == 0
    assert weights(broken) == weights(unbroken)
    assert (broken / "result.json").read_bytes() == (unbroken / "result.json").read_bytes()
    assert [row["step"] for row in toy.metrics(broken)] == [row["step"] for row in toy.metrics(unbroken)]
    assert last_state(broken) == last_state(unbroken)


def last_state(out: Path) -> tuple[int, dict[str, list[float]], object]:
    """Step, tensors and values of the newest checkpoint."""
    newest = max((out / "checkpoints").iterdir())
    tensors = load_file(newest / "tensors.safetensors")
    state = json.loads((newest / "state.json").read_text())
    return state["step"], {name: tensor.flatten().tolist() for name, tensor in tensors.items()}, state["values"]


def as_cost(reward: Path, folder: Path) -> Path:
    """A plain copy of the reward model's weights: without a manifest it may be read as either."""
    shutil.copytree(reward, folder)
    (folder / "manifest.json").unlink()
    return folder


def everything(world: Path) -> dict[str, object]:
    """What adds state of its own."""
    return {
        "critic": "shared",
        "kl_penalty": "loss",
        "kl_estimator": "k2",
        "kl_horizon": 100,
        "kl_roll_backs": 9,
        "max_kl": 1.0,
        "actor_learning_rate": 5e-3,
        "ptx_coefficient": 0.1,
        "demonstrations": world / "demonstrations.jsonl",
        "publish": "best",
        "held_out_prompts": world / "prompts.jsonl",
        "held_out_every": 2,
    }


def test_a_run_asked_to_stop_saves_and_is_resumed_to_the_same_weights(world: Path, tmp_path: Path) -> None:
    settings = stage_settings("sft", world, world, world) | {"epochs": 6, "checkpoint_steps": 1000}
    config = toy.write_config(tmp_path / "run.json", **settings)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert toy.exit_code(toy.child("sft", config, unbroken)) == 0
    with toy.command("sft", config, broken) as process:
        while process.poll() is None and len(toy.metrics_lines(broken)) < 5:
            time.sleep(0.002)
        process.terminate()
        _, errors = process.communicate()
    assert (process.returncode, errors) == (CANCELLED, "")
    assert not (broken / "result.json").exists()
    assert not (broken / "artifact").exists()
    assert toy.exit_code(toy.child("sft", config, broken)) == 0
    assert weights(broken) == weights(unbroken)


def test_a_model_that_is_being_examined_tells_how_far_it_is_and_a_stop_is_heard_and_nothing_is_learnt_again(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    examined = {"examined_prompts": 8, "examined_samples": 32, "distil_steps": 6, "checkpoint_steps": 1000}
    config = toy.write_config(tmp_path / "run.json", **(reward_settings(world, policy) | examined))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert toy.exit_code(toy.child("reward", config, unbroken)) == 0
    rows = toy.metrics(unbroken)
    phases = [row["phase"] for row in rows]
    learnt = phases.index("examine")
    assert phases[learnt:] == ["examine"] * 3, "128 responses, as many again, and the edits"
    assert {row["total_steps"] for row in rows[learnt:]} == {len(rows)}
    with toy.command("reward", config, broken) as process:
        while process.poll() is None and len(toy.metrics_lines(broken)) <= learnt:
            time.sleep(0.002)
        process.terminate()
        _, errors = process.communicate()
    assert (process.returncode, errors) == (CANCELLED, "")
    assert [json.loads(state.read_text())["step"] for state in broken.glob("checkpoints/*/state.json")] == [learnt]
    assert toy.exit_code(toy.child("reward", config, broken)) == 0
    assert weights(broken) == weights(unbroken)
    assert toy.result(broken) == toy.result(unbroken)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    world: Path, unbroken_sft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stage_settings("sft", world, world, world)
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "clear", lambda self: None)  # as if killed just before the end
        assert toy.run("sft", broken, **settings) == 0
    (broken / "result.json").unlink()
    newest, before = sorted((broken / "checkpoints").iterdir(), reverse=True)[:2]
    flip_a_byte(newest / "tensors.safetensors")
    resumed_at = json.loads((before / "state.json").read_text())["step"]
    assert resumed_at < json.loads((newest / "state.json").read_text())["step"]
    assert toy.run("sft", broken, **settings) == 0
    assert weights(broken) == weights(unbroken_sft)


def test_without_any_whole_checkpoint_a_run_starts_over(world: Path, unbroken_sft: Path, tmp_path: Path) -> None:
    settings = stage_settings("sft", world, world, world)
    broken = shutil.copytree(unbroken_sft, tmp_path / "broken")
    (broken / "result.json").unlink()
    (broken / "checkpoints" / "00000004").mkdir()
    (broken / "checkpoints" / "00000004" / "manifest.json").write_text("{")
    assert toy.run("sft", broken, **settings) == 0
    assert weights(broken) == weights(unbroken_sft)


def test_a_finished_run_is_left_as_it_is(world: Path, unbroken_sft: Path) -> None:
    before = (unbroken_sft / "artifact" / "manifest.json").stat().st_mtime_ns
    assert toy.run("sft", unbroken_sft, **stage_settings("sft", world, world, world)) == 0
    assert (unbroken_sft / "artifact" / "manifest.json").stat().st_mtime_ns == before


def weights(out: Path) -> dict[str, list[float]]:
    tensors = load_file(out / "artifact" / "model.safetensors")
    return {name: tensor.flatten().tolist() for name, tensor in sorted(tensors.items())}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
