"""What a reward model starts from: the policy's trunk, or that of another decoder or an encoder."""

from models.backbone import LanguageModel, ModelError, load_language_model
from models.read_out import ReadOut
from models.reward import (
    RewardModel,
    is_encoder,
    reward_model_from_encoder,
    reward_model_from_policy,
)
from training.config import InputError, RewardConfig
from training.runtime.artifact import verify
from training.runtime.device import placed
from training.runtime.seeds import derived_seed


def untrained_reward_model(config: RewardConfig, policy: LanguageModel, read_out: ReadOut | None = None) -> RewardModel:
    """The reward model before training: a trunk under new heads, the same ones every time. Raises `InputError`."""
    seed = derived_seed(config.seed, "head")
    if config.base is None:
        return reward_model_from_policy(policy, seed=seed, read_out=read_out)
    verify(config.base)
    try:
        if is_encoder(config.base):
            made = reward_model_from_encoder(config.base, seed=seed, read_out=read_out)
        else:
            made = reward_model_from_policy(load_language_model(config.base), seed=seed, read_out=read_out)
    except ModelError as error:
        raise InputError(str(error)) from error
    placed(made.model)
    return made
