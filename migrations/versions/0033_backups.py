"""Backups that were made, so that pages can tell how old the last one is."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("place", sa.String(2000), nullable=False),
        sa.Column("name", sa.String(100)),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("new_bytes", sa.BigInteger()),
        sa.Column("lacking", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("problem", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backups")),
        sa.CheckConstraint(
            "(name IS NOT NULL) = (ended_at IS NOT NULL AND problem IS NULL)", name=op.f("ck_backups_whole_has_a_name")
        ),
        sa.CheckConstraint("problem IS NULL OR ended_at IS NOT NULL", name=op.f("ck_backups_ended_by_a_problem")),
    )
    op.create_index("ix_backups_place", "backups", ["place", sa.text("id DESC")])


def downgrade() -> None:
    """What is known of earlier backups is lost; the backups themselves stay where they are."""
    op.drop_table("backups")
