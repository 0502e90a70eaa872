"""The settings of a round, in one place: defaults, then the project's, then the round's own.

The stage settings are passed on to `training/config`, which refuses what it doesn't know.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from pydantic import ConfigDict, Field, create_model

from app.db.base import Json
from app.db.tables import Project, Round
from app.phrases import phrase
from app.services.judging.machines.settings import JudgeSettings
from app.services.loop.asking.people_settings import PeopleSettings
from app.services.loop.asking.selection_settings import SelectionSettings
from app.services.loop.gates.gate_bounds import FirstPolicyBounds, PolicyBounds, RewardBounds, VoteBounds
from app.services.loop.settings.triggers import TriggerSettings
from app.services.loop.stages.registry import TRAINING
from app.services.projects.question import question_of
from app.services.projects.validation import validated

_STRICT = ConfigDict(frozen=True, extra="forbid")

_FIELDS: dict[str, Any] = {
    name: (Json, Field(default_factory=partial(dict, stage.defaults))) for name, stage in TRAINING.items()
}
_OfStages = create_model("_OfStages", __config__=_STRICT, **_FIELDS)


class RoundSettings(_OfStages):
    """Everything that can be chosen about a round.

    `pairs_per_round` null means: enough for `label_target`, with a fifth to spare, because people skip. Beside these
    there is one setting for every training stage, with what differs from the stage's own defaults.

    `harmlessness`: the round trains a cost model and holds the policy's cost to `cost_limit` of its `ppo` settings. So
    it is, unless somebody says otherwise, where annotators are asked which responses are safe.
    """

    model_config = _STRICT

    seed: int = Field(default=0, ge=0, lt=2**31, description="Of everything that is drawn in the round's runs.")
    label_target: int = Field(default=100, ge=0, description="The label step ends with so many.")
    pairs_per_round: int | None = Field(
        default=None, ge=1, description="Tasks to select; null: enough for label_target, and a fifth to spare."
    )
    samples_per_prompt: int = Field(default=4, ge=2, le=64, description="The pairs to judge are chosen among these.")
    generate_prompts: int = Field(default=400, ge=1, description="Drawn from the training prompts.")
    evaluate_prompts: int = Field(default=200, ge=1, description="Drawn from the held-out prompts.")
    harmlessness: bool = Field(
        default=False, description="Train a cost model, and hold the policy's cost to cost_limit of ppo."
    )
    triggers: TriggerSettings = Field(default=TriggerSettings(), title=phrase("What starts the next round"))
    selection: SelectionSettings = Field(default=SelectionSettings(), title=phrase("Which pairs people compare"))
    people: PeopleSettings = Field(default=PeopleSettings(), title=phrase("How far people are believed"))
    judges: JudgeSettings = Field(default=JudgeSettings(), title=phrase("Judges that are models"))
    first_policy_gate: FirstPolicyBounds = Field(default=FirstPolicyBounds(), title=phrase("Gate of the first policy"))
    reward_gate: RewardBounds = Field(default=RewardBounds(), title=phrase("Gate of the reward model"))
    policy_gate: PolicyBounds = Field(default=PolicyBounds(), title=phrase("Gate of the policy"))
    vote_gate: VoteBounds = Field(default=VoteBounds(), title=phrase("Gate by people’s votes"))

    def overridden(self, values: Mapping[str, Any]) -> Self:
        """These settings with `values` on top; stage settings and bounds are merged key by key. Raises Invalid."""
        merged = _merged(self.model_dump(mode="json"), values)
        return validated(type(self), merged, "Round setting")

    @property
    def cost_limit(self) -> float:
        """What the mean cost must not pass; at 0 it says neither safe nor unsafe."""
        return float(self.of_stage("ppo").get("cost_limit", 0.0))

    def of_stage(self, name: str) -> Json:
        """What was chosen for a training stage."""
        chosen: Json = getattr(self, name)
        return chosen

    def pairs_wanted(self, overlap: int) -> int:
        """How many pairs the select step asks for."""
        if self.pairs_per_round is not None:
            return self.pairs_per_round
        places = -(-self.label_target * 6 // 5)
        return max(1, -(-places // overlap))

    def to_json(self) -> Json:
        return self.model_dump(mode="json")


def settings_of(project: Project) -> RoundSettings:
    """What the next round of this project would use."""
    asked = RoundSettings(harmlessness=question_of(project).asks_harm)
    return asked.overridden(project.round_settings)


def settings_of_round(round_: Round) -> RoundSettings:
    """What was settled when the round was started."""
    return RoundSettings.model_validate(round_.settings)


def limit_cost(project: Project, limit: float) -> None:
    """Set the mean cost that rounds and runs from here on may reach where they are given a cost model."""
    ppo = {name: value for name, value in project.round_settings.get("ppo", {}).items() if name != "cost_limit"}
    if limit:
        ppo["cost_limit"] = limit
    if ppo != project.round_settings.get("ppo", {}):
        project.round_settings = {**project.round_settings, "ppo": ppo}


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in top.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged
