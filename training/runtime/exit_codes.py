"""What the command tells its caller."""

import sys

from training.disk import NO_ROOM
from training.memory.room import NO_MEMORY

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 3


def say_bad_input(error: Exception) -> int:
    """Tell the error in one line on stderr; returns the exit code that goes with it."""
    sys.stderr.write(f"{' '.join(str(error).split())}\n")
    return BAD_INPUT


def say_no_memory(sentence: str) -> int:
    """Tell in one line on stderr that memory ran out; returns the exit code that goes with it."""
    sys.stderr.write(f"Out of memory: {sentence}\n")
    return NO_MEMORY


def say_no_room(error: Exception) -> int:
    """Tell in one line on stderr what the disk had no room for; returns the exit code that goes with it."""
    sys.stderr.write(f"No room on the disk: {' '.join(str(error).split())}\n")
    return NO_ROOM
