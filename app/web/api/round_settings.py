"""Settings of rounds, gates and stages: what holds for the next round or run, and what would by default."""

import math
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.services.loop.models import models
from app.services.loop.settings import settable
from app.services.loop.settings.settable import Choice, Group
from app.web.api.access import ManagedProject, OwnedProject
from app.web.api.edits import Edit, Read
from app.web.serving.deps import Db

router = APIRouter(tags=["round settings"])


class SettingOut(BaseModel):
    name: str
    kind: Literal["switch", "choice", "choices", "whole", "number", "text", "texts", "weights", "values"] = Field(
        description="`choices` are any of those listed, `texts` any texts, `weights` numbers by name, and `values` "
        "anything by name."
    )
    value: Any = Field(description="What holds for the next round or run.")
    default: Any = Field(description="What would hold if nobody had chosen; null where the model decides.")
    by_model: float | None = Field(description="What the policy in use decides, where that is left to it.")
    choices: list[str]
    minimum: float | None
    above: float | None
    maximum: float | None
    meaning: str


class GroupOut(BaseModel):
    name: str = Field(description="`round`, a gate, or a stage.")
    entries: list[SettingOut]


class ChangeIn(BaseModel):
    """Settings that are named in neither stay as they are."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[dict[str, Any], Field(max_length=200)] = {}
    reset: Annotated[list[str], Field(max_length=200, description="Names that go back to their defaults.")] = []


@router.get("/projects/{slug}/round-settings", summary="Read the settings of rounds")
async def read_round_settings(project: ManagedProject, db: Db) -> list[GroupOut]:
    """All settings by group, each with its default, bounds and meaning; 403 for annotators."""
    return [
        _out(group, choices)
        for group, choices in settable.every_choice(project, await models.facts_of_policy(db, project.id))
    ]


@router.get("/projects/{slug}/round-settings/{group}", summary="Read one group of settings of rounds")
async def read_round_settings_group(project: ManagedProject, group: str, db: Db, read: Read) -> GroupOut:
    """404 for a group that there isn't, 403 for annotators. The ETag is that of all of the project's settings."""
    await read.tell(db, project)
    found = settable.group_named(group)
    return _out(found, settable.choices_of(project, found, await models.facts_of_policy(db, project.id)))


@router.patch("/projects/{slug}/round-settings/{group}", summary="Change settings of rounds")
async def change_round_settings(project: OwnedProject, group: str, body: ChangeIn, db: Db, edit: Edit) -> GroupOut:
    """Holds from the next round or run on. 422 with the sentence of the stage that would refuse it, and nothing is
    changed; 404 for a group or setting that there isn't."""
    found = settable.group_named(group)
    await edit.require_current(db, project)
    for name in body.reset:
        settable.reset(project, found, name)
    settable.change(project, found, body.values)
    await edit.tell(db, project)
    return _out(found, settable.choices_of(project, found, await models.facts_of_policy(db, project.id)))


def _out(group: Group, choices: list[Choice]) -> GroupOut:
    return GroupOut(name=group.name, entries=[_setting(choice) for choice in choices])


def _setting(choice: Choice) -> SettingOut:
    setting = choice.setting
    return SettingOut(
        name=setting.name,
        kind=setting.kind,
        value=choice.value,
        default=choice.default,
        by_model=choice.by_model,
        choices=list(setting.choices),
        minimum=_finite(setting.range.minimum),
        above=_finite(setting.range.above),
        maximum=_finite(setting.range.maximum),
        meaning=setting.meaning,
    )


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
