"""What a stage leaves for whoever watches it from elsewhere, and how it is asked to stop without a signal."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training import toy
from tests.training.stages.test_crashes import weights
from training import ending
from training.ending import BEGUN, ENDING, JOB, STOP, Ending
from training.runtime.artifact import placeless
from training.runtime.exit_codes import BAD_INPUT, CANCELLED

NAME = "plumbline-site-run-7-0"


def told(out: Path) -> Any:
    return json.loads((out / ENDING).read_text())


def write_settings(folder: Path, world: Path) -> Path:
    """A run on a model that nobody published here, which lies beside it."""
    shutil.copytree(world / "sft" / "artifact", folder / "model")
    (folder / "model" / "manifest.json").unlink()
    shutil.copy(world / "demonstrations.jsonl", folder)
    settings = {"model": "model", "demonstrations": "demonstrations.jsonl", "epochs": 3, "batch_tokens": 512}
    return toy.write_config(folder / "run.json", **settings, checkpoint_steps=1000)


def test_a_run_stopped_by_a_file_says_how_it_ended_and_goes_on_in_another_place_to_the_same_weights(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "mount"
    config = write_settings(here, world)
    assert toy.exit_code(toy.child("sft", config, tmp_path / "unbroken")) == 0
    out = here / "run"
    out.mkdir()
    for of_before in (ENDING, STOP):
        (out / of_before).touch()
    monkeypatch.setenv(JOB, NAME)
    with toy.command("sft", config, out) as process:
        while process.poll() is None and len(toy.metrics_lines(out)) < 3:
            time.sleep(0.002)
        (out / STOP).touch()
        process.communicate()
    assert process.returncode == CANCELLED
    assert told(out) == {"job": NAME, "code": CANCELLED, "error": None}
    assert not (out / STOP).exists(), "who goes on is not asked to stop again"
    elsewhere = tmp_path / "other" / "mount"
    elsewhere.parent.mkdir()
    here.rename(elsewhere)
    assert toy.exit_code(toy.child("sft", elsewhere / "run.json", elsewhere / "run")) == 0
    assert weights(elsewhere / "run") == weights(tmp_path / "unbroken")


def test_bad_input_is_told_in_its_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    assert toy.run("adopt", tmp_path / "out", model="/nowhere/at/all") == BAD_INPUT
    assert not (tmp_path / "out" / ENDING).exists(), "nobody who has no name is watched"
    monkeypatch.setenv(JOB, NAME)
    assert toy.run("adopt", tmp_path / "out", model="/nowhere/at/all") == BAD_INPUT
    assert told(tmp_path / "out") == {"job": NAME, "code": BAD_INPUT, "error": "there is no model at /nowhere/at/all"}


def test_a_second_process_of_a_run_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB, NAME)
    monkeypatch.setenv("RANK", "1")
    (tmp_path / STOP).touch()
    ending.begin(tmp_path)
    assert ending.leave(tmp_path, Ending(3)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [STOP]


def test_what_came_while_processes_load_is_kept_if_their_launcher_began_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / STOP).touch()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(BEGUN, "1")
    ending.begin(tmp_path)
    assert (tmp_path / STOP).exists()
    monkeypatch.delenv(BEGUN)  # as `torchrun` by hand starts them
    ending.begin(tmp_path)
    assert not (tmp_path / STOP).exists()


@pytest.mark.parametrize(
    ("left", "believed"),
    [
        ({"job": NAME, "code": 2, "error": "no"}, Ending(2, "no")),
        ({"job": NAME, "code": -9, "error": None}, Ending(-9)),
        ({"job": "plumbline-site-run-7-1", "code": 0, "error": None}, None),
        ({"job": NAME, "code": True, "error": None}, None),
        ({"job": NAME, "code": 0, "error": 5}, None),
        ({"job": NAME}, None),
        ([NAME, 0], None),
    ],
)
def test_an_ending_is_believed_with_the_own_name_in_it(left: object, believed: Ending | None, tmp_path: Path) -> None:
    (tmp_path / ENDING).write_text(json.dumps(left))
    assert ending.read(tmp_path, NAME) == believed


def test_no_ending_and_half_of_one_are_none(tmp_path: Path) -> None:
    assert ending.read(tmp_path / "nowhere", NAME) is None
    assert ending.read(tmp_path, NAME) is None
    (tmp_path / ENDING).write_text('{"job": "plumb')
    assert ending.read(tmp_path, NAME) is None


def test_a_directory_is_told_from_another_by_its_weights_and_not_by_its_place(tmp_path: Path) -> None:
    for name, last in (("one", b"a"), ("two", b"a"), ("other", b"b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(bytes(200_000) + last)
    (tmp_path / "two" / ".cache").touch()
    one, two, other = (placeless(f"name:{tmp_path / name}") for name in ("one", "two", "other"))
    assert one == two != other
    assert placeless("name:somebody/model") == "name:somebody/model"
