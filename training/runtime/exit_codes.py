"""What the command tells its caller."""

import sys

from training.disk import NO_ROOM
from training.ending import Ending
from training.memory.room import NO_MEMORY

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 3


def say_bad_input(error: Exception) -> Ending:
    """Tell the error in one line on stderr."""
    return _say(BAD_INPUT, " ".join(str(error).split()))


def say_lost(error: Exception) -> Ending:
    """Tell in one line on stderr that another process of the run is lost."""
    return _say(FAILED, str(error))


def say_no_memory(sentence: str) -> Ending:
    """Tell in one line on stderr that memory ran out."""
    return _say(NO_MEMORY, f"Out of memory: {sentence}")


def say_no_room(error: Exception) -> Ending:
    """Tell in one line on stderr what the disk had no room for."""
    return _say(NO_ROOM, f"No room on the disk: {' '.join(str(error).split())}")


def _say(code: int, line: str) -> Ending:
    sys.stderr.write(f"{line}\n")
    return Ending(code, line)
