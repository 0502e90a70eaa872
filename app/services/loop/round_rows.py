"""Rounds as they stand, to be read."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Round, Run
from app.errors import NotFound
from app.security import Principal
from app.services.projects import projects


async def get(db: AsyncSession, actor: Principal, round_id: int) -> Round:
    """Raises NotFound for an unknown round and for one of a project that `actor` may not see alike."""
    visible = projects.visible_to(actor).with_only_columns(Project.id)
    round_ = await db.scalar(select(Round).where(Round.id == round_id, Round.project_id.in_(visible)))
    if round_ is None:
        raise NotFound
    return round_


async def active(db: AsyncSession, project_id: int) -> Round | None:
    return await db.scalar(select(Round).where(Round.project_id == project_id, Round.status == "active"))


async def latest(db: AsyncSession, project_id: int) -> Round | None:
    return await db.scalar(select(Round).where(Round.project_id == project_id).order_by(Round.number.desc()).limit(1))


async def list_rounds(db: AsyncSession, project_id: int) -> list[Round]:
    """Newest first."""
    return list(await db.scalars(select(Round).where(Round.project_id == project_id).order_by(Round.number.desc())))


async def all_active(db: AsyncSession) -> list[int]:
    """Ids of every active round, for the one who looks after those that stand still."""
    return list(await db.scalars(select(Round.id).where(Round.status == "active").order_by(Round.id)))


async def step_runs(db: AsyncSession, round_id: int) -> dict[str, Run]:
    """The latest run of each step that has one, in the order they were queued."""
    found = await db.scalars(select(Run).where(Run.round_id == round_id).order_by(Run.id))
    return {run.round_step: run for run in found if run.round_step is not None}
