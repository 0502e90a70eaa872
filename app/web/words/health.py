"""How the site is, in words."""

from dataclasses import dataclass

from app.phrases import phrase
from app.services.health import Finding, Name, State
from app.web.locales import gettext

TITLES: dict[Name, str] = {
    "database": phrase("Database"),
    "migrations": phrase("Tables"),
    "queue": phrase("Queue"),
    "disk": phrase("Disk"),
    "artifacts": phrase("Models in use"),
}
STATES: dict[State, str] = {"ok": phrase("well"), "failing": phrase("needs you"), "unknown": phrase("not known")}


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
    return Row(found.name, found.state, gettext(TITLES[found.name]), gettext(STATES[found.state]), sentence)
