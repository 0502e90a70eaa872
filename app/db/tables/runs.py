"""Runs, their metrics, rounds and gates: the machinery of the loop and its state, which survives any process."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Key, one_of

# Those of `app.services.loop.stages.registry`, which a test holds against these.
StageName = Literal[
    "sft", "reward", "cost", "ppo", "dpo", "kto", "generate", "evaluate", "select", "snapshot", "gate", "promote",
    "import",
    "ask",
    "adopt", "copy", "pack", "unpack", "remove", "erase", "change",
    "folder",
    "embed",
    "judge",
    "export",
    "push",
]  # fmt: skip
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
RoundStep = Literal[
    "select",
    "label",
    "snapshot",
    "reward",
    "reward_gate",
    "cost",
    "ppo",
    "evaluate",
    "policy_gate",
    "duel",
    "vote",
    "vote_gate",
    "promote",
    "generate",
    "done",
]
RoundTrigger = Literal["click", "at_once", "labels", "drift", "outlying", "schedule"]
RoundStatus = Literal["active", "finished", "stopped", "cancelled", "failed"]

TERMINAL_RUN_STATES: tuple[RunState, ...] = ("succeeded", "failed", "cancelled")


class Run(Base):
    """One execution of a stage. The row is the truth about it; the queue only says that somebody should look.

    A worker holds a run by its lease: `lease_token` grows with every claim, and every write of a worker carries the
    token it was given, so that a worker that lost its lease changes nothing. `folder` is relative to the home folder.
    `launch` counts its processes whose end was taken note of: the number of the one that is at work or comes next.
    """

    __tablename__ = "runs"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"))
    round_step: Mapped[str | None] = mapped_column(String(20))
    stage: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), server_default="queued")
    settings: Mapped[Json] = mapped_column(server_default="{}")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    max_attempts: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    lease_token: Mapped[int] = mapped_column(server_default="0")
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[datetime | None]
    launch: Mapped[int] = mapped_column(server_default="0")
    cancel_requested_at: Mapped[datetime | None]
    phase: Mapped[str | None] = mapped_column(String(200))
    step: Mapped[int] = mapped_column(server_default="0")
    total_steps: Mapped[int] = mapped_column(server_default="0")
    result: Mapped[Json | None]
    error: Mapped[str | None]
    folder: Mapped[str | None]
    started_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Until then a run that waits is left alone: it broke a moment ago, or the disk had no room for it.
    retry_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("stage", get_args(StageName)), name="stage_known"),
        CheckConstraint(one_of("state", get_args(RunState)), name="state_known"),
        CheckConstraint("(state = 'running') = (lease_expires_at IS NOT NULL)", name="running_has_a_lease"),
        CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))", name="final_state"
        ),
        CheckConstraint("(round_id IS NULL) = (round_step IS NULL)", name="round_step_in_a_round"),
        Index("ix_runs_project", "project_id", text("id DESC")),
        Index("ix_runs_lease_expiry", "lease_expires_at", postgresql_where=text("state = 'running'")),
        Index(
            "uq_runs_one_per_round_step",
            "round_id",
            "round_step",
            unique=True,
            postgresql_where=text("state IN ('queued', 'running', 'succeeded')"),
        ),
    )


class Metric(Base):
    """What a run measured at one step. `figures` maps a name to its mean over the step."""

    __tablename__ = "metrics"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    phase: Mapped[str] = mapped_column(String(200), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    figures: Mapped[Json]
    samples: Mapped[list[Json] | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Round(Base):
    """One turn of the loop: `step` is where it stands, `label_target` how many new judgements its label step awaits.

    `slots` is how many pairs it asks for where they are made batch by batch; null where all are made at once.
    `trigger` is what started it, where known: `trigger_figure` was seen where `trigger_bound` was asked for.
    `overridden_step` is the gate from whose refusal an owner went on, `overridden_because` in their words; of several
    the last.
    """

    __tablename__ = "rounds"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    number: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), server_default="active")
    step: Mapped[str] = mapped_column(String(20), server_default="select")
    label_target: Mapped[int]
    slots: Mapped[int | None]
    settings: Mapped[Json] = mapped_column(server_default="{}")
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_versions.id"))
    reward_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    cost_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    policy_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reason: Mapped[str | None]
    overridden_step: Mapped[str | None] = mapped_column(String(20))
    overridden_because: Mapped[str | None]
    overridden_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    started_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    trigger: Mapped[str | None] = mapped_column(String(20))
    trigger_figure: Mapped[float | None]
    trigger_bound: Mapped[float | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("project_id", "number"),
        CheckConstraint(one_of("status", get_args(RoundStatus)), name="status_known"),
        CheckConstraint(one_of("step", get_args(RoundStep)), name="step_known"),
        CheckConstraint(one_of("trigger", get_args(RoundTrigger)), name="trigger_known"),
        CheckConstraint("label_target >= 0", name="label_target_range"),
        CheckConstraint("slots >= 0", name="slots_range"),
        CheckConstraint("overridden_step IS NULL OR btrim(overridden_because) <> ''", name="override_has_a_reason"),
        CheckConstraint("(status = 'active') = (finished_at IS NULL)", name="final_status"),
        Index("uq_rounds_one_active", "project_id", unique=True, postgresql_where=text("status = 'active'")),
    )


class Gate(Base):
    """A decision about a model version: each rule with the figure it saw and the bound it asked for."""

    __tablename__ = "gates"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"), unique=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    passed: Mapped[bool]
    rules: Mapped[list[Json]]
    created_at: Mapped[CreatedAt]
