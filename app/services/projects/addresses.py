"""Short names of projects, made from what people call them."""

import re
import unicodedata

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.projects.projects import RESERVED

LENGTH = 60  # room for a number behind it
FALLBACK = "project"

# Latin letters that Unicode doesn't take apart into a letter and a mark.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i", "ħ": "h"}
)


def suggested(name: str) -> str:
    """The short name that a name leads to; `project` for one without a Latin letter or digit."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", ""))[:LENGTH].strip("-") or FALLBACK


async def free(db: AsyncSession, name: str) -> str:
    """A short name that no project has yet: the suggested one, or the next number behind it."""
    wanted = suggested(name)
    like_it = await db.scalars(select(Project.slug).where(Project.slug.startswith(wanted, autoescape=True)))
    taken = {*like_it, *RESERVED}
    number = 2
    found = wanted
    while found in taken:
        found = f"{wanted}-{number}"
        number += 1
    return found
