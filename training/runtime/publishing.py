"""What a model that has learnt is published as: a plain model, or the adapters beside its base."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from models.adapter_files import is_adapter, save_adapters
from models.backbone import LanguageModel, load_language_model
from models.holding import is_quantised, restore
from models.lora import merge_adapters
from models.placement import HOST
from models.reward import RewardModel, is_encoder, reward_model_from_encoder, save_reward_model
from models.saving import round_weights, save_language_model
from training.config import InputError
from training.config.learning import LearningConfig
from training.runtime.artifact import MANIFEST
from training.runtime.replicas import replica

LearntT = TypeVar("LearntT", LanguageModel, RewardModel)


def require_publishable(config: LearningConfig, base: str | None) -> None:
    """Raises `InputError` where adapters are to be published that nobody could open."""
    if config.publish_as == "merged":
        return
    if not config.lora_rank or base is None:
        raise InputError("publish_as: an adapter needs lora_rank and a model to stand beside")
    if is_adapter(base):
        raise InputError(f"publish_as: {base} is an adapter itself, and none stands on another; publish it merged")


def require_one_linear_head(config: LearningConfig, reward_model: RewardModel) -> None:
    """Raises `InputError` for reward models that an adapter can't hold."""
    if config.publish_as == "adapter" and (reward_model.is_encoder or reward_model.read_out.heads > 1):
        raise InputError("publish_as: an adapter holds one head on a decoder; publish this reward model merged")


def finish(learnt: LanguageModel | RewardModel, config: LearningConfig, base: str | None) -> None:
    """Make a model that has learnt what it will be once it is published: where that isn't adapters, a plain one with
    values that its file has. Products are added to the weights of the `base` that it began as, which it may have been
    held near."""
    if config.publish_as == "merged":
        restore_weights(learnt, base)
        merge_adapters(learnt.model)
        round_published(learnt)


def round_published(learnt: LanguageModel | RewardModel) -> None:
    """Give a plain model the values that its file will have."""
    round_weights(learnt.model if isinstance(learnt, LanguageModel) else learnt.model.base_model, learnt.dtype)


def whole(learnt: LearntT, base: str | None) -> LearntT:
    """A model that was not trained yet as it can be written, itself where nothing of it is quantised; else one on the
    host, which a device needn't hold."""
    if not is_quantised(learnt.model):
        return learnt
    model = replica(learnt.model)
    model._apply(lambda tensor: tensor.to(HOST))
    copied = replace(learnt, model=model)
    restore_weights(copied, base)
    return copied


def restore_weights(model: LanguageModel | RewardModel, base: str | None) -> None:
    """Give layers that are quantised the weights of the model at `base` back, which they were made of."""
    if base is None or not is_quantised(model.model):
        return
    if is_encoder(base):
        stored = reward_model_from_encoder(base, seed=0).model
    else:
        stored = load_language_model(base, held=True).model
    restore(model.model.base_model, stored.base_model)


def writer_of(
    learnt: LanguageModel | RewardModel,
    config: LearningConfig,
    base: str | None,
    weights: dict[str, Tensor] | None = None,
) -> Callable[[Path], None]:
    """What writes the model into a folder, a policy with these weights if there are any; `base` is the location of the
    one that it began as."""

    def write(folder: Path) -> None:
        if config.publish_as == "adapter":
            _save_adapters(learnt, folder, str(base))
        elif isinstance(learnt, LanguageModel):
            save_language_model(learnt, folder, weights)
        else:
            save_reward_model(learnt, folder)

    return write


def _save_adapters(learnt: LanguageModel | RewardModel, folder: Path, base: str) -> None:
    name, place = _named(folder, base)
    if isinstance(learnt, LanguageModel):
        save_adapters(learnt.model, folder, base=name, lies_at=place, task="CAUSAL_LM")
    else:
        head = {f"{learnt.head_name}.{name}": weight for name, weight in learnt.head.named_parameters()}
        save_adapters(learnt.model, folder, base=name, lies_at=place, task="SEQ_CLS", learnt_in_full=head)
    learnt.tokenizer.save_pretrained(folder)


def _named(folder: Path, base: str) -> tuple[str, str | None]:
    """What a model is called beside its adapters, and where it lies if that doesn't say it.

    One that was published here is called by its place beside `folder`, which is moved with it and stays as deep: the
    application keeps models/PROJECT/NAME where a run has runs/ID/artifact. Another directory is called by its own name:
    what leads to it on this machine concerns nobody elsewhere.
    """
    if not Path(base).is_dir():
        return base, None
    if (Path(base) / MANIFEST).is_file():
        return os.path.relpath(base, folder), None
    place = Path(base).resolve()
    return place.name, str(place)
