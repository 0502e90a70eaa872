"""A training process whose disk has no room (R9): it says so in a line, and the same command goes on once there is."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import EDQUOT, EIO, ENOSPC
from pathlib import Path
from typing import Any

import pytest

from tests.faults.room import no_room_beyond
from tests.training import toy
from tests.training.conftest import policy, reward, world
from tests.training.stages.test_crashes import stage_settings, unbroken_sft, weights
from training.disk import NO_ROOM, is_full
from training.runtime import run
from training.runtime.checkpoint import CheckpointStore
from training.runtime.exit_codes import DONE, FAILED

__all__ = ["policy", "reward", "unbroken_sft", "world"]

# Less than the toy's weights and more than its JSON files.
ROOM_BYTES = 20_000


@contextmanager
def full_from_checkpoint(number: int) -> Iterator[None]:
    """While the run writes its `number`th checkpoint there is room for no tensor."""
    save, calls = CheckpointStore.save, iter(range(1, 1_000))

    def save_if_there_is_room(*given: Any) -> None:
        if next(calls) < number:
            save(*given)
            return
        with no_room_beyond(ROOM_BYTES):
            save(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save_if_there_is_room)
        yield


@contextmanager
def full_when_publishing() -> Iterator[None]:
    publish = run.publish

    def publish_if_there_is_room(*given: Any) -> None:
        with no_room_beyond(ROOM_BYTES):
            publish(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "publish", publish_if_there_is_room)
        yield


@pytest.mark.parametrize(
    ("full", "left"),
    [
        (lambda: full_from_checkpoint(1), []),
        (lambda: full_from_checkpoint(3), ["00000004", "00000008"]),
        (full_when_publishing, None),
    ],
    ids=["at the first checkpoint", "at the third", "when it publishes"],
)
def test_a_run_without_room_keeps_its_checkpoints_and_ends_in_the_same_weights_once_there_is(
    full: Callable[[], AbstractContextManager[None]],
    left: list[str] | None,
    world: Path,
    unbroken_sft: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings, out = stage_settings("sft", world, world, world), tmp_path / "out"
    for expected in (left, None):  # what is full may be full for long
        with full():
            assert toy.run("sft", out, **settings) == NO_ROOM
        (said,) = capfd.readouterr().err.splitlines()
        assert said.startswith("No room on the disk: ")
        assert not (out / "result.json").exists()
        assert not (out / "artifact").exists()
        if expected is not None:
            whole = [folder.name for folder in (out / "checkpoints").iterdir() if folder.name.isdigit()]
            assert sorted(whole) == expected
    assert toy.run("sft", out, **settings) == DONE
    assert weights(out) == weights(unbroken_sft)
    assert [row["step"] for row in toy.metrics(out)] == [row["step"] for row in toy.metrics(unbroken_sft)]


@pytest.mark.parametrize(("number", "code"), [(ENOSPC, NO_ROOM), (EDQUOT, NO_ROOM), (EIO, FAILED)])
def test_a_disk_that_is_full_when_files_are_flushed_is_told_from_one_that_is_broken(
    number: int, code: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    assert toy.run("sft", tmp_path / "out", **stage_settings("sft", world, world, world)) == code


def test_errors_of_libraries_that_are_no_pythons_are_understood() -> None:
    assert is_full(RuntimeError('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No" })'))
    assert is_full(RuntimeError("No space left on device (os error 28)"))
    assert not is_full(RuntimeError("Permission denied (os error 13)"))
    wrapped = ValueError("cannot save")
    wrapped.__cause__ = OSError(ENOSPC, "No space left on device")
    assert is_full(wrapped)
