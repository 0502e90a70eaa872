"""The served models of a project: added, changed, removed, and opened to be asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

from sqlalchemy import exists, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Project, ServedModel
from app.db.tables.served import Protocol
from app.errors import Conflict, Invalid, NotFound
from app.services.judging.machines import judges
from app.services.served import addresses, keys
from app.services.served.client import Client, Endpoint
from app.services.served.protocol import Answer
from app.services.served.settings import Limits, Sampling, changes, limits_of, sampling_of
from app.settings import settings
from training.records import Message

LONGEST_NAME = 200
LONGEST_MODEL = 300
LONGEST_KEY = 10_000
# A person waits for a test at their screen.
TEST_SECONDS = 20.0


@dataclass(frozen=True)
class Description:
    """A served model as somebody describes it. Raises Invalid, when it is made, for what no endpoint can be."""

    name: str
    address: str
    model: str
    protocol: Protocol = "chat"
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.strip())
        object.__setattr__(self, "model", self.model.strip())
        object.__setattr__(self, "address", addresses.tidy(self.address))
        if not _is_name(self.name, LONGEST_NAME):
            raise Invalid("A served model needs a name of at most %(longest)s characters.", longest=LONGEST_NAME)
        if not _is_name(self.model, LONGEST_MODEL):
            raise Invalid("The model's name at the endpoint has 1 to %(longest)s characters.", longest=LONGEST_MODEL)
        if self.protocol not in get_args(Protocol):
            raise Invalid("An endpoint is asked by chat or by completions.")

    def columns(self) -> Json:
        return {
            "name": self.name,
            "address": self.address,
            "model": self.model,
            "protocol": self.protocol,
            "sampling": changes(self.sampling),
            "limits": changes(self.limits),
        }


@dataclass(frozen=True)
class Key:
    """What is to become of a served model's key: kept as it is, replaced by `new`, or forgotten."""

    new: str | None = field(default=None, repr=False)
    forget: bool = False


def described(served: ServedModel) -> Description:
    """A served model as it is now."""
    return Description(
        name=served.name,
        address=served.address,
        model=served.model,
        protocol=cast(Protocol, served.protocol),
        sampling=sampling_of(served.sampling),
        limits=limits_of(served.limits),
    )


def changed(base: Description, values: Mapping[str, Any]) -> Description:
    """The description with `values` on top, of sampling and limits key by key. Raises Invalid."""
    given = dict(values)
    return Description(
        name=given.get("name", base.name),
        address=given.get("address", base.address),
        model=given.get("model", base.model),
        protocol=given.get("protocol", base.protocol),
        sampling=sampling_of({**base.sampling.model_dump(), **(given.get("sampling") or {})}),
        limits=limits_of({**base.limits.model_dump(), **(given.get("limits") or {})}),
    )


async def list_served(db: AsyncSession, project_id: int) -> list[ServedModel]:
    """Served models that can be asked, by name."""
    return list(
        await db.scalars(
            select(ServedModel)
            .where(ServedModel.project_id == project_id, ServedModel.removed_at.is_(None))
            .order_by(ServedModel.name, ServedModel.id)
        )
    )


async def get(db: AsyncSession, project: Project, served_model_id: int) -> ServedModel:
    """Raises NotFound for one that is unknown, removed or another project's."""
    return _found(
        await db.scalar(
            select(ServedModel).where(
                ServedModel.project_id == project.id,
                ServedModel.id == served_model_id,
                ServedModel.removed_at.is_(None),
            )
        )
    )


async def named(db: AsyncSession, project: Project, name: str) -> ServedModel:
    """Raises NotFound."""
    served = await db.scalar(
        select(ServedModel).where(
            ServedModel.project_id == project.id, ServedModel.name == name, ServedModel.removed_at.is_(None)
        )
    )
    if served is None:
        raise NotFound("This project has no served model %(name)s.", name=name)
    return served


async def create(
    db: AsyncSession, project: Project, description: Description, *, key: str | None, home: Path
) -> ServedModel:
    """Raises Conflict for a name that is taken, Invalid for a key that can't be one."""
    served = ServedModel(project_id=project.id, key_sealed=_sealed(project, key, home), **description.columns())
    await _put(db, served)
    return served


async def change(
    db: AsyncSession, project: Project, served: ServedModel, description: Description, key: Key, *, home: Path
) -> None:
    """Raises Conflict for a name that is taken and for another model in the place of a judge, and Invalid for a new
    host without its key: whoever may change the address could have the old key sent to themselves.
    """
    moved = addresses.origin(description.address) != addresses.origin(served.address)
    if moved and served.key_sealed is not None and not key.new and not key.forget:
        raise Invalid("The key was given for another address: give it again, or have it forgotten.")
    await _require_same_judge(db, served, description)
    for column, value in description.columns().items():
        setattr(served, column, value)
    if key.new:
        served.key_sealed = _sealed(project, key.new, home)
    elif key.forget:
        served.key_sealed = None
    await _put(db, served)


async def remove(db: AsyncSession, served: ServedModel) -> None:
    """Have it asked no more, as a judge, too. Where responses or judgements name it, it stays for them, without its
    key.
    """
    judge = await judges.of(db, served)
    if judge is not None:
        await judges.stop(db, judge)
    has_written = await db.scalar(select(exists().where(Completion.served_model_id == served.id)))
    if has_written or await judges.has_judged(db, served):
        served.removed_at = func.now()
        served.key_sealed = None
    else:
        await db.delete(served)
    await db.flush()


def endpoint_of(served: ServedModel, description: Description, home: Path) -> Endpoint:
    """All that is needed to ask, with the settings of `description`. Raises Conflict where its key can't be opened
    here.
    """
    sealed = served.key_sealed
    return Endpoint(
        address=description.address,
        model=description.model,
        protocol=description.protocol,
        key=keys.unseal(sealed, project_id=served.project_id, home=home) if sealed is not None else None,
        sampling=description.sampling,
        limits=description.limits,
        allowed=settings().private_networks,
    )


async def try_out(endpoint: Endpoint, prompt: str) -> Answer:
    """Ask for one response, once and not for long. Raises NoAnswer, and Invalid for an address that mustn't be asked.

    Not within a transaction: it waits for somebody else's machine.
    """
    if not prompt.strip():
        raise Invalid("Write a prompt to try it with.")
    waits = min(TEST_SECONDS, endpoint.limits.timeout_seconds)
    once = {"retries": 0, "timeout_seconds": waits, "parallel": 1, "most_requests": 2}
    impatient = endpoint.limits.model_copy(update=once)
    async with Client(replace(endpoint, limits=impatient)) as client:
        return await client.ask([Message("user", prompt)])


async def _require_same_judge(db: AsyncSession, served: ServedModel, description: Description) -> None:
    """What was measured of a judge is true of one model. Raises Conflict."""
    is_same = (description.address, description.model) == (served.address, served.model)
    if not is_same and await judges.of(db, served) is not None:
        raise Conflict("It judges here, and was measured as it is: stop that before another model takes its place.")


def _is_name(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable()


def _sealed(project: Project, key: str | None, home: Path) -> bytes | None:
    if key is None or not key.strip():
        return None
    tidy = key.strip()
    if len(tidy) > LONGEST_KEY or not tidy.isascii() or not tidy.isprintable() or " " in tidy:
        raise Invalid("A key has letters, digits and signs, and no spaces.")
    return keys.seal(tidy, project_id=project.id, home=home)


async def _put(db: AsyncSession, served: ServedModel) -> None:
    try:
        async with db.begin_nested():
            db.add(served)
            await db.flush()
    except IntegrityError:
        raise Conflict("This project has a served model of that name already.") from None
    await db.refresh(served)


def _found(served: ServedModel | None) -> ServedModel:
    if served is None:
        raise NotFound
    return served
