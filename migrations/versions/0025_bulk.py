"""Imports in bulk: their words are read for search afterwards, and the parents of many rows are asked for at once.

The three indexes of words are made anew, which takes 45 µs a text or more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

TABLES = ("prompts", "completions", "tasks", "task_completions", "judgements", "demonstrations")

# The server asks for each row's parents one by one, which takes longer than storing the row. Where a session may leave
# that out, these ask the same of all rows of a statement, and hold the parents as it does.
RULES = """
CREATE FUNCTION require_parents() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key record;
    has_orphan boolean;
BEGIN
    FOR key IN
        SELECT conname, confrelid::regclass AS parent,
            string_agg(quote_ident(own.attname), ', ') AS columns,
            string_agg(format('%I IS NOT NULL', own.attname), ' AND ') AS is_told,
            string_agg(format('parents.%I = named.%I', held.attname, own.attname), ' AND ') AS meets
        FROM pg_constraint CROSS JOIN unnest(conkey, confkey) AS pair (own, held)
        JOIN pg_attribute own ON own.attrelid = conrelid AND own.attnum = pair.own
        JOIN pg_attribute held ON held.attrelid = confrelid AND held.attnum = pair.held
        WHERE conrelid = TG_RELID AND contype = 'f'
        GROUP BY conname, confrelid
    LOOP
        EXECUTE format(
            'SELECT EXISTS (
                SELECT FROM (SELECT DISTINCT %s FROM added) named
                WHERE %s AND (SELECT true FROM ONLY %s parents WHERE %s FOR KEY SHARE) IS NULL)',
            key.columns, key.is_told, key.parent, key.meets
        ) INTO has_orphan;
        IF has_orphan THEN
            RAISE EXCEPTION 'insert on table "%" violates foreign key constraint "%"', TG_TABLE_NAME, key.conname
                USING ERRCODE = 'foreign_key_violation', CONSTRAINT = key.conname;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
"""


WORDS = {
    "prompts": """jsonb_to_tsvector('simple', messages, '["string"]')""",
    "completions": "to_tsvector('simple', text)",
    "demonstrations": "to_tsvector('simple', text)",
}


def upgrade() -> None:
    for table in WORDS:
        op.add_column(table, sa.Column("is_searchable", sa.Boolean(), server_default="true", nullable=False))
        op.create_index(f"ix_{table}_unread", table, ["id"], postgresql_where=sa.text("NOT is_searchable"))
    _index_words(sa.text("is_searchable"))
    for table, words in WORDS.items():
        # The server keeps none for an index of some rows, takes any word for one in 200 texts, and reads all of them.
        op.execute(f"CREATE STATISTICS st_{table}_words ON ({words}) FROM {table}")
        op.execute(f"ANALYZE {table}")
    op.execute(RULES)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER parents_exist AFTER INSERT ON {table} REFERENCING NEW TABLE AS added"
            " FOR EACH STATEMENT EXECUTE FUNCTION require_parents()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE REPLICA TRIGGER parents_exist")
    op.execute("ALTER TABLE judgements ENABLE ALWAYS TRIGGER judgements_divide")


def downgrade() -> None:
    """Nothing is lost."""
    op.execute("ALTER TABLE judgements ENABLE TRIGGER judgements_divide")
    for table in TABLES:
        op.execute(f"DROP TRIGGER parents_exist ON {table}")
    op.execute("DROP FUNCTION require_parents()")
    for table in WORDS:
        op.execute(f"DROP STATISTICS st_{table}_words")
    _index_words(None)
    for table in WORDS:
        op.drop_index(f"ix_{table}_unread", table)
        op.drop_column(table, "is_searchable")


def _index_words(where: sa.TextClause | None) -> None:
    for table, words in WORDS.items():
        op.drop_index(f"ix_{table}_words", table)
        op.create_index(f"ix_{table}_words", table, [sa.text(words)], postgresql_using="gin", postgresql_where=where)
