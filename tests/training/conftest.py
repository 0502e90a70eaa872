import fcntl
import os
import shutil
from collections.abc import Callable
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
    return copy_of_what_is_made_once("world", tmp_path_factory.mktemp("toy") / "world", tmp_path_factory, write_world)


def write_world(folder: Path) -> None:
    folder.mkdir()
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


@pytest.fixture(scope="session")
def policy(world: Path) -> Path:
    return world / "sft" / "artifact"


@pytest.fixture(scope="session")
def reward(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model made by the ordinary stage from the toy's preferences."""

    def make(folder: Path) -> None:
        assert toy.run("reward", folder, **reward_settings(world, policy)) == 0

    return copy_of_what_is_made_once("reward", world / "reward", tmp_path_factory, make) / "artifact"


def copy_of_what_is_made_once(
    name: str, copy: Path, folders: pytest.TempPathFactory, make: Callable[[Path], None]
) -> Path:
    """What takes long to train is trained by the first of pytest's processes that asks; each has a copy to write in."""
    own = folders.getbasetemp()
    of_all = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once"
    of_all.mkdir(exist_ok=True)
    with (of_all / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = of_all / name
        if not made.exists():
            make(of_all / f"{name}-making")
            (of_all / f"{name}-making").rename(made)
    shutil.copytree(made, copy)
    return copy


def reward_settings(world: Path, policy: Path) -> dict[str, object]:
    return {
        "policy": policy,
        "preferences": world / "preferences.jsonl",
        "prompts": world / "prompts.jsonl",
        "reference_samples": 256,
        "max_new_tokens": toy.MAX_NEW_TOKENS,
        "batch_tokens": 1024,
        "distil_steps": 240,
        "distil_learning_rate": 3e-3,
    }
