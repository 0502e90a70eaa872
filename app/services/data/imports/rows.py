"""What a row of a file is, whatever its format: a comparison or a demonstration."""

from dataclasses import dataclass

Turn = tuple[str, str]  # role and text


@dataclass(frozen=True)
class ComparisonRow:
    """A conversation that ends with the user, and the two responses to it."""

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class DemonstrationRow:
    """A conversation that ends with the user, and the response to imitate."""

    prompt: tuple[Turn, ...]
    response: str
