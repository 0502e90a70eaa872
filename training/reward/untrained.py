"""What a reward model starts from: the policy's trunk, or that of another decoder or an encoder."""

from models.backbone import LanguageModel, ModelError, load_language_model
from models.choices import QUANTISED
from models.probe import probe
from models.read_out import ReadOut
from models.reward import (
    RewardModel,
    is_encoder,
    reward_model_from_encoder,
    reward_model_from_policy,
)
from training.config import InputError, RewardConfig
from training.data.opening import will_hold, write_template
from training.runtime.artifact import kind_of, verify
from training.runtime.device import placed
from training.runtime.learning import hold_trunk, prepare
from training.runtime.replicas import replica
from training.runtime.seeds import derived_seed


def untrained_reward_model(config: RewardConfig, policy: LanguageModel, read_out: ReadOut | None = None) -> RewardModel:
    """The reward model before training: a trunk under new heads, the same ones every time. Raises `InputError`.

    Beside adapters the policy's own trunk stays as it is, and the two models share it.
    """
    seed = derived_seed(config.seed, "head")
    if config.base is None:
        trunk = replica(policy.model.base_model) if config.lora_rank else None
        return reward_model_from_policy(policy, seed=seed, read_out=read_out, trunk=trunk)
    verify(config.base)
    try:
        if is_encoder(config.base):
            made = reward_model_from_encoder(config.base, seed=seed, read_out=read_out)
        else:
            way = will_hold(config.base, config)
            base = load_language_model(config.base, held=way is not None)
            if kind_of(config.base) is None:
                probe(base)
            write_template(base.tokenizer, config)
            if way in QUANTISED:
                hold_trunk(base.model.base_model, way)
            made = reward_model_from_policy(base, seed=seed, read_out=read_out, trunk=base.model.base_model)
    except ModelError as error:
        raise InputError(str(error)) from error
    placed(made.model)
    return made


def adapt_reward_model(reward_model: RewardModel, config: RewardConfig) -> None:
    """Give the trunk the adapters that the settings ask for. What stands on it was never trained and learns in full."""
    prepare(reward_model.model, config)
    of_trunk = {id(parameter) for parameter in reward_model.model.base_model.parameters()}
    for parameter in reward_model.model.parameters():
        if id(parameter) not in of_trunk:
            parameter.requires_grad_(True)
