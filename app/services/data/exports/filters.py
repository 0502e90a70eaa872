"""Which judgements of a dataset version an export holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Judgement, Prompt, Round, Task
from app.errors import Invalid
from app.services import audit, conditions
from app.services.data.exports.annotations import IMPORTED, pseudonyms

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Yes = Literal["yes", "no"]


class Filters(BaseModel):
    """What an export can be narrowed to. A field that is None, or an empty text, narrows nothing."""

    model_config = ConfigDict(frozen=True)

    split: Literal["train", "validation"] | None = None
    round: Number | None = Field(default=None, description="Number of the round whose tasks were judged.")
    people: Text | None = Field(
        default=None, description="Pseudonyms, names or e-mail addresses of who judged, with commas between them."
    )
    agreement: Literal["divided", "agreed"] | None = Field(
        default=None, description="Of tasks that two people judged or more: whether any two said different things."
    )
    least_agreement: Share | None = Field(
        default=None,
        description="Of tasks that two people judged or more: the share of all two people, at least, who agree.",
    )
    tag: Text | None = Field(default=None, description="Of the prompt.")
    topic: Text | None = Field(default=None, description="Of the prompt.")
    flag: Text | None = Field(default=None, description="Said of one of the responses.")
    flagged: Yes | None = Field(default=None, description="Any flag was said of a response.")
    since: date | None = Field(default=None, description="Judged from this day on, UTC.")
    until: date | None = Field(default=None, description="Judged up to and with this day, UTC.")

    @property
    def narrows(self) -> bool:
        """Whether anything but the split is asked for."""
        return any(getattr(self, name) for name in Filters.model_fields if name != "split")


@dataclass(frozen=True)
class _People:
    """Who is meant: people of the site by id, and whoever a file names by the name that it has for them."""

    ids: Sequence[int]
    names: Sequence[str]


async def narrowed(db: AsyncSession, version: DatasetVersion, filters: Filters) -> list[ColumnElement[bool]]:
    """Conditions on Judgement, its Task and Prompt. Raises Invalid for a person whom nobody is called."""
    found: list[ColumnElement[bool]] = []
    if filters.split:
        found.append(Prompt.split == filters.split)
    if filters.round:
        of_number = select(Round.id).where(Round.project_id == version.project_id, Round.number == filters.round)
        found.append(Task.round_id == of_number.scalar_subquery())
    if filters.people:
        people = await _named(db, version.project_id, filters.people)
        found.append(or_(Judgement.annotator_id.in_(people.ids), Judgement.source_annotator.in_(people.names)))
    if filters.agreement:
        found.append(Task.division > 0 if filters.agreement == "divided" else Task.division == 0)
    if filters.least_agreement:
        found.append(Task.division <= 1 - filters.least_agreement)
    if filters.tag:
        found.append(Prompt.tags.contains([filters.tag]))
    if filters.topic:
        found.append(Prompt.topic == filters.topic)
    if filters.flag:
        found.append(and_(*conditions.flagged(filters.flag)))
    if filters.flagged:
        found.append(Judgement.flags != {} if filters.flagged == "yes" else Judgement.flags == {})
    return [*found, *conditions.between(Judgement.submitted_at, filters.since, filters.until)]


async def _named(db: AsyncSession, project_id: int, asked: str) -> _People:
    known = {name: user_id for user_id, name in (await pseudonyms(db, project_id)).items()}
    ids: list[int] = []
    names: list[str] = []
    for called in filter(None, (part.strip() for part in asked.split(","))):
        if called.startswith(f"{IMPORTED}:"):
            names.append(called.removeprefix(f"{IMPORTED}:"))
            continue
        meant = (known[called],) if called in known else await audit.called(db, called)
        if not meant:
            raise Invalid("Nobody here is called %(name)s.", name=called)
        ids += meant
    return _People(ids, names)
