"""Passkeys, what they are asked to sign, and when a session's person last showed that it is them."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("vouched_by_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkeys_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["vouched_by_id"], ["users.id"], name=op.f("fk_passkeys_vouched_by_id")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_passkeys_user_id"), "passkeys", ["user_id"])
    op.execute(
        "SELECT log_changes_of('passkeys', 'id', untold => 'name,credential_id,public_key', "
        "changes => 'name, vouched_by_id')"
    )
    op.create_table(
        "passkey_challenges",
        sa.Column("challenge", sa.LargeBinary(32), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("challenge", name=op.f("pk_passkey_challenges")),
    )
    op.create_index(op.f("ix_passkey_challenges_expires_at"), "passkey_challenges", ["expires_at"])
    op.add_column("sign_in_sessions", sa.Column("passkey_id", sa.BigInteger()))
    op.create_foreign_key(
        op.f("fk_sign_in_sessions_passkey_id"),
        "sign_in_sessions",
        "passkeys",
        ["passkey_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_sign_in_sessions_passkey_id"), "sign_in_sessions", ["passkey_id"])
    op.add_column("sign_in_sessions", sa.Column("proved_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Passkeys are lost: who has no password needs a sign-in link."""
    op.drop_column("sign_in_sessions", "proved_at")
    op.drop_column("sign_in_sessions", "passkey_id")
    op.drop_table("passkey_challenges")
    op.drop_table("passkeys")
