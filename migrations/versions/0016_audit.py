"""The log of changes: written by triggers, and changed by nobody."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None

WORDS = (
    "to_tsvector('simple', left(coalesce(before::text, ''), 50000) || ' ' || left(coalesce(after::text, ''), 50000))"
)

RULES = """
-- Arguments: the columns of the key; the columns of which the log tells that they changed and not to what; "people"
-- where what the worker does is no change by anybody.
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    entire jsonb := coalesce(becomes, was);
    door text := coalesce(nullif(current_setting('plumbline.door', true), ''), 'database');
    name text;
BEGIN
    IF TG_ARGV[2] = 'people' AND door = 'worker' THEN
        RETURN NULL;
    END IF;
    -- What goes because something else was deleted is told by that.
    IF TG_OP = 'DELETE' AND (
        entire ? 'project_id' AND NOT EXISTS (SELECT FROM projects WHERE id = (entire ->> 'project_id')::bigint)
        OR entire ? 'group_id' AND NOT EXISTS (SELECT FROM groups WHERE id = (entire ->> 'group_id')::bigint)
        OR entire ? 'task_id' AND NOT EXISTS (SELECT FROM tasks WHERE id = (entire ->> 'task_id')::bigint)
    ) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(key, was -> key), jsonb_object_agg(key, becomes -> key) INTO was, becomes
        FROM jsonb_object_keys(entire) AS key WHERE was -> key IS DISTINCT FROM becomes -> key;
        IF was IS NULL THEN
            RETURN NULL;
        END IF;
    ELSE
        was := jsonb_strip_nulls(was);
        becomes := jsonb_strip_nulls(becomes);
    END IF;
    FOREACH name IN ARRAY string_to_array(TG_ARGV[1], ',') LOOP
        IF was ->> name IS NOT NULL THEN
            was := was || jsonb_build_object(name, '…');
        END IF;
        IF becomes ->> name IS NOT NULL THEN
            becomes := becomes || jsonb_build_object(name, '…');
        END IF;
    END LOOP;
    INSERT INTO audit_entries (actor_id, door, request_id, project_id, kind, subject, action, before, after)
    VALUES (
        nullif(current_setting('plumbline.actor', true), '')::bigint,
        door,
        nullif(current_setting('plumbline.request', true), ''),
        CASE WHEN TG_TABLE_NAME = 'projects' THEN (entire ->> 'id')::bigint
             WHEN entire ? 'project_id' THEN (entire ->> 'project_id')::bigint
             WHEN entire ? 'task_id' THEN (SELECT tasks.project_id FROM tasks WHERE id = (entire ->> 'task_id')::bigint)
        END,
        TG_TABLE_NAME,
        (SELECT string_agg(entire ->> key, '/') FROM unnest(string_to_array(TG_ARGV[0], ',')) AS key),
        lower(TG_OP),
        was,
        becomes
    );
    RETURN NULL;
END $$;

-- `changes`: the columns whose change is logged; empty: all.
CREATE FUNCTION log_changes_of(
    logged regclass, key text, untold text DEFAULT '', changes text DEFAULT '', of_whom text DEFAULT ''
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER log_changes AFTER INSERT OR DELETE OR UPDATE %s ON %s'
        ' FOR EACH ROW EXECUTE FUNCTION log_change(%L, %L, %L)',
        CASE WHEN changes <> '' THEN 'OF ' || changes END, logged, key, untold, of_whom
    );
END $$;

CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_entries_stay BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

SELECT log_changes_of('projects', 'id');
SELECT log_changes_of('members', 'project_id,user_id', changes => 'role, qualified_at, paused_at, by_group');
SELECT log_changes_of('users', 'id', untold => 'name,email,password_hash');
SELECT log_changes_of('invitations', 'id', untold => 'name,email,token_digest,form_digest');
SELECT log_changes_of('sign_in_links', 'id', untold => 'token_digest', changes => 'used_at, expires_at');
SELECT log_changes_of('api_tokens', 'id', untold => 'name,token_digest', changes => 'revoked_at, expires_at');
SELECT log_changes_of('groups', 'id');
SELECT log_changes_of('group_members', 'group_id,user_id');
SELECT log_changes_of('group_grants', 'group_id,project_id');
SELECT log_changes_of('promotions', 'id');
SELECT log_changes_of('rounds', 'id', changes => 'status, settings, label_target', of_whom => 'people');
SELECT log_changes_of('runs', 'id', changes => 'state, cancel_requested_at', of_whom => 'people');
SELECT log_changes_of('gold_answers', 'task_id');
SELECT log_changes_of('dataset_versions', 'id');
"""

DETACH = """
DO $$
DECLARE
    logged regclass;
BEGIN
    FOR logged IN SELECT tgrelid FROM pg_trigger WHERE tgname = 'log_changes' LOOP
        EXECUTE format('DROP TRIGGER log_changes ON %s', logged);
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("actor_id", sa.BigInteger()),
        sa.Column("door", sa.String(20), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("project_id", sa.BigInteger()),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
        sa.Column("words", postgresql.TSVECTOR(), sa.Computed(WORDS, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
        sa.CheckConstraint(
            "action IN ('insert', 'update', 'delete', 'done')", name=op.f("ck_audit_entries_action_known")
        ),
    )
    op.create_index("ix_audit_entries_project", "audit_entries", ["project_id", sa.text("id DESC")])
    op.create_index("ix_audit_entries_actor", "audit_entries", ["actor_id", sa.text("id DESC")])
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"])
    op.create_index("ix_audit_entries_words", "audit_entries", ["words"], postgresql_using="gin")
    # Straight to the driver: many statements, percent signs and all.
    op.get_bind().connection.driver_connection.execute(RULES)  # type: ignore[union-attr]


def downgrade() -> None:
    """The log is lost: export it first."""
    op.execute(DETACH)
    op.drop_table("audit_entries")
    op.execute("DROP FUNCTION log_changes_of(regclass, text, text, text, text)")
    op.execute("DROP FUNCTION log_change()")
