"""What can be chosen about the judges of a project that are models."""

from pydantic import BaseModel, ConfigDict, Field

from app.db.tables import Project


class JudgeSettings(BaseModel):
    """How machines judge in a project, and what becomes of what they say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    off_share: float = Field(
        default=0.2, ge=0, le=1, description="Of the tasks; drawn first, never judged by a machine, so as to compare."
    )
    open_share: float = Field(
        default=0.5, ge=0, le=1, description="Of the open pairs that nobody has judged, those a machine may take."
    )
    shared_pairs: int = Field(
        default=30, ge=1, le=10_000, description="Pairs that people judged, too, before anything is learnt from it."
    )
    counts: bool = Field(
        default=True, description="Dataset versions take in what calibrated judges say, by a weight below people's."
    )
    temperature: float | None = Field(
        default=0.0, ge=0, le=2, allow_inf_nan=False, description="Of the model as it judges; null: not sent."
    )
    max_tokens: int = Field(default=1024, ge=1, le=131_072, description="Of one reply, its reasons among them.")


def settings_of(project: Project) -> JudgeSettings:
    """How machines judge in a project, in its next round or run."""
    return JudgeSettings.model_validate(project.round_settings.get("judges", {}))
