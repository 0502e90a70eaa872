"""Dataset versions, model versions and promotions: what came from what."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import IN_A_CIRCLE, Base, CreatedAt, Json, Key, one_of

DatasetKind = Literal["preferences", "demonstrations"]
ModelKind = Literal["policy", "reward", "cost"]
ModelState = Literal["candidate", "promoted", "archived"]


class DatasetVersion(Base):
    """An immutable snapshot: a JSONL file under the home folder (`path` is relative to it) and the rows it holds.

    `settings` say how it was cut: {"prefers_verdicts": where a reviewer has decided, the verdict alone counts,
    "believed": where people are not believed alike, how far each is (`app.services.data.beliefs.Beliefs`),
    "machines": [{"name", "weight"}], the judges that are models whose judgements it holds}; `manifest` the rest of what
    it came from (`app.services.data.manifests`), nothing in versions from before there were manifests. People's `note`
    and `tags` alone may change.
    Once something that it holds was erased (`erased_from_at`) it is neither served nor trained on any more, and its
    file may be removed (`file_removed_at`).
    """

    __tablename__ = "dataset_versions"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    number: Mapped[int]
    path: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    row_count: Mapped[int]
    counts: Mapped[Json] = mapped_column(server_default="{}")
    settings: Mapped[Json] = mapped_column(server_default="{}")
    run_id: Mapped[int | None] = mapped_column(
        ForeignKey("runs.id", use_alter=True, name="fk_dataset_versions_run_id", **IN_A_CIRCLE)
    )
    created_at: Mapped[CreatedAt]
    erased_from_at: Mapped[datetime | None]
    file_removed_at: Mapped[datetime | None]
    manifest: Mapped[Json] = mapped_column(server_default="{}")
    note: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(80)), server_default="{}")

    __table_args__ = (
        UniqueConstraint("project_id", "kind", "number"),
        Index("ix_dataset_versions_tags", "tags", postgresql_using="gin"),
        CheckConstraint(one_of("kind", get_args(DatasetKind)), name="kind_known"),
        CheckConstraint("file_removed_at IS NULL OR erased_from_at IS NOT NULL", name="removed_when_erased"),
    )

    @property
    def prefers_verdicts(self) -> bool | None:
        """Whether verdicts alone count where there are any; None of a version from before there were verdicts."""
        return self.settings.get("prefers_verdicts")

    @property
    def believed(self) -> Json | None:
        """How far people were believed in its soft labels; None where it holds what was said."""
        return self.settings.get("believed")

    @property
    def machines(self) -> list[Json]:
        """Name and weight of the judges that are models whose judgements it holds."""
        machines: list[Json] = self.settings.get("machines", [])
        return machines


class DatasetJudgement(Base):
    """A judgement that a dataset version holds; from then on the judgement can't be changed.

    `split` was its prompt's at that time. `learnt` is how it counts where that isn't as it was said:
    [[position, position, how likely the first is better, weight], ...]. Neither is known of versions from before they
    were kept.
    """

    __tablename__ = "dataset_judgements"

    dataset_version_id: Mapped[int] = mapped_column(
        ForeignKey("dataset_versions.id", ondelete="CASCADE"), primary_key=True
    )
    judgement_id: Mapped[int] = mapped_column(ForeignKey("judgements.id"), primary_key=True, index=True)
    split: Mapped[str | None] = mapped_column(String(20))
    learnt: Mapped[list[list[float]] | None] = mapped_column(JSONB(none_as_null=True))


class JudgementChange(Base):
    """Something about a judgement changed that may alter what a dataset version cut now would hold.

    The database writes these by triggers. `changed_in` is the transaction that did it: whoever reads up to the oldest
    one that is still under way misses nothing, in whatever order ids were drawn. Those of a month ago are removed.
    """

    __tablename__ = "judgement_changes"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    changed_in: Mapped[int] = mapped_column(primary_key=True)
    judgement_id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_judgement_changes_at", "at", postgresql_using="brin"),)


class ScoredPair(Base):
    """How a reward model scores two responses of a held-out judgement: the raw score of the one at `position_a` less
    that of the one at `position_b`, by itself and by the model that it was to replace."""

    __tablename__ = "scored_pairs"

    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True)
    judgement_id: Mapped[int] = mapped_column(ForeignKey("judgements.id"), primary_key=True, index=True)
    position_a: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    position_b: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    difference: Mapped[float]
    previous_difference: Mapped[float | None]

    __table_args__ = (CheckConstraint("position_a < position_b", name="in_their_order"),)


class ModelVersion(Base):
    """A policy, reward or cost model with everything it was made from; `folder` is relative to the home folder."""

    __tablename__ = "model_versions"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(20), server_default="candidate")
    run_id: Mapped[int | None] = mapped_column(
        ForeignKey("runs.id", use_alter=True, name="fk_model_versions_run_id", **IN_A_CIRCLE), unique=True
    )
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reference_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    reward_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    cost_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    dataset_version_id: Mapped[int | None] = mapped_column(ForeignKey("dataset_versions.id"))
    folder: Mapped[str]
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    figures: Mapped[Json] = mapped_column(server_default="{}")
    created_at: Mapped[CreatedAt]
    promoted_at: Mapped[datetime | None]
    # What is wrong with the files of a version in use, as a worker saw it last.
    fault: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("project_id", "kind", "number"),
        CheckConstraint(one_of("kind", get_args(ModelKind)), name="kind_known"),
        CheckConstraint(one_of("state", get_args(ModelState)), name="state_known"),
        Index(
            "uq_model_versions_promoted",
            "project_id",
            "kind",
            unique=True,
            postgresql_where=text("state = 'promoted'"),
        ),
    )


class Promotion(Base):
    """One change of the model in use, so that it can be read back and undone."""

    __tablename__ = "promotions"

    id: Mapped[Key]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    previous_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    action: Mapped[str] = mapped_column(String(20))
    actor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str] = mapped_column(server_default="")
    # Of a version that its gate had refused.
    overrides_gate_id: Mapped[int | None] = mapped_column(ForeignKey("gates.id"))
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        CheckConstraint("action IN ('promote', 'roll_back')", name="action_known"),
        CheckConstraint("overrides_gate_id IS NULL OR btrim(reason) <> ''", name="override_has_a_reason"),
    )
