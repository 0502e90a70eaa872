"""How a served model is asked: what its responses are drawn with, and how much may be asked of it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.db.base import Json
from app.services.projects.validation import validated

MOST_STOPS = 4


class Sampling(BaseModel):
    """What responses are drawn with. What is null isn't sent, so that the endpoint's own default holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    max_tokens: int = Field(default=512, ge=1, le=131_072)
    responses_per_prompt: int = Field(default=2, ge=1, le=64)
    stop: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")], ...] = Field(
        default=(), max_length=MOST_STOPS
    )
    system: str = Field(default="", max_length=20_000, pattern=r"^[^\x00]*$")


class Limits(BaseModel):
    """How patiently and how much a served model is asked. The caps hold for one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_seconds: float = Field(default=120, ge=1, le=1800, allow_inf_nan=False)
    retries: int = Field(default=4, ge=0, le=20)
    parallel: int = Field(default=4, ge=1, le=64)
    most_requests: int = Field(default=2_000, ge=1, le=10_000_000)
    most_tokens: int = Field(default=2_000_000, ge=1, le=10_000_000_000)


def sampling_of(values: Mapping[str, Any]) -> Sampling:
    """Raises Invalid."""
    return validated(Sampling, values, "Sampling")


def limits_of(values: Mapping[str, Any]) -> Limits:
    """Raises Invalid."""
    return validated(Limits, values, "Limit")


def changes(settings: BaseModel) -> Json:
    """What differs from the defaults: all that a row has to hold."""
    return settings.model_dump(mode="json", exclude_defaults=True)
