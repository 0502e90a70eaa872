"""Webhooks, told by triggers: what a receiver hears of is written in the transaction in which it happened."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

KINDS = (
    "judgement.created", "judgements.created", "dataset_version.created", "run.ended", "round.started", "round.ended",
    "gate.decided", "model.promoted", "model.rolled_back", "alarm.raised", "webhook.test",
)  # fmt: skip

# A row that was made longer ago came with a project's file: it happened elsewhere, and is no news.
NEWS = "NEW.{made} > now() - interval '1 minute'"

TELLING = """
CREATE FUNCTION tell_hooks(of_project bigint, kind text, about jsonb, state text DEFAULT 'waiting')
RETURNS void LANGUAGE plpgsql AS $$  -- which keeps its plan, as SQL does not
BEGIN
    INSERT INTO webhook_deliveries (webhook_id, project_id, kind, about, state)
    SELECT id, $1, $2, $3, $4 FROM webhooks
    WHERE (project_id = $1 OR project_id IS NULL) AND $2 = ANY (events) AND off_at IS NULL;
END $$;

CREATE FUNCTION tell_of_judgement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_hooks(NEW.project_id, 'judgement.created', jsonb_build_object(
        'judgement_id', NEW.id, 'task_id', NEW.task_id, 'kind', NEW.kind, 'is_verdict', NEW.is_verdict));
    -- Gathered by a worker into one for many.
    PERFORM tell_hooks(NEW.project_id, 'judgements.created', jsonb_build_object('judgement_id', NEW.id), 'gathering');
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_dataset_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_hooks(NEW.project_id, 'dataset_version.created', jsonb_build_object(
        'dataset_version_id', NEW.id, 'kind', NEW.kind, 'number', NEW.number, 'rows', NEW.row_count));
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about jsonb := jsonb_build_object(
        'run_id', NEW.id, 'stage', NEW.stage, 'state', NEW.state, 'round_id', NEW.round_id);
BEGIN
    PERFORM tell_hooks(NEW.project_id, 'run.ended', about);
    IF jsonb_typeof(NEW.result -> 'alarms') = 'number' AND (NEW.result ->> 'alarms')::numeric > 0 THEN
        PERFORM tell_hooks(
            NEW.project_id, 'alarm.raised', about || jsonb_build_object('detectors', NEW.result -> 'alarms'));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_round() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about jsonb := jsonb_build_object('round_id', NEW.id, 'number', NEW.number);
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM tell_hooks(NEW.project_id, 'round.started', about || jsonb_build_object('trigger', NEW.trigger));
    ELSE
        PERFORM tell_hooks(NEW.project_id, 'round.ended', about || jsonb_build_object('status', NEW.status));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_hooks(NEW.project_id, 'gate.decided', (
        SELECT jsonb_build_object('gate_id', NEW.id, 'passed', NEW.passed, 'run_id', NEW.run_id,
                                  'model_version_id', id, 'kind', kind, 'number', number)
        FROM model_versions WHERE id = NEW.model_version_id));
    RETURN NULL;
END $$;

CREATE FUNCTION tell_of_promotion() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tell_hooks(
        NEW.project_id,
        CASE NEW.action WHEN 'promote' THEN 'model.promoted' ELSE 'model.rolled_back' END,
        (SELECT jsonb_build_object('model_version_id', id, 'kind', kind, 'number', number,
                                   'previous_model_version_id', NEW.previous_id)
         FROM model_versions WHERE id = NEW.model_version_id));
    RETURN NULL;
END $$;
"""

# Table → when, on which condition, by which function. What is said of checks is no label, and an import is told as the
# run that it is.
TRIGGERS = {
    "judgements": (
        "INSERT", f"NEW.kind <> 'imported' AND NOT NEW.is_check AND {NEWS.format(made='submitted_at')}", "judgement"
    ),
    "dataset_versions": ("INSERT", NEWS.format(made="created_at"), "dataset_version"),
    "runs": ("UPDATE OF state", "OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL", "run"),
    "rounds": ("UPDATE OF status", "OLD.status = 'active' AND NEW.status <> 'active'", "round"),
    "gates": ("INSERT", NEWS.format(made="created_at"), "gate"),
    "promotions": ("INSERT", NEWS.format(made="created_at"), "promotion"),
}  # fmt: skip


def upgrade() -> None:
    _webhooks()
    _deliveries()
    op.get_bind().connection.driver_connection.execute(TELLING)  # type: ignore[union-attr]
    for table, (when, condition, of) in TRIGGERS.items():
        _trigger("tell_hooks", table, when, condition, of)
    condition = f"NEW.status = 'active' AND {NEWS.format(made='created_at')}"
    _trigger("tell_hooks_of_start", "rounds", "INSERT", condition, "round")


def downgrade() -> None:
    """Webhooks are lost, with their secrets and the log of what they were told."""
    op.execute("DROP TRIGGER tell_hooks_of_start ON rounds")
    for table, (*_, of) in TRIGGERS.items():
        op.execute(f"DROP TRIGGER tell_hooks ON {table}")
        op.execute(f"DROP FUNCTION tell_of_{of}()")
    op.execute("DROP FUNCTION tell_hooks(bigint, text, jsonb, text)")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")


def _trigger(name: str, table: str, when: str, condition: str, of: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} AFTER {when} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION tell_of_{of}()"
    )


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("project_id", sa.BigInteger()),
        sa.Column("address", sa.String(2000), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.String(40)), nullable=False),
        sa.Column("pause_seconds", sa.BigInteger(), server_default="60", nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous_sealed", sa.LargeBinary()),
        sa.Column("previous_until", sa.DateTime(timezone=True)),
        sa.Column("created_by_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("gathered_at", sa.DateTime(timezone=True)),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("off_at", sa.DateTime(timezone=True)),
        sa.Column("off_because", sa.String(20)),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], ondelete="CASCADE", name=op.f("fk_webhooks_project_id")
        ),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_webhooks_created_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sa.CheckConstraint("cardinality(events) > 0", name=op.f("ck_webhooks_told_of_something")),
        sa.CheckConstraint("pause_seconds BETWEEN 1 AND 86400", name=op.f("ck_webhooks_pause_range")),
        sa.CheckConstraint(
            "(previous_sealed IS NULL) = (previous_until IS NULL)", name=op.f("ck_webhooks_previous_has_an_end")
        ),
        sa.CheckConstraint("(off_at IS NULL) = (off_because IS NULL)", name=op.f("ck_webhooks_off_for_a_reason")),
        sa.CheckConstraint("off_because IN ('owner', 'gone', 'failing')", name=op.f("ck_webhooks_reason_known")),
    )
    op.create_index(op.f("ix_webhooks_project_id"), "webhooks", ["project_id"])
    op.execute(
        "SELECT log_changes_of('webhooks', 'id', untold => 'address,secret_sealed,previous_sealed',"
        " changes => 'address, events, pause_seconds, secret_sealed, off_at')"
    )


def _deliveries() -> None:
    listed = ", ".join(f"'{kind}'" for kind in KINDS)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger()),
        sa.Column(
            "message_id",
            sa.String(40),
            server_default=sa.text("'msg_' || replace(gen_random_uuid()::text, '-', '')"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("about", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.String(20), server_default="waiting", nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("tries", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], ondelete="CASCADE", name=op.f("fk_webhook_deliveries_webhook_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], ondelete="CASCADE", name=op.f("fk_webhook_deliveries_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
        sa.CheckConstraint(f"kind IN ({listed})", name=op.f("ck_webhook_deliveries_kind_known")),
        sa.CheckConstraint(
            "state IN ('gathering', 'waiting', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (state IN ('delivered', 'failed'))",
            name=op.f("ck_webhook_deliveries_final_state"),
        ),
    )
    op.create_index(op.f("ix_webhook_deliveries_project_id"), "webhook_deliveries", ["project_id"])
    op.create_index("ix_webhook_deliveries_newest", "webhook_deliveries", ["webhook_id", sa.text("id DESC")])
    op.create_index(
        "ix_webhook_deliveries_due", "webhook_deliveries", ["due_at", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )  # fmt: skip
    op.create_index(
        "ix_webhook_deliveries_gathering", "webhook_deliveries", ["webhook_id"],
        postgresql_where=sa.text("state = 'gathering'"),
    )  # fmt: skip
