"""Tokens have scopes and an end; an e-mail address may be said by more than one account; browsers are known again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# A token goes on with what its person can do today; one without an end gets the usual lifetime from now.
TOKENS = """
UPDATE api_tokens SET
    scopes = CASE
        WHEN EXISTS (SELECT FROM users WHERE users.id = api_tokens.user_id AND users.is_admin)
            OR EXISTS (SELECT FROM members WHERE members.user_id = api_tokens.user_id AND members.role = 'owner')
        THEN ARRAY['read', 'judge', 'manage'] ELSE ARRAY['read', 'judge'] END,
    expires_at = coalesce(expires_at, now() + interval '90 days')
"""

# Of accounts with one address, the oldest keeps it.
ADDRESSES = """
UPDATE users SET email = NULL, password_hash = NULL, password_vouched_by_id = NULL
WHERE EXISTS (SELECT FROM users AS older WHERE lower(older.email) = lower(users.email) AND older.id < users.id)
"""


def upgrade() -> None:
    op.add_column("api_tokens", sa.Column("scopes", postgresql.ARRAY(sa.String(20))))
    op.execute(TOKENS)
    op.alter_column("api_tokens", "scopes", nullable=False)
    op.alter_column("api_tokens", "expires_at", nullable=False)
    op.create_check_constraint(
        op.f("ck_api_tokens_scopes_known"),
        "api_tokens",
        "scopes <@ ARRAY['read', 'judge', 'manage']::varchar[] AND cardinality(scopes) > 0",
    )
    op.drop_index("uq_users_email", table_name="users")
    op.create_index("ix_users_email", "users", [sa.literal_column("lower(email)")])
    op.create_table(
        "known_browsers",
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_known_browsers")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_known_browsers_user_id"), ondelete="CASCADE"),
    )
    op.create_index(op.f("ix_known_browsers_user_id"), "known_browsers", ["user_id"])
    op.create_table(
        "external_identities",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_external_identities")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_external_identities_user_id"), ondelete="CASCADE"
        ),
    )
    op.create_index(op.f("ix_external_identities_user_id"), "external_identities", ["user_id"])
    op.add_column("group_members", sa.Column("by_claim", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    """Tokens may do everything again that their people may. Of accounts that say one address, the oldest keeps it, and
    the others sign in by links or passkeys, as do those whom an identity provider let in.
    """
    op.drop_column("group_members", "by_claim")
    op.drop_table("external_identities")
    op.drop_table("known_browsers")
    op.execute(ADDRESSES)
    op.drop_index("ix_users_email", table_name="users")
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.drop_constraint(op.f("ck_api_tokens_scopes_known"), "api_tokens")
    op.alter_column("api_tokens", "expires_at", nullable=True)
    op.drop_column("api_tokens", "scopes")
