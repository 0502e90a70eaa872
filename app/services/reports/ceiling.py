"""The most that a model could agree with people, given how far they agree with each other."""

from math import sqrt

from app.services.reports.agreement import Agreement


def said_alike(people: Agreement | None) -> float | None:
    """How often two people say the same of what both judged; None where too few tasks were judged twice to say so."""
    found = people.named("per_cent") if people is not None else None
    return found.value if found is not None and found.low is not None else None


def ceiling(agreement: float) -> float | None:
    """Accuracy of a model that always says what most people would, of people two of whom agree so often.

    If p is the chance with which people say the likelier thing of a pair, two agree with p² + (1 − p)², and
    p = (1 + √(2 a − 1)) / 2; over pairs of different p that is an upper bound, as the root is concave (Jensen). None
    where people agree no more often than by tossing a coin.
    """
    return (1 + sqrt(2 * agreement - 1)) / 2 if agreement > 0.5 else None
