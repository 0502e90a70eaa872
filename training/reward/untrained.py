"""What a reward model starts from: the policy's trunk, or that of another decoder or an encoder."""

from models.backbone import LanguageModel, ModelError, load_language_model
from models.probe import probe
from models.read_out import ReadOut
from models.reward import (
    RewardModel,
    is_encoder,
    reward_model_from_encoder,
    reward_model_from_policy,
)
from training.config import InputError, RewardConfig
from training.data.opening import write_template
from training.runtime.artifact import kind_of, verify
from training.runtime.seeds import derived_seed


def untrained_reward_model(config: RewardConfig, policy: LanguageModel, read_out: ReadOut | None = None) -> RewardModel:
    """The reward model before training: a trunk under new heads, the same ones every time. Raises `InputError`."""
    seed = derived_seed(config.seed, "head")
    if config.base is None:
        return reward_model_from_policy(policy, seed=seed, read_out=read_out)
    verify(config.base)
    try:
        if is_encoder(config.base):
            return reward_model_from_encoder(config.base, seed=seed, read_out=read_out)
        base = load_language_model(config.base)
        if kind_of(config.base) is None:
            probe(base)
        write_template(base.tokenizer, config)
        return reward_model_from_policy(base, seed=seed, read_out=read_out)
    except ModelError as error:
        raise InputError(str(error)) from error
