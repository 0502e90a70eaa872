"""How long to leave alone what doesn't answer, or ends soon."""

from dataclasses import dataclass


@dataclass
class BackOff:
    """Twice as long each time, until it is well."""

    first_seconds: float
    longest_seconds: float

    def __post_init__(self) -> None:
        self._seconds = self.first_seconds

    def next_seconds(self) -> float:
        seconds = self._seconds
        self._seconds = min(2 * seconds, self.longest_seconds)
        return seconds

    def end(self) -> None:
        """It is well."""
        self._seconds = self.first_seconds
