"""What is asked and what is answered: prompts, completions and demonstrations."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import IN_A_CIRCLE, Base, CreatedAt, Json, Key, one_of

Split = Literal["train", "validation", "held_out"]
CompletionSource = Literal["starter", "policy", "imported", "person", "served"]
DemonstrationSource = Literal["starter", "imported", "written", "edited"]


Searchable = Annotated[bool, mapped_column(server_default="true")]
"""Whether the words of a text are in the index for search. Those of a large import are read once it is in."""
IS_SEARCHABLE = sql("is_searchable")
IS_UNREAD = sql("NOT is_searchable")
OF_A_MODEL = sql("model_version_id IS NOT NULL")
OF_A_RUN = sql("run_id IS NOT NULL")


class Prompt(Base):
    """A conversation that waits for a response.

    `messages` is a list of {"role", "content"}; `digest` is the SHA-256 of its canonical JSON. `split` is drawn once,
    so that a prompt never moves between training and validation; held-out prompts are never asked about and never
    trained on. `import_id` is the import that brought it. What is said of an `excluded` one stays out of dataset
    versions. One that was erased (`erased_at`) is an empty turn for good, and its digest is nothing's.
    """

    __tablename__ = "prompts"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    messages: Mapped[list[Json]]
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    split: Mapped[str] = mapped_column(String(20))
    topic: Mapped[str | None] = mapped_column(String(200))
    source: Mapped[str] = mapped_column(String(200))
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(80)), server_default="{}")
    excluded: Mapped[bool] = mapped_column(server_default="false")
    import_id: Mapped[int | None] = mapped_column(ForeignKey("imports.id"))
    is_searchable: Mapped[Searchable]
    created_at: Mapped[CreatedAt]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("project_id", "digest"),
        CheckConstraint(one_of("split", get_args(Split)), name="split_known"),
        CheckConstraint(
            """erased_at IS NULL OR (messages = '[{"role": "user", "content": ""}]'::jsonb)""", name="erased_is_empty"
        ),
        Index("ix_prompts_project_split", "project_id", "split", "id"),
        Index("ix_prompts_tags", "tags", postgresql_using="gin"),
        Index(
            "ix_prompts_words",
            sql("""jsonb_to_tsvector('simple', messages, '["string"]')"""),
            postgresql_using="gin",
            postgresql_where=IS_SEARCHABLE,
        ),
        Index("ix_prompts_unread", "id", postgresql_where=IS_UNREAD),
        Index("ix_prompts_import_id", "import_id", postgresql_where=sql("import_id IS NOT NULL")),
    )


class Completion(Base):
    """A response, with the policy version and sampling settings that made it.

    `source_model` is who wrote an imported one, by the name that its file has.

    `made_with` is what a served model was asked with when it wrote this: the model's name, who answered by which name,
    how it ended, and the sampling settings.
    """

    __tablename__ = "completions"

    id: Mapped[Key]
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    source: Mapped[str] = mapped_column(String(20))
    model_version_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_versions.id", use_alter=True, name="fk_completions_model_version_id", **IN_A_CIRCLE)
    )
    served_model_id: Mapped[int | None] = mapped_column(ForeignKey("served_models.id"))
    made_with: Mapped[Json | None]
    run_id: Mapped[int | None] = mapped_column(
        ForeignKey("runs.id", use_alter=True, name="fk_completions_run_id", **IN_A_CIRCLE)
    )
    sample: Mapped[int | None]
    temperature: Mapped[float | None]
    token_count: Mapped[int | None]
    ended_with_eos: Mapped[bool | None]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    source_model: Mapped[str | None] = mapped_column(String(200))
    is_searchable: Mapped[Searchable]
    created_at: Mapped[CreatedAt]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        # Partial, because imported completions, which are many, are in none of these.
        Index("ix_completions_model_version_id", "model_version_id", postgresql_where=OF_A_MODEL),
        Index("uq_completions_sample", "run_id", "prompt_id", "sample", unique=True, postgresql_where=OF_A_RUN),
        Index("ix_completions_source", "source", "id", postgresql_where=sql("source <> 'imported'")),
        # Without it the server takes a third of all responses for longer than whatever is asked.
        Index("ix_completions_length", sql("length(text)"), "id"),
        Index(
            "ix_completions_words",
            sql("to_tsvector('simple', text)"),
            postgresql_using="gin",
            postgresql_where=IS_SEARCHABLE,
        ),
        Index("ix_completions_unread", "id", postgresql_where=IS_UNREAD),
        Index("ix_completions_author_id", "author_id", postgresql_where=sql("author_id IS NOT NULL")),
        Index(
            "ix_completions_served_model_id",
            "served_model_id",
            postgresql_where=sql("served_model_id IS NOT NULL"),
        ),
        CheckConstraint(one_of("source", get_args(CompletionSource)), name="source_known"),
        CheckConstraint("(source = 'policy') = (model_version_id IS NOT NULL)", name="policy_has_a_version"),
        CheckConstraint("(source = 'served') = (served_model_id IS NOT NULL)", name="served_has_a_model"),
        CheckConstraint("(source = 'served') = (made_with IS NOT NULL)", name="served_has_settings"),
        CheckConstraint("erased_at IS NULL OR (text = '')", name="erased_is_empty"),
    )


class Demonstration(Base):
    """A response written or edited by a person, or shipped with the starter: what SFT learns from.

    One given with a judgement counts as long as that judgement does; `completion_id` is the response it was made of.
    """

    __tablename__ = "demonstrations"

    id: Mapped[Key]
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    source: Mapped[str] = mapped_column(String(20))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    judgement_id: Mapped[int | None] = mapped_column(ForeignKey("judgements.id"), unique=True)
    completion_id: Mapped[int | None] = mapped_column(ForeignKey("completions.id"), index=True)
    import_id: Mapped[int | None] = mapped_column(ForeignKey("imports.id"))
    is_searchable: Mapped[Searchable]
    created_at: Mapped[CreatedAt]
    erased_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("source", get_args(DemonstrationSource)), name="source_known"),
        Index(
            "ix_demonstrations_words",
            sql("to_tsvector('simple', text)"),
            postgresql_using="gin",
            postgresql_where=IS_SEARCHABLE,
        ),
        Index("ix_demonstrations_unread", "id", postgresql_where=IS_UNREAD),
        CheckConstraint("(source = 'edited') = (completion_id IS NOT NULL)", name="edited_has_an_origin"),
        CheckConstraint("erased_at IS NOT NULL OR length(btrim(text)) > 0", name="text_not_blank"),
        CheckConstraint("erased_at IS NULL OR (text = '')", name="erased_is_empty"),
        Index("ix_demonstrations_author_id", "author_id", postgresql_where=sql("author_id IS NOT NULL")),
        Index("ix_demonstrations_import_id", "import_id", postgresql_where=sql("import_id IS NOT NULL")),
    )
