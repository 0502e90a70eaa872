"""Names of jobs on a cluster: a word of this installation, and how many launches of a run have ended."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sites",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("word", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.CheckConstraint("id = 1", name=op.f("ck_sites_one")),
    )
    op.add_column("runs", sa.Column("launch", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Jobs that are at work on a cluster are known to nobody any more: end them by hand."""
    op.drop_column("runs", "launch")
    op.drop_table("sites")
