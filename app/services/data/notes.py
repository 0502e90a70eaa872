"""What people note about dataset versions: a text and tags, which change nothing of what a version holds."""

from collections.abc import Iterable

from app.db.tables import DatasetVersion
from app.errors import Invalid

LONGEST_NOTE = 4_000
LONGEST_TAG = 80
MOST_TAGS = 20


def note(version: DatasetVersion, *, text: str | None = None, tags: Iterable[str] | None = None) -> None:
    """Change the text, the tags or both; None leaves them. Raises Invalid."""
    if text is not None:
        version.note = _text(text)
    if tags is not None:
        version.tags = _tags(tags)


def split_tags(said: str) -> list[str]:
    """The tags of a line with commas between them."""
    return said.split(",")


def _text(said: str) -> str:
    said = said.replace("\0", "").replace("\r\n", "\n").strip()
    if len(said) > LONGEST_NOTE:
        raise Invalid("A note has at most %(longest)s characters.", longest=f"{LONGEST_NOTE:,}")
    return said


def _tags(said: Iterable[str]) -> list[str]:
    tags = list(dict.fromkeys(tag for one in said if (tag := one.strip())))
    if len(tags) > MOST_TAGS:
        raise Invalid("A version has at most %(most)s tags.", most=MOST_TAGS)
    for tag in tags:
        if len(tag) > LONGEST_TAG or not tag.isprintable() or "," in tag:
            raise Invalid("A tag has 1 to %(longest)s printable characters and no comma.", longest=LONGEST_TAG)
    return sorted(tags)
