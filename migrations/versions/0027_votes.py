"""People's votes on a new policy before it is promoted, and the refusal of a round that an owner went on from."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STEPS = ("select", "label", "snapshot", "reward", "reward_gate", "cost", "ppo", "evaluate", "policy_gate", "promote",
         "generate", "done")  # fmt: skip
OWN = ("duel", "vote", "vote_gate")


def upgrade() -> None:
    _allow(*STEPS, *OWN)
    op.add_column("rounds", sa.Column("overridden_step", sa.String(20)))
    op.add_column("rounds", sa.Column("overridden_because", sa.String()))
    op.add_column("rounds", sa.Column("overridden_by_id", sa.BigInteger()))
    op.create_foreign_key(op.f("fk_rounds_overridden_by_id"), "rounds", "users", ["overridden_by_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_rounds_override_has_a_reason"),
        "rounds",
        "overridden_step IS NULL OR btrim(overridden_because) <> ''",
    )


def downgrade() -> None:
    """Refused by the database while a round stands at such a step."""
    op.drop_constraint(op.f("ck_rounds_override_has_a_reason"), "rounds", type_="check")
    for column in ("overridden_by_id", "overridden_because", "overridden_step"):
        op.drop_column("rounds", column)
    _allow(*STEPS)


def _allow(*steps: str) -> None:
    name = op.f("ck_rounds_step_known")
    op.drop_constraint(name, "rounds", type_="check")
    op.create_check_constraint(name, "rounds", f"step IN ({', '.join(map(repr, steps))})")
