"""Who writes the responses that people compare: policies of the project, and served models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Project, ServedModel
from app.errors import Invalid
from app.services.loop.models import models

WriterKind = Literal["policy", "served"]


@dataclass(frozen=True, order=True)
class Writer:
    """A policy by the id of its version, or a served model by its own; written `policy:3` and `served:2`."""

    kind: WriterKind
    id: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Writer":
        """Raises Invalid."""
        kind, _, number = text.partition(":")
        if kind not in ("policy", "served") or not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Invalid("A writer is a policy or a served model of this project.")
        return cls(cast(WriterKind, kind), int(number))


@dataclass(frozen=True)
class NamedWriter:
    """A writer as people choose one. A policy has its number for a name."""

    writer: Writer
    name: str


async def writers_of(db: AsyncSession, project: Project) -> list[NamedWriter]:
    """Whose responses can be compared: the policy in use, the served models, and removed ones that have written."""
    has_written = exists().where(Completion.served_model_id == ServedModel.id)
    served = await db.scalars(
        select(ServedModel)
        .where(ServedModel.project_id == project.id, or_(ServedModel.removed_at.is_(None), has_written))
        .order_by(ServedModel.name, ServedModel.id)
    )
    named = [NamedWriter(Writer("served", found.id), found.name) for found in served]
    policy = await models.promoted(db, project.id)
    return [*named, NamedWriter(Writer("policy", policy.id), str(policy.number))] if policy else named


async def require(db: AsyncSession, project: Project, writers: Sequence[Writer]) -> None:
    """Raises Invalid unless each is of the project."""
    for writer in writers:
        table = ModelVersion if writer.kind == "policy" else ServedModel
        if not await db.scalar(select(exists().where(table.id == writer.id, table.project_id == project.id))):
            raise Invalid("A writer is a policy or a served model of this project.")


def of_completion(model_version_id: int | None, served_model_id: int | None) -> Writer:
    """Who wrote a response of the pool."""
    if served_model_id is not None:
        return Writer("served", served_model_id)
    assert model_version_id is not None
    return Writer("policy", model_version_id)


def written_by(writers: Sequence[Writer]) -> ColumnElement[bool]:
    """Condition on Completion: one of these wrote it."""
    policies = [writer.id for writer in writers if writer.kind == "policy"]
    served = [writer.id for writer in writers if writer.kind == "served"]
    return or_(
        and_(Completion.source == "policy", Completion.model_version_id.in_(policies)),
        and_(Completion.source == "served", Completion.served_model_id.in_(served)),
    )
