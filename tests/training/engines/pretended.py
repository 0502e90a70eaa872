"""What vLLM does, by our own decoding: a model with a copy of the weights that it was handed over."""

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import pytest
from transformers import AutoModelForCausalLM

from models.backbone import LanguageModel
from models.generation import Response
from training.engines.engine import Sampling
from training.engines.own import OwnEngine
from training.engines.weights import whole_weights


class PretendedEngine:
    """`takes` says of a hand-over, counted from 1, whether the weights are really taken over; `off` is added to every
    log-probability."""

    copies = True

    def __init__(self, *, exact: bool = True, takes: Callable[[int], bool] = lambda _: True, off: float = 0.0) -> None:
        self.exact = exact
        self.version: int | None = None
        self.hand_overs = 0
        self._takes = takes
        self._off = off
        self._decoding = OwnEngine()
        self._copy: LanguageModel | None = None

    def load(self, language_model: LanguageModel, version: int) -> None:
        self.version = version
        self.hand_overs += 1
        if self._copy is None:
            plain = AutoModelForCausalLM.from_config(language_model.model.config)  # type: ignore[no-untyped-call]
            plain.eval()
            plain.generation_config = language_model.model.generation_config
            self._copy = replace(language_model, model=plain)
            self._decoding.load(self._copy, version)
        if self._takes(self.hand_overs):
            self._copy.model.load_state_dict(dict(whole_weights(language_model.model)))

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int) -> list[Response]:
        sampled = self._decoding.sample(prompts, sampling, seed=seed)
        return [
            replace(one, log_probabilities=tuple(each + self._off for each in one.log_probabilities)) for one in sampled
        ]


def install(monkeypatch: pytest.MonkeyPatch, engine: PretendedEngine) -> None:
    """Have stages that choose vLLM find it, and get this engine."""
    found = ModuleType("vllm")
    found.__spec__ = importlib.machinery.ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", found)
    monkeypatch.setattr("training.engines.vllm.VllmEngine", lambda *_, **__: engine)
