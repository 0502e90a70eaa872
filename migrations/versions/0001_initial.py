"""Every table of the vocabulary, the rules that only triggers can keep, and the queue's own schema."""

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A judgement is never changed or removed; the one thing that may happen to it, once, is that a newer one takes its
# place, and only while no dataset version holds it.
RULES = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are immutable', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION judgement_may_only_be_superseded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.superseded_by IS NOT NULL OR NEW.superseded_by IS NULL
       OR (to_jsonb(NEW) - 'superseded_by') <> (to_jsonb(OLD) - 'superseded_by') THEN
        RAISE EXCEPTION 'judgements are append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    IF EXISTS (SELECT FROM dataset_judgements WHERE judgement_id = OLD.id) THEN
        RAISE EXCEPTION 'a dataset version holds this judgement' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER judgements_append_only BEFORE UPDATE ON judgements
    FOR EACH ROW EXECUTE FUNCTION judgement_may_only_be_superseded();
CREATE TRIGGER judgements_stay BEFORE DELETE ON judgements FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dataset_versions_immutable BEFORE UPDATE OR DELETE ON dataset_versions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER dataset_judgements_immutable BEFORE UPDATE OR DELETE ON dataset_judgements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""

# These pairs of tables point at each other, so the second direction comes once both exist.
LATE_FOREIGN_KEYS = (
    ("fk_completions_run_id", "completions", "run_id", "runs"),
    ("fk_completions_model_version_id", "completions", "model_version_id", "model_versions"),
    ("fk_dataset_versions_run_id", "dataset_versions", "run_id", "runs"),
    ("fk_model_versions_run_id", "model_versions", "run_id", "runs"),
)


def run_script(sql: str) -> None:
    """Many statements at once, percent signs and all: straight to the driver."""
    op.get_bind().connection.driver_connection.execute(sql)  # type: ignore[union-attr]


def create_queue() -> None:
    run_script("CREATE SCHEMA procrastinate; SET LOCAL search_path TO procrastinate, public;")
    run_script(SchemaManager.get_schema())
    run_script("SET LOCAL search_path TO public;")


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("subject", "window_start", name=op.f("pk_attempts")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.String(), server_default="", nullable=False),
        sa.Column("guidelines", sa.String(), server_default="", nullable=False),
        sa.Column("guidelines_version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("overlap", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("lease_seconds", sa.BigInteger(), server_default="1800", nullable=False),
        sa.Column("policy_source", sa.String(), nullable=True),
        sa.Column("round_settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("opens_next_round", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name=op.f("ck_projects_slug_form")),
        sa.CheckConstraint("lease_seconds BETWEEN 1 AND 604800", name=op.f("ck_projects_lease_range")),
        sa.CheckConstraint("overlap BETWEEN 1 AND 100", name=op.f("ck_projects_overlap_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("slug", name=op.f("uq_projects_slug")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("is_simulated", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("length(btrim(name)) > 0", name=op.f("ck_users_name_not_blank")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("hint", sa.String(length=16), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_api_tokens_token_digest")),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('preferences', 'demonstrations')", name=op.f("ck_dataset_versions_kind_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_dataset_versions_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_dataset_versions_run_id", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_versions")),
        sa.UniqueConstraint("project_id", "kind", "number", name=op.f("uq_dataset_versions_project_id_kind_number")),
    )
    op.create_table(
        "members",
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("side_balance", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'reviewer', 'annotator')", name=op.f("ck_members_role_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_members_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_user_id"), "members", ["user_id"], unique=False)
    op.create_table(
        "prompts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("messages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("split", sa.String(length=20), nullable=False),
        sa.Column("topic", sa.String(length=200), nullable=True),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("split IN ('train', 'validation', 'held_out')", name=op.f("ck_prompts_split_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_prompts_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_prompts_project_id_digest")),
    )
    op.create_index("ix_prompts_project_split", "prompts", ["project_id", "split", "id"], unique=False)
    op.create_table(
        "sign_in_links",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_in_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_links")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_sign_in_links_token_digest")),
    )
    op.create_table(
        "sign_in_sessions",
        sa.Column("token_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sign_in_sessions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_sign_in_sessions")),
    )
    op.create_index(op.f("ix_sign_in_sessions_user_id"), "sign_in_sessions", ["user_id"], unique=False)
    op.create_table(
        "completions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("sample", sa.BigInteger(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=True),
        sa.Column("token_count", sa.BigInteger(), nullable=True),
        sa.Column("ended_with_eos", sa.Boolean(), nullable=True),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(source = 'policy') = (model_version_id IS NOT NULL)", name=op.f("ck_completions_policy_has_a_version")
        ),
        sa.CheckConstraint(
            "source IN ('starter', 'policy', 'imported', 'person')", name=op.f("ck_completions_source_known")
        ),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_completions_author_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name="fk_completions_model_version_id", use_alter=True
        ),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_completions_prompt_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_completions_run_id", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completions")),
        sa.UniqueConstraint("run_id", "prompt_id", "sample", name=op.f("uq_completions_run_id_prompt_id_sample")),
    )
    op.create_index(op.f("ix_completions_model_version_id"), "completions", ["model_version_id"], unique=False)
    op.create_index(op.f("ix_completions_prompt_id"), "completions", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_completions_run_id"), "completions", ["run_id"], unique=False)
    op.create_table(
        "demonstrations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "source IN ('starter', 'imported', 'written', 'edited')", name=op.f("ck_demonstrations_source_known")
        ),
        sa.CheckConstraint("length(btrim(text)) > 0", name=op.f("ck_demonstrations_text_not_blank")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_demonstrations_author_id")),
        sa.ForeignKeyConstraint(
            ["prompt_id"], ["prompts.id"], name=op.f("fk_demonstrations_prompt_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demonstrations")),
    )
    op.create_index(op.f("ix_demonstrations_prompt_id"), "demonstrations", ["prompt_id"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="candidate", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("reference_id", sa.BigInteger(), nullable=True),
        sa.Column("reward_id", sa.BigInteger(), nullable=True),
        sa.Column("dataset_version_id", sa.BigInteger(), nullable=True),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('policy', 'reward', 'cost')", name=op.f("ck_model_versions_kind_known")),
        sa.CheckConstraint(
            "state IN ('candidate', 'promoted', 'archived')", name=op.f("ck_model_versions_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"], ["dataset_versions.id"], name=op.f("fk_model_versions_dataset_version_id")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["model_versions.id"], name=op.f("fk_model_versions_parent_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_model_versions_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["reference_id"], ["model_versions.id"], name=op.f("fk_model_versions_reference_id")),
        sa.ForeignKeyConstraint(["reward_id"], ["model_versions.id"], name=op.f("fk_model_versions_reward_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_model_versions_run_id", use_alter=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("project_id", "kind", "number", name=op.f("uq_model_versions_project_id_kind_number")),
        sa.UniqueConstraint("run_id", name=op.f("uq_model_versions_run_id")),
    )
    op.create_index(
        "uq_model_versions_promoted",
        "model_versions",
        ["project_id", "kind"],
        unique=True,
        postgresql_where=sa.text("state = 'promoted'"),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action IN ('promote', 'roll_back')", name=op.f("ck_promotions_action_known")),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_promotions_actor_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_promotions_model_version_id")
        ),
        sa.ForeignKeyConstraint(["previous_id"], ["model_versions.id"], name=op.f("fk_promotions_previous_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_promotions_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_index(op.f("ix_promotions_project_id"), "promotions", ["project_id"], unique=False)
    op.create_table(
        "rounds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="active", nullable=False),
        sa.Column("step", sa.String(length=20), server_default="select", nullable=False),
        sa.Column("label_target", sa.BigInteger(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("dataset_version_id", sa.BigInteger(), nullable=True),
        sa.Column("reward_id", sa.BigInteger(), nullable=True),
        sa.Column("policy_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("started_by_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'active') = (finished_at IS NULL)", name=op.f("ck_rounds_final_status")),
        sa.CheckConstraint(
            "status IN ('active', 'finished', 'stopped', 'cancelled', 'failed')", name=op.f("ck_rounds_status_known")
        ),
        sa.CheckConstraint(
            "step IN ('select', 'label', 'snapshot', 'reward', 'reward_gate', 'ppo', 'evaluate', 'policy_gate', "
            "'promote', 'generate', 'done')",
            name=op.f("ck_rounds_step_known"),
        ),
        sa.CheckConstraint("label_target >= 0", name=op.f("ck_rounds_label_target_range")),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"], ["dataset_versions.id"], name=op.f("fk_rounds_dataset_version_id")
        ),
        sa.ForeignKeyConstraint(["policy_id"], ["model_versions.id"], name=op.f("fk_rounds_policy_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_rounds_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reward_id"], ["model_versions.id"], name=op.f("fk_rounds_reward_id")),
        sa.ForeignKeyConstraint(["started_by_id"], ["users.id"], name=op.f("fk_rounds_started_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_rounds_project_id_number")),
    )
    op.create_index(
        "uq_rounds_one_active", "rounds", ["project_id"], unique=True, postgresql_where=sa.text("status = 'active'")
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("round_step", sa.String(length=20), nullable=True),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="queued", nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), server_default="3", nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("phase", sa.String(length=200), nullable=True),
        sa.Column("step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_steps", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("folder", sa.String(), nullable=True),
        sa.Column("started_by_id", sa.BigInteger(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            name=op.f("ck_runs_final_state"),
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL)", name=op.f("ck_runs_running_has_a_lease")
        ),
        sa.CheckConstraint(
            "stage IN ('sft', 'reward', 'ppo', 'generate', 'evaluate', 'select', 'snapshot', 'gate', 'promote', "
            "'import', 'export')",
            name=op.f("ck_runs_stage_known"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_runs_state_known")
        ),
        sa.CheckConstraint("(round_id IS NULL) = (round_step IS NULL)", name=op.f("ck_runs_round_step_in_a_round")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_runs_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_runs_round_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["started_by_id"], ["users.id"], name=op.f("fk_runs_started_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_lease_expiry",
        "runs",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_runs_project", "runs", ["project_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "uq_runs_one_per_round_step",
        "runs",
        ["round_id", "round_step"],
        unique=True,
        postgresql_where=sa.text("state IN ('queued', 'running', 'succeeded')"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("prompt_id", sa.BigInteger(), nullable=False),
        sa.Column("round_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=20), server_default="open", nullable=False),
        sa.Column("quota", sa.SmallInteger(), nullable=False),
        sa.Column("taken", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("judged", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("priority", sa.Double(), server_default="0", nullable=False),
        sa.Column("selection", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('open', 'closed', 'retired')", name=op.f("ck_tasks_state_known")),
        sa.CheckConstraint("judged BETWEEN 0 AND taken", name=op.f("ck_tasks_judged_within_taken")),
        sa.CheckConstraint("taken BETWEEN 0 AND quota", name=op.f("ck_tasks_overlap_is_exact")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tasks_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_tasks_prompt_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_tasks_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["project_id", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND taken < quota"),
    )
    op.create_index(op.f("ix_tasks_prompt_id"), "tasks", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_tasks_round_id"), "tasks", ["round_id"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("annotator_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="leased", nullable=False),
        sa.Column("shown_order", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("guidelines_version", sa.BigInteger(), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("skip_reason", sa.String(length=2000), nullable=True),
        sa.CheckConstraint(
            "state IN ('leased', 'submitted', 'skipped', 'expired')", name=op.f("ck_assignments_state_known")
        ),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.id"], name=op.f("fk_assignments_annotator_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_assignments_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_assignments_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("task_id", "annotator_id", name=op.f("uq_assignments_task_id_annotator_id")),
    )
    op.create_index(
        "ix_assignments_lease_expiry",
        "assignments",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_index(
        "ix_assignments_recent",
        "assignments",
        ["project_id", "annotator_id", sa.literal_column("closed_at DESC")],
        unique=False,
    )
    op.create_index(
        "uq_assignments_one_lease",
        "assignments",
        ["project_id", "annotator_id"],
        unique=True,
        postgresql_where=sa.text("state = 'leased'"),
    )
    op.create_table(
        "gates",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["model_version_id"], ["model_versions.id"], name=op.f("fk_gates_model_version_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_gates_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_gates_run_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gates")),
        sa.UniqueConstraint("run_id", name=op.f("uq_gates_run_id")),
    )
    op.create_index(op.f("ix_gates_model_version_id"), "gates", ["model_version_id"], unique=False)
    op.create_table(
        "metrics",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(length=200), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("samples", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_metrics_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "phase", "step", name=op.f("pk_metrics")),
    )
    op.create_table(
        "task_completions",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("completion_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("position BETWEEN 0 AND 8", name=op.f("ck_task_completions_two_to_nine")),
        sa.ForeignKeyConstraint(["completion_id"], ["completions.id"], name=op.f("fk_task_completions_completion_id")),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_task_completions_task_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", "position", name=op.f("pk_task_completions")),
        sa.UniqueConstraint("task_id", "completion_id", name=op.f("uq_task_completions_task_id_completion_id")),
    )
    op.create_index(op.f("ix_task_completions_completion_id"), "task_completions", ["completion_id"], unique=False)
    op.create_table(
        "judgements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("assignment_id", sa.BigInteger(), nullable=True),
        sa.Column("annotator_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("choice", sa.SmallInteger(), nullable=False),
        sa.Column("shown_order", sa.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("preference", sa.SmallInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("body_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("guidelines_version", sa.BigInteger(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_action_ms", sa.BigInteger(), nullable=True),
        sa.Column("active_ms", sa.BigInteger(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("superseded_by", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(kind = 'imported') = (assignment_id IS NULL) AND (kind = 'imported') = (annotator_id IS NULL)",
            name=op.f("ck_judgements_imported_has_nobody"),
        ),
        sa.CheckConstraint("kind IN ('human', 'simulated', 'imported')", name=op.f("ck_judgements_kind_known")),
        sa.CheckConstraint(
            "(assignment_id IS NULL) = (idempotency_key IS NULL)", name=op.f("ck_judgements_submission_has_a_key")
        ),
        sa.CheckConstraint("choice BETWEEN 1 AND 7", name=op.f("ck_judgements_choice_range")),
        sa.CheckConstraint(
            "preference = (4 - choice) * CASE WHEN shown_order[1] = 0 THEN 1 ELSE -1 END",
            name=op.f("ck_judgements_preference_follows"),
        ),
        sa.ForeignKeyConstraint(["annotator_id"], ["users.id"], name=op.f("fk_judgements_annotator_id")),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignments.id"], name=op.f("fk_judgements_assignment_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_judgements_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["superseded_by"],
            ["judgements.id"],
            name=op.f("fk_judgements_superseded_by"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_judgements_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgements")),
        sa.UniqueConstraint("annotator_id", "idempotency_key", name=op.f("uq_judgements_annotator_id_idempotency_key")),
    )
    op.create_index(
        "ix_judgements_annotator", "judgements", ["annotator_id", "project_id", "submitted_at"], unique=False
    )
    op.create_index(
        "ix_judgements_project_current",
        "judgements",
        ["project_id", "id"],
        unique=False,
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.create_index(op.f("ix_judgements_task_id"), "judgements", ["task_id"], unique=False)
    op.create_index(
        "uq_judgements_current",
        "judgements",
        ["assignment_id"],
        unique=True,
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.create_table(
        "dataset_judgements",
        sa.Column("dataset_version_id", sa.BigInteger(), nullable=False),
        sa.Column("judgement_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_dataset_judgements_dataset_version_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["judgement_id"], ["judgements.id"], name=op.f("fk_dataset_judgements_judgement_id")),
        sa.PrimaryKeyConstraint("dataset_version_id", "judgement_id", name=op.f("pk_dataset_judgements")),
    )
    op.create_index(op.f("ix_dataset_judgements_judgement_id"), "dataset_judgements", ["judgement_id"], unique=False)
    for name, table, column, target in LATE_FOREIGN_KEYS:
        op.create_foreign_key(name, table, target, [column], ["id"])
    run_script(RULES)
    create_queue()


def downgrade() -> None:
    """Everything is lost."""
    run_script("DROP SCHEMA procrastinate CASCADE")
    for name, table, _, _ in LATE_FOREIGN_KEYS:
        op.drop_constraint(name, table, type_="foreignkey")
    op.drop_index(op.f("ix_dataset_judgements_judgement_id"), table_name="dataset_judgements")
    op.drop_table("dataset_judgements")
    op.drop_index("uq_judgements_current", table_name="judgements", postgresql_where=sa.text("superseded_by IS NULL"))
    op.drop_index(op.f("ix_judgements_task_id"), table_name="judgements")
    op.drop_index(
        "ix_judgements_project_current", table_name="judgements", postgresql_where=sa.text("superseded_by IS NULL")
    )
    op.drop_index("ix_judgements_annotator", table_name="judgements")
    op.drop_table("judgements")
    op.drop_index(op.f("ix_task_completions_completion_id"), table_name="task_completions")
    op.drop_table("task_completions")
    op.drop_table("metrics")
    op.drop_index(op.f("ix_gates_model_version_id"), table_name="gates")
    op.drop_table("gates")
    op.drop_index("uq_assignments_one_lease", table_name="assignments", postgresql_where=sa.text("state = 'leased'"))
    op.drop_index("ix_assignments_recent", table_name="assignments")
    op.drop_index("ix_assignments_lease_expiry", table_name="assignments", postgresql_where=sa.text("state = 'leased'"))
    op.drop_table("assignments")
    op.drop_index(op.f("ix_tasks_round_id"), table_name="tasks")
    op.drop_index(op.f("ix_tasks_prompt_id"), table_name="tasks")
    op.drop_index("ix_tasks_open", table_name="tasks", postgresql_where=sa.text("state = 'open' AND taken < quota"))
    op.drop_table("tasks")
    op.drop_index(
        "uq_runs_one_per_round_step",
        table_name="runs",
        postgresql_where=sa.text("state IN ('queued', 'running', 'succeeded')"),
    )
    op.drop_index("ix_runs_project", table_name="runs")
    op.drop_index("ix_runs_lease_expiry", table_name="runs", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("runs")
    op.drop_index("uq_rounds_one_active", table_name="rounds", postgresql_where=sa.text("status = 'active'"))
    op.drop_table("rounds")
    op.drop_index(op.f("ix_promotions_project_id"), table_name="promotions")
    op.drop_table("promotions")
    op.drop_index(
        "uq_model_versions_promoted", table_name="model_versions", postgresql_where=sa.text("state = 'promoted'")
    )
    op.drop_table("model_versions")
    op.drop_index(op.f("ix_demonstrations_prompt_id"), table_name="demonstrations")
    op.drop_table("demonstrations")
    op.drop_index(op.f("ix_completions_run_id"), table_name="completions")
    op.drop_index(op.f("ix_completions_prompt_id"), table_name="completions")
    op.drop_index(op.f("ix_completions_model_version_id"), table_name="completions")
    op.drop_table("completions")
    op.drop_index(op.f("ix_sign_in_sessions_user_id"), table_name="sign_in_sessions")
    op.drop_table("sign_in_sessions")
    op.drop_table("sign_in_links")
    op.drop_index("ix_prompts_project_split", table_name="prompts")
    op.drop_table("prompts")
    op.drop_index(op.f("ix_members_user_id"), table_name="members")
    op.drop_table("members")
    op.drop_table("dataset_versions")
    op.drop_index(op.f("ix_api_tokens_user_id"), table_name="api_tokens")
    op.drop_table("api_tokens")
    op.drop_index("uq_users_email", table_name="users")
    op.drop_table("users")
    op.drop_table("projects")
    op.drop_table("attempts")
    run_script("DROP FUNCTION judgement_may_only_be_superseded; DROP FUNCTION refuse_change")
