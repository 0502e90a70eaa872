"""What the classes of the API's bodies and answers have in common, and a page of a list."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

Item = TypeVar("Item")


class Answer(BaseModel):
    """What the API said. A field that a newer site adds is an attribute, too, which type checkers don't know."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    _etag: str | None = PrivateAttr(None)

    @property
    def etag(self) -> str | None:
        """The state that this is of, by which an edit knows it: what was read or changed by itself has one."""
        return self._etag


class Body(BaseModel):
    """What the API is given: only the fields that were set are sent, and a misspelt one is refused before that."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), populate_by_name=True)


Known = Answer | str
"""What an edit is made of: the answer that was read, or its tag; `*` stands for whatever there is by now."""


def tag_of(known: Known) -> str:
    """Raises ValueError for an answer that tells no state, as those of lists."""
    tag = known if isinstance(known, str) else known.etag
    if tag is None:
        raise ValueError("This answer has no tag: read what is to be changed by itself, or say if_match='*'.")
    return tag


class Page(Answer, Generic[Item]):
    """Some of a list, and where it goes on; `next_cursor` is None at its end."""

    items: list[Item]
    next_cursor: str | None
