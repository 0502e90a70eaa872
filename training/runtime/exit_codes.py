"""What the command tells its caller."""

import sys

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 3


def say_bad_input(error: Exception) -> int:
    """Tell the error in one line on stderr; returns the exit code that goes with it."""
    sys.stderr.write(f"{' '.join(str(error).split())}\n")
    return BAD_INPUT
