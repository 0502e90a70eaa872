"""Answers to calls that came with an Idempotency-Key, kept for a day."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_answers",
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", "key_digest", name=op.f("pk_kept_answers")),
        sa.ForeignKeyConstraint(
            ["token_digest"],
            ["api_tokens.token_digest"],
            name=op.f("fk_kept_answers_token_digest_api_tokens"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("(status IS NULL) = (sealed IS NULL)", name=op.f("ck_kept_answers_whole")),
    )
    op.create_index("ix_kept_answers_created_at", "kept_answers", ["created_at"])


def downgrade() -> None:
    """A call that is sent again is carried out again."""
    op.drop_table("kept_answers")
