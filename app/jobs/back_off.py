"""How long to leave alone what doesn't answer."""

from dataclasses import dataclass

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0


@dataclass
class BackOff:
    """Twice as long each time, until it answers."""

    _seconds: float = FIRST_SECONDS

    def next_seconds(self) -> float:
        seconds = self._seconds
        self._seconds = min(2 * seconds, LONGEST_SECONDS)
        return seconds

    def end(self) -> None:
        """It has answered."""
        self._seconds = FIRST_SECONDS
