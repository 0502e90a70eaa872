"""How a training process ended, in a file of its run's folder, as both sides know it. Standard library only.

What runs a process somewhere else loses its exit code: `torchrun` makes each one a 1, and a job that was stopped has
none at all.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

JOB = "PLUMBLINE_JOB"
"""The variable by which a process is told its own name; without one it leaves no file."""
BEGUN = "PLUMBLINE_BEGUN"
"""Set for the processes of a run whose launcher began it: what came while they load is meant for them."""
ENDING = "exit.json"
STOP = "stop"
"""An empty file that asks a run to stop, as SIGTERM does, where no signal gets to: looked for at the end of a step."""


@dataclass(frozen=True)
class Ending:
    """An exit code, and in one line what the process said of it."""

    code: int
    error: str | None = None


def begin(folder: Path) -> None:
    """Nothing that was asked or told of an earlier process of this folder is left."""
    for name in (ENDING, STOP) if _is_first() and BEGUN not in os.environ else ():
        with suppress(NotADirectoryError):  # which is told in words later
            (folder / name).unlink(missing_ok=True)


def leave(folder: Path, ending: Ending) -> int:
    """Write how this process ends, if it has a name and is the first of its run's; returns the exit code."""
    job = os.environ.get(JOB)
    if job and _is_first():
        temporary = folder / f".{ENDING}.part"
        with suppress(OSError):  # a full disk, or no folder: there is still the exit code
            temporary.write_text(json.dumps({"job": job, "code": ending.code, "error": ending.error}), encoding="utf-8")
            temporary.replace(folder / ENDING)
    return ending.code


def read(folder: Path, job: str) -> Ending | None:
    """What the process of that name left; None if it left nothing that can be believed."""
    try:
        list(folder.iterdir())  # one that is shared over a network is looked at anew by this, not by opening a file
        told = json.loads((folder / ENDING).read_bytes())
        code, error = told["code"], told["error"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = told["job"] == job and type(code) is int and (error is None or isinstance(error, str))
    return Ending(code, error) if known else None


def _is_first() -> bool:
    """Of several processes of one run, which `torchrun` numbers."""
    return os.environ.get("RANK", "0") == "0"
