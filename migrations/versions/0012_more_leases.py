"""Five leases of one person instead of two: without a connection, work goes on with what is leased."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_assignments_two_slots"), "assignments", type_="check")
    op.create_check_constraint(op.f("ck_assignments_slot_known"), "assignments", "slot BETWEEN 0 AND 4")


def downgrade() -> None:
    """What is fetched ahead goes back to the pool, as if it had run out; what is on a desk stays there."""
    op.execute(
        """
        WITH queued AS (
            SELECT id, row_number() OVER (
                PARTITION BY project_id, annotator_id ORDER BY served_at NULLS LAST, leased_at, id
            ) AS place
            FROM assignments WHERE state = 'leased'
        ), freed AS (
            UPDATE assignments SET state = 'expired', closed_at = now()
            FROM queued WHERE queued.id = assignments.id AND queued.place > 1
            RETURNING assignments.task_id
        ), places AS (SELECT task_id, count(*) AS number FROM freed GROUP BY task_id)
        UPDATE tasks SET taken = taken - places.number FROM places WHERE tasks.id = places.task_id
        """
    )
    op.execute("UPDATE assignments SET slot = 0 WHERE slot > 1")
    op.drop_constraint(op.f("ck_assignments_slot_known"), "assignments", type_="check")
    op.create_check_constraint(op.f("ck_assignments_two_slots"), "assignments", "slot BETWEEN 0 AND 1")
