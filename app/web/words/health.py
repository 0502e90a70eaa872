"""How the site is, in words."""

from dataclasses import dataclass

from app.services.health import Finding, Name, State
from app.web.locales import gettext, lazy

TITLES: dict[Name, str] = {
    "database": lazy("Database"),
    "migrations": lazy("Tables"),
    "queue": lazy("Queue"),
    "disk": lazy("Disk"),
    "artifacts": lazy("Models in use"),
    "storage": lazy("Storage"),
    "cluster": lazy("Cluster"),
}
STATES: dict[State, str] = {"ok": lazy("well"), "failing": lazy("needs you"), "unknown": lazy("not known")}


@dataclass(frozen=True)
class Row:
    """A check as a page shows it."""

    name: Name
    state: State
    title: str
    badge: str
    sentence: str


def row_of(found: Finding) -> Row:
    """In the reader's language."""
    sentence = gettext(found.sentence) % found.named if found.named else gettext(found.sentence)
    return Row(found.name, found.state, str(TITLES[found.name]), str(STATES[found.state]), sentence)
