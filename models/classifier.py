"""The class of a sequence classifier for any decoder: the library's, or where it has none, one of the same form."""

from typing import TYPE_CHECKING, Any, cast

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def has_classifier(config: "PreTrainedConfig") -> bool:
    """Whether the library has a classifier of the family, so that other tools open one."""
    return type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def classifier_class(config: "PreTrainedConfig") -> type[PreTrainedModel]:
    """What puts `score`, a linear layer without bias, on the family's trunk and reads it at the last token."""
    if has_classifier(config):
        return cast(type[PreTrainedModel], MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)])
    writes = cast(type[PreTrainedModel], MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])
    family: Any = next(kind for kind in writes.__mro__ if kind.__name__.endswith("PreTrainedModel"))
    name = writes.__name__.removesuffix("ForCausalLM") + "ForSequenceClassification"
    parts = (GenericForSequenceClassification, family)
    return type(name, parts, {"base_model_prefix": family.base_model_prefix})
