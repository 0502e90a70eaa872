"""Child processes that never outlive us, and the account that a child runs under. (Off Linux they are plain ones.)"""

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

# util-linux, an essential package of Debian and Ubuntu, slim images included.
SETPRIV = "setpriv"
LOG_BYTES = 10_000_000
AUTOGROUP = Path("/proc/self/autogroup")

DeathSignal = Literal["INT", "KILL", "TERM"]


@dataclass(frozen=True)
class Account:
    """An OS account for a child of a process that is root.

    `capabilities` let it pass folders that are closed to it (a clone under /root, say) without opening them to all.
    """

    uid: int
    gid: int
    capabilities: tuple[str, ...] = ()

    def options(self) -> list[str]:
        options = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if self.capabilities:
            added = ",".join(f"+{capability}" for capability in self.capabilities)
            # Without the bit, access(2) would still answer as if the account had none, and initdb asks it.
            options += ["--securebits=+no_setuid_fixup", f"--inh-caps={added}", f"--ambient-caps={added}"]
        return options


def give_way(niceness: int) -> None:
    """Let others have the processor first, for the rest of this process's life and of those that it starts.

    Linux shares a processor between sessions before it looks at niceness (sched(7), autogroups): a process that leads
    a session has to say it for its session, too, or two busy ones get half each whatever their niceness is.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # off Linux, or without autogroups, there is nothing to say it to
            AUTOGROUP.write_text(str(niceness))


def bound_to_us(
    command: Sequence[str],
    *,
    death_signal: DeathSignal = "KILL",
    account: Account | None = None,
    gains_rights: bool = True,
) -> list[str]:
    """`command` such that its process gets `death_signal` when the thread that starts it ends, kill -9 included.

    One that gains no rights keeps those that it has, whatever set-uid program it runs.
    """
    if sys.platform != "linux" or shutil.which(SETPRIV) is None:
        return list(command)
    options = account.options() if account else []
    if not gains_rights:
        options.append("--no-new-privs")
    return [SETPRIV, f"--pdeathsig={death_signal}", *options, "--", *command]


def open_log(directory: Path, name: str) -> IO[bytes]:
    """`name`.log in append mode; one that has grown past LOG_BYTES becomes `name`.log.1 first."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate_log(directory, name)
    return (directory / f"{name}.log").open("ab")


def rotate_log(directory: Path, name: str) -> bool:
    """Copy a log that has grown past LOG_BYTES to `name`.log.1 and empty it; whether it had.

    Who writes it, in append mode, goes on. What is written in the instant between the copy's end and the cut is lost,
    and where the disk has no room for the copy all of it is: a log must not be what fills the disk.
    """
    path = directory / f"{name}.log"
    if not path.exists() or path.stat().st_size <= LOG_BYTES:
        return False
    old, part = directory / f"{name}.log.1", directory / f"{name}.log.1.part"
    old.unlink(missing_ok=True)
    try:
        shutil.copyfile(path, part)
        part.replace(old)
    except OSError:
        part.unlink(missing_ok=True)
    os.truncate(path, 0)
    return True
