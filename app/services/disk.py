"""Room on the disk of the home folder, and the part of it that is kept free.

What fills disks (training, imports, files of whole projects) waits while less than the reserve is free, so that people
can go on judging: the embedded database is on the same disk.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from app.errors import NoRoom

# What waits goes on only when there is somewhat more, or it would stop and start with every file.
GO_ON_SHARE = 1.1


@dataclass(frozen=True)
class Room:
    """What a look at the disk found."""

    free_bytes: int
    reserve_bytes: int

    @property
    def is_short(self) -> bool:
        """Whether what fills disks has to stop."""
        return self.free_bytes < self.reserve_bytes

    @property
    def is_enough(self) -> bool:
        """Whether what waits may go on."""
        return self.free_bytes >= GO_ON_SHARE * self.reserve_bytes


def look(home: Path, reserve_bytes: int) -> Room:
    """How much is free where `home` is or will be."""
    return Room(shutil.disk_usage(existing(home)).free, reserve_bytes)


def existing(home: Path) -> Path:
    """The home, or the folder in which it would be made."""
    return next(folder for folder in (home, *home.parents) if folder.exists())


def require_room(home: Path, reserve_bytes: int) -> None:
    """Raises NoRoom while what fills the disk has to wait."""
    if look(home, reserve_bytes).is_short:
        raise NoRoom
