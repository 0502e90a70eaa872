"""Invitations, groups, sessions that can be told apart, and who vouches for a way in."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ROLE_KNOWN = "role IN ('owner', 'reviewer', 'annotator')"
VOUCHED = ("sign_in_links", "sign_in_sessions", "api_tokens")


def upgrade() -> None:
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("password_vouched_by_id", sa.BigInteger()))
    op.create_foreign_key(op.f("fk_users_password_vouched_by_id"), "users", "users", ["password_vouched_by_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_users_erased_is_nobody"),
        "users",
        "erased_at IS NULL OR (email IS NULL AND password_hash IS NULL AND disabled_at IS NOT NULL)",
    )
    for table in VOUCHED:
        op.add_column(table, sa.Column("vouched_by_id", sa.BigInteger()))
        op.create_foreign_key(op.f(f"fk_{table}_vouched_by_id"), table, "users", ["vouched_by_id"], ["id"])
    op.create_index(op.f("ix_sign_in_links_user_id"), "sign_in_links", ["user_id"])
    op.add_column("sign_in_sessions", sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False))
    op.create_unique_constraint(op.f("uq_sign_in_sessions_id"), "sign_in_sessions", ["id"])
    op.add_column("sign_in_sessions", sa.Column("device", sa.String(300), server_default="", nullable=False))
    op.add_column("sign_in_sessions", sa.Column("by_password", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("members", sa.Column("paused_at", sa.DateTime(timezone=True)))
    op.add_column("members", sa.Column("by_group", sa.Boolean(), server_default="false", nullable=False))
    _create_invitations()
    _create_groups()


def downgrade() -> None:
    """Open invitations are lost, and groups; who is in a project by way of a group stays in it."""
    for table in ("group_grants", "group_members", "groups", "invitations"):
        op.drop_table(table)
    op.drop_column("members", "by_group")
    op.drop_column("members", "paused_at")
    for column in ("by_password", "device", "id"):
        op.drop_column("sign_in_sessions", column)
    op.drop_index(op.f("ix_sign_in_links_user_id"), "sign_in_links")
    for table in VOUCHED:
        op.drop_column(table, "vouched_by_id")
    op.drop_constraint(op.f("ck_users_erased_is_nobody"), "users", type_="check")
    op.drop_column("users", "password_vouched_by_id")
    op.drop_column("users", "erased_at")


def _create_invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), server_default="", nullable=False),
        sa.Column("email", sa.String(320)),
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("form_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("created_by_id", sa.BigInteger()),
        sa.Column("vouched_by_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("accepted_by_id", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_invitations_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_invitations_created_by_id")),
        sa.ForeignKeyConstraint(["vouched_by_id"], ["users.id"], name=op.f("fk_invitations_vouched_by_id")),
        sa.ForeignKeyConstraint(["accepted_by_id"], ["users.id"], name=op.f("fk_invitations_accepted_by_id")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_invitations_token_digest")),
        sa.UniqueConstraint(
            "project_id", "form_digest", "position", name=op.f("uq_invitations_project_id_form_digest_position")
        ),
        sa.CheckConstraint(ROLE_KNOWN, name=op.f("ck_invitations_role_known")),
        sa.CheckConstraint(
            "(accepted_at IS NULL) = (accepted_by_id IS NULL)", name=op.f("ck_invitations_accepted_by_somebody")
        ),
        sa.CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name=op.f("ck_invitations_used_or_revoked")),
    )
    op.create_index(
        "ix_invitations_open",
        "invitations",
        ["project_id", sa.text("id DESC")],
        postgresql_where=sa.text("accepted_at IS NULL AND revoked_at IS NULL"),
    )


def _create_groups() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.CheckConstraint("length(btrim(name)) > 0", name=op.f("ck_groups_name_not_blank")),
    )
    op.create_index("uq_groups_name", "groups", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "group_members",
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_group_members")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_group_members_user_id"), ondelete="CASCADE"),
    )
    op.create_index(op.f("ix_group_members_user_id"), "group_members", ["user_id"])
    op.create_table(
        "group_grants",
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "project_id", name=op.f("pk_group_grants")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_group_grants_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_group_grants_project_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(ROLE_KNOWN, name=op.f("ck_group_grants_role_known")),
    )
    op.create_index(op.f("ix_group_grants_project_id"), "group_grants", ["project_id"])
