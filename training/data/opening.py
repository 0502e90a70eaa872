"""Models and record files, opened and checked: whatever is wrong with one is an `InputError` in one line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from models.adapter_files import BASE_PLACE, base_of, is_adapter
from models.backbone import LanguageModel, ModelError, load_language_model
from models.choices import QUANTISED, Holding
from models.probe import ProbeReport, probe
from models.reward import RewardModel, load_reward_model
from models.template_settings import set_template
from training.config import InputError
from training.config.by_model import ModelFacts, chosen, settled
from training.config.learning import LearningConfig, held_in, is_sharded
from training.config.sampling import SamplingConfig
from training.memory.shape import folder_of, read_shape
from training.records import PreferenceRecord, Record, Split, read_records
from training.runtime.artifact import kind_of, model_identity, parents_of, placeless, verify
from training.runtime.device import placed
from training.runtime.learning import hold_trunk, parameter_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RecordT = TypeVar("RecordT", bound=Record)
SplitT = TypeVar("SplitT", bound="OfSplit")


class TemplateConfig(Protocol):
    """What settings say of chat templates."""

    @property
    def chat_template_kwargs(self) -> Mapping[str, object]: ...
    @property
    def system_turns(self) -> Literal["template", "fold"]: ...


class OfSplit(Protocol):
    """Any record that says which split its prompt is in."""

    @property
    def prompt_id(self) -> str: ...
    @property
    def split(self) -> Split: ...


def open_language_model(
    location: str, config: TemplateConfig | None = None, *, held: Literal["bfloat16"] | None = None
) -> LanguageModel:
    """A verified policy, on the device. Raises `InputError`, also for a model that was made to judge: with tied
    embeddings it lacks no weight, but it never learnt to write. In what it is `held` (see `load_language_model`) the
    settings say, if nobody does. What these have shared out stays on the host, mapped from its file as far as it can
    be: no device may have room for it."""
    return open_probed(location, config, held=held)[0]


def open_probed(
    location: str, config: TemplateConfig | None = None, *, held: Literal["bfloat16"] | None = None
) -> tuple[LanguageModel, ProbeReport | None]:
    """A policy like `open_language_model`'s, and what was found out about a model that is none of ours: what was
    published here has been tried. Its template gets what the run's `config` says of it."""
    _verify(location)
    kind = kind_of(location)
    if kind not in (None, "policy"):
        raise InputError(f"{location} is a {kind} model, and a policy is needed")
    shared_out = is_sharded(config)
    way = held or ("bfloat16" if shared_out else will_hold(location, config))
    try:
        language_model = load_language_model(location, held=way is not None)
        report = probe(language_model) if kind is None else None
    except ModelError as error:
        raise InputError(str(error)) from error
    write_template(language_model.tokenizer, config)
    if way in QUANTISED:  # before the device would have to hold all of it
        hold_trunk(language_model.model.base_model, way)
    if not shared_out:
        placed(language_model.model)
    return language_model, report


def open_reward_model(
    location: str,
    config: TemplateConfig | None = None,
    *,
    kind: Literal["reward", "cost"] = "reward",
    held: bool = True,
) -> RewardModel:
    """A verified reward or cost model, on the device. Raises `InputError`, also for one of the other kind: what the one
    rewards the other forbids. Since it scores many tokens at once, it costs nothing to have it `held` as its files have
    it."""
    _verify(location)
    if kind_of(location) not in (None, kind):
        raise InputError(f"{location} is a {kind_of(location)} model, and a {kind} model is needed")
    try:
        reward_model = load_reward_model(location, held=held)
    except ModelError as error:
        raise InputError(str(error)) from error
    write_template(reward_model.tokenizer, config)
    placed(reward_model.model)
    return reward_model


def will_hold(location: str, config: object) -> Holding | None:
    """In what settings, those left to the model included, have the model there held; None: in float32."""
    if isinstance(config, SamplingConfig):
        return None if config.weights == "float32" else config.weights
    folder = folder_of(location)
    if folder is None or not isinstance(config, LearningConfig):
        return None
    shape = read_shape(folder)
    if shape is None:
        return None
    config = settled(config, chosen(vars(config), ModelFacts(shape.parameters)))
    return held_in(config.weights, config.lora_rank, parameters=shape.parameters, in_bfloat16=shape.in_bfloat16)


def facts_of(model: "PreTrainedModel", *, was_trained: bool = True) -> ModelFacts:
    """What decides the settings that are left to a model."""
    return ModelFacts(parameter_count(model), was_trained)


def _verify(location: str) -> None:
    """As `verify`, and of adapters their base, too, which must be the one that they were learnt beside."""
    verify(location)
    if not is_adapter(location):
        return
    try:
        base = base_of(location)
    except ValueError as error:
        raise InputError(f"cannot load {location}: {error}") from error
    verify(base)
    parents = parents_of(location)
    # Adapters of an earlier version know a base without a manifest by where it lay.
    identity = model_identity(base)
    if parents is not None and not {identity, placeless(identity)} & set(parents):
        if not Path(base).is_dir():
            raise InputError(
                f"there is no model at {base}, which {location} was learnt beside; a file {BASE_PLACE} in that folder"
                " says where it lies"
            )
        raise InputError(f"{base} is no longer the model that {location} was learnt beside")


def load(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """The records of a file, of which there must be one at least. Raises `InputError`."""
    try:
        records = read_records(path, kind)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
    if not records:
        raise InputError(f"{path} holds no records")
    return records


def parted(records: Sequence[SplitT]) -> tuple[list[SplitT], list[SplitT]]:
    """Training and validation records, of which no prompt is in both. Raises `InputError`."""
    train = [record for record in records if record.split == "train"]
    validation = [record for record in records if record.split == "validation"]
    shared = {record.prompt_id for record in train} & {record.prompt_id for record in validation}
    if shared:
        raise InputError(f"prompt {sorted(shared)[0]} is in both splits: validation would measure memory")
    return train, validation


def load_comparisons(path: Path) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Training and validation pairs of a file, of which no prompt is in both. Raises `InputError`."""
    return parted(load(path, PreferenceRecord))


def write_template(tokenizer: "PreTrainedTokenizerBase", config: TemplateConfig | None) -> None:
    """Give a chat template what the run's settings say of it. Raises `InputError`."""
    if config is None:
        return
    try:
        set_template(tokenizer, config.chat_template_kwargs, fold_system_turns=config.system_turns == "fold")
    except ValueError as error:
        raise InputError(f"chat_template_kwargs: {error}") from error
