"""Child processes that never outlive us, and the account that a child runs under. (Off Linux they are plain ones.)"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

# util-linux, an essential package of Debian and Ubuntu, slim images included.
SETPRIV = "setpriv"
LOG_BYTES = 10_000_000

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
    path = directory / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(directory / f"{name}.log.1")
    return path.open("ab")
