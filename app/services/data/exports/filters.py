"""Which judgements of a dataset version an export holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetJudgement, DatasetVersion, Judgement, Prompt, Round, Task
from app.errors import Invalid
from app.services import audit, conditions
from app.services.data.exports.annotations import IMPORTED, pseudonyms

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Yes = Literal["yes", "no"]
SPLIT_THEN = func.coalesce(DatasetJudgement.split, Prompt.split)
"""Of what a version holds, the split that it had when that was cut; of one from before it was kept, that of today."""


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
    """Who is meant: people of the site by id, whoever a file names by the name that it has for them, and with
    `nameless` whom it doesn't name."""

    ids: Sequence[int]
    names: Sequence[str]
    nameless: bool

    @property
    def said(self) -> ColumnElement[bool]:
        """Of Judgement."""
        by_nobody = and_(Judgement.kind == IMPORTED, Judgement.source_annotator.is_(None))
        found = or_(Judgement.annotator_id.in_(self.ids), Judgement.source_annotator.in_(self.names))
        return or_(found, by_nobody) if self.nameless else found


async def narrowed(db: AsyncSession, version: DatasetVersion, filters: Filters) -> list[ColumnElement[bool]]:
    """Conditions on DatasetJudgement, Judgement, Task and Prompt. Raises Invalid for a name that nobody has."""
    found: list[ColumnElement[bool]] = []
    if filters.split:
        found.append(SPLIT_THEN.in_([filters.split]))
    if filters.round:
        of_number = select(Round.id).where(Round.project_id == version.project_id, Round.number == filters.round)
        found.append(Task.round_id == of_number.scalar_subquery())
    if filters.people:
        found.append((await _named(db, version.project_id, filters.people)).said)
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
    parts = {part.strip() for part in asked.split(",")}
    for called in sorted(parts - {"", IMPORTED}):
        if called.startswith(f"{IMPORTED}:"):
            names.append(called.removeprefix(f"{IMPORTED}:"))
            continue
        meant = (known[called],) if called in known else await audit.called(db, called)
        if not meant:
            raise Invalid("Nobody here is called %(name)s.", name=called)
        ids += meant
    return _People(ids, names, IMPORTED in parts)
