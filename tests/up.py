"""`plumbline up` as a process of its own: the whole application, started as people start it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

PLUMBLINE = Path(sys.executable).with_name("plumbline")
LINK = re.compile(r"^ +(\w+) signs in, once, by (http://\S+)$", flags=re.MULTILINE)


class Up:
    """A running `plumbline up` without the starter project, and what it has said."""

    def __init__(self, home: Path, port: int, command: Sequence[str] = (str(PLUMBLINE), "up"), **settings: str) -> None:
        self.home = home
        self.port = port
        self.said = ""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ
            | {"PLUMBLINE_HOME": str(home), "PLUMBLINE_PORT": str(port), "PLUMBLINE_STARTER": "false"}
            | settings,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def wait_until_ready(self) -> "Up":
        wait_until(lambda: "Ctrl-C stops everything" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return self

    def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).is_success
        return False

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def pid_of(self, part: str) -> int | None:
        return next(iter(self.pids_of(part)), None)

    def pids_of(self, part: str) -> set[int]:
        return {pid for pid, command in processes_of(self.home).items() if part in command}


def processes_of(home: Path) -> dict[int, str]:
    """Pid → command of every process that works in or for this home, this one's own left out."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            ours = f"PLUMBLINE_HOME={home}\0".encode() in (process / "environ").read_bytes()
            if command and (ours or str(home) in command) and int(process.name) != os.getpid():
                found[int(process.name)] = command
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
