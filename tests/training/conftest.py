from pathlib import Path

import pytest
import torch

from tests.training import toy


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads on tiny matrices wait for each other more than they work, above all beside other tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy's data, and in `sft/artifact` a policy trained on it by the ordinary stage."""
    folder = tmp_path_factory.mktemp("world")
    toy.write_world(folder)
    code = toy.run(
        "sft",
        folder / "sft",
        demonstrations=folder / "demonstrations.jsonl",
        held_out=folder / "held_out.jsonl",
        architecture=toy.ARCHITECTURE,
        epochs=8,
        batch_tokens=512,
        learning_rate=1e-2,
    )
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def policy(world: Path) -> Path:
    return world / "sft" / "artifact"


@pytest.fixture(scope="session")
def reward(world: Path, policy: Path) -> Path:
    """A reward model made by the ordinary stage from the toy's preferences."""
    code = toy.run("reward", world / "reward", **reward_settings(world, policy))
    assert code == 0
    return world / "reward" / "artifact"


def reward_settings(world: Path, policy: Path) -> dict[str, object]:
    return {
        "policy": policy,
        "preferences": world / "preferences.jsonl",
        "prompts": world / "prompts.jsonl",
        "reference_samples": 256,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
        "batch_tokens": 1024,
        "distil_steps": 120,
        "distil_learning_rate": 3e-3,
        "checkpoint_steps": 3,
    }
