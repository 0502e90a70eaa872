"""One training process per folder, and the one with the newest token is it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.jobs.fence import SUPERSEDED

Start = Callable[[int], "subprocess.Popen[str]"]

# Says that it has the folder, then works in it for ever.
HOLD = [sys.executable, "-c", "import time; print('in', flush=True); time.sleep(1000)"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process in the folder with this token."""
    processes: list[subprocess.Popen[str]] = []

    def start(token: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "app.jobs.fence", str(tmp_path / "run"), str(token), "--", *HOLD]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def is_in(process: "subprocess.Popen[str]") -> bool:
    """Waits until the process has the folder or has ended without it."""
    assert process.stdout is not None
    return process.stdout.readline() == "in\n"


def test_a_newer_attempt_ends_the_older_one(start: Start) -> None:
    old = start(1)
    assert is_in(old)
    assert is_in(start(2))
    assert old.wait() == -signal.SIGKILL


def test_a_newer_attempt_ends_one_that_is_paused(start: Start) -> None:
    old = start(1)
    assert is_in(old)
    os.kill(old.pid, signal.SIGSTOP)
    assert is_in(start(2))
    assert old.wait() == -signal.SIGKILL


def test_an_older_attempt_steps_aside(start: Start) -> None:
    new = start(2)
    assert is_in(new)
    assert start(1).wait() == SUPERSEDED
    assert new.poll() is None


def test_an_older_attempt_steps_aside_even_after_the_newer_one_has_ended(start: Start) -> None:
    new = start(2)
    assert is_in(new)
    new.kill()
    new.wait()
    assert start(1).wait() == SUPERSEDED
    assert is_in(start(3))


def test_of_many_attempts_at_once_the_newest_is_left(start: Start) -> None:
    processes = {token: start(token) for token in (3, 1, 5, 2, 4)}
    assert is_in(processes[5])
    for token in (1, 2, 3, 4):
        assert processes[token].wait() in (SUPERSEDED, -signal.SIGKILL)
    assert processes[5].poll() is None


def test_whoever_works_in_a_folder_lets_others_have_the_processor_first(tmp_path: Path) -> None:
    """For its session too, where the kernel shares between sessions before it looks at niceness."""
    tell = "import os; print(os.nice(0)); a = '/proc/self/autogroup'; os.path.exists(a) and print(open(a).read())"
    command = [sys.executable, "-m", "app.jobs.fence", str(tmp_path / "run"), "1", "--", sys.executable, "-c", tell]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=True).stdout.split()
    assert told[0] == "5"
    assert told[1:] == [] or told[-2:] == ["nice", "5"]
