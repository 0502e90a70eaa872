"""How reward models score the pairs that they were measured on."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scored_pairs",
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("judgement_id", sa.BigInteger(), nullable=False),
        sa.Column("position_a", sa.SmallInteger(), nullable=False),
        sa.Column("position_b", sa.SmallInteger(), nullable=False),
        sa.Column("difference", sa.Float(), nullable=False),
        sa.Column("previous_difference", sa.Float()),
        sa.PrimaryKeyConstraint(
            "model_version_id", "judgement_id", "position_a", "position_b", name=op.f("pk_scored_pairs")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_versions.id"],
            name=op.f("fk_scored_pairs_model_version_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["judgement_id"], ["judgements.id"], name=op.f("fk_scored_pairs_judgement_id")),
        sa.CheckConstraint("position_a < position_b", name=op.f("ck_scored_pairs_in_their_order")),
    )
    op.create_index(op.f("ix_scored_pairs_judgement_id"), "scored_pairs", ["judgement_id"])


def downgrade() -> None:
    """How reward models scored their pairs is lost."""
    op.drop_table("scored_pairs")
