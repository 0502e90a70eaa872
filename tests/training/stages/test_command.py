"""The command itself, as the worker starts it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training import toy

ROOT = Path(__file__).parents[3]


def test_it_dies_with_its_parent(world: Path, tmp_path: Path) -> None:
    config = toy.write_config(
        tmp_path / "run.json",
        demonstrations=world / "demonstrations.jsonl",
        architecture=toy.ARCHITECTURE,
        epochs=1000,
        batch_tokens=64,
    )
    command = [sys.executable, "-m", "training", "sft", "--config", str(config), "--out", str(tmp_path / "out")]
    parent_code = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", parent_code, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while not toy.metrics_lines(tmp_path / "out"):
            assert runs(child)
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    while runs(child):
        time.sleep(0.05)


def test_a_bad_setting_is_told_before_torch_is_loaded(tmp_path: Path) -> None:
    config = toy.write_config(tmp_path / "run.json", demonstrations="x.jsonl", epohcs=2)
    code = (
        "import sys; sys.argv = ['training', 'sft', '--config', sys.argv[1], '--out', sys.argv[2]]\n"
        "from training.__main__ import main\n"
        "code = main()\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(config), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "epohcs: unknown setting\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("threads", ["0", "-1", "many"])
def test_threads_that_make_no_sense(threads: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "sft", "--config", "run.json", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, f"--threads={threads}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --threads: must be a whole number above 0, not {threads}\n")


def runs(process_id: int) -> bool:
    """Whether a process exists and is not a zombie that somebody has yet to bury."""
    try:
        os.kill(process_id, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
