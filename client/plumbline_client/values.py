"""What the classes of the API's bodies and answers have in common, and a page of a list."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Answer(BaseModel):
    """What the API said. A field that a newer site adds is an attribute, too, which type checkers don't know."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Body(BaseModel):
    """What the API is given: only the fields that were set are sent, and a misspelt one is refused before that."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), populate_by_name=True)


class Page(Answer, Generic[Item]):
    """Some of a list, and where it goes on; `next_cursor` is None at its end."""

    items: list[Item]
    next_cursor: str | None
