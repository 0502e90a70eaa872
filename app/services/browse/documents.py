"""What full-text search reads: the expressions of the indexes, word for word, and which rows are in them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, literal_column, not_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Demonstration, Prompt

READ_AT_ONCE = 500


@dataclass(frozen=True)
class Document:
    """A kind of text; what isn't in its index is none that search finds."""

    holder: type[Prompt] | type[Completion] | type[Demonstration]
    words: ColumnElement[Any]


PROMPT = Document(Prompt, literal_column("""jsonb_to_tsvector('simple', prompts.messages, '["string"]')"""))
RESPONSE = Document(Completion, literal_column("to_tsvector('simple', completions.text)"))
DEMONSTRATION = Document(Demonstration, literal_column("to_tsvector('simple', demonstrations.text)"))
ALL = (PROMPT, RESPONSE, DEMONSTRATION)


async def is_behind(db: AsyncSession, document: Document) -> bool:
    """Whether texts of this kind wait to be read, of whichever project."""
    return bool(await db.scalar(select(exists().where(not_(document.holder.is_searchable)))))


async def read_some(db: AsyncSession) -> int:
    """Put some texts that wait into their index; how many. One that somebody holds waits longer."""
    read = 0
    for document in ALL:
        holder = document.holder
        waiting = select(holder.id).where(not_(holder.is_searchable)).order_by(holder.id).limit(READ_AT_ONCE)
        ids = list(await db.scalars(waiting.with_for_update(skip_locked=True, key_share=True)))
        if ids:
            await db.execute(update(holder).where(holder.id.in_(ids)).values(is_searchable=True))
        read += len(ids)
    return read
