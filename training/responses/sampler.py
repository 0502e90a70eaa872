"""A model that writes by an engine: what the engine samples from is what the model has learnt, or the run ends."""

# B = batch, R = response tokens

import itertools
from collections.abc import Sequence

from models.backbone import LanguageModel
from models.generation import Response
from training.config import InputError
from training.config.values import Precision
from training.engines.engine import Engine, Sampling
from training.responses.likelihoods import log_probabilities

STALE = 1e-3
"""Nats, or a ratio's distance from 1: an exact engine that is further off samples from other weights."""
_FAR = 0.3
"""Nats that half precision is off at most; other weights are off by more."""
_PROBED_PROMPTS = 4
_PROBED_TOKENS = 8
_BATCH_TOKENS = 4096

_versions = itertools.count(1)


class Sampler:
    """Hands the model's weights over whenever they have changed, before it samples.

    `gap` is how far an engine that isn't exact was from the model, in nats of a token, when it sampled last: its
    log-probabilities are then replaced by the model's own.
    """

    def __init__(
        self, engine: Engine, language_model: LanguageModel, *, probed: bool = True, rescored: bool = True
    ) -> None:
        """`probed` compares a few log-probabilities after each hand-over, for stages that learn nothing by which a
        stale engine would show; one that uses no log-probabilities need not have them `rescored`."""
        self._engine = engine
        self.language_model = language_model
        self._probed = probed and engine.copies
        self._rescored = rescored and not engine.exact
        self._version = next(_versions)
        self.gap: float | None = None

    @property
    def exact(self) -> bool:
        return self._engine.exact

    @property
    def copies(self) -> bool:
        return self._engine.copies

    def moved(self) -> None:
        """The model has other weights from here on."""
        self._version = next(_versions)

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        precision: Precision = "float32",
    ) -> list[Response]:
        """One response per prompt. `precision` is that of the products in which they are scored, where that has to be
        done. Raises `InputError` where the engine doesn't confirm the weights."""
        if self._engine.version != self._version:
            self._hand_over(prompts, sampling.temperature)
        sampled = self._engine.sample(prompts, sampling, seed=seed)
        return self._own(prompts, sampled, sampling.temperature, precision) if self._rescored else sampled

    def _hand_over(self, prompts: Sequence[Sequence[int]], temperature: float) -> None:
        self._engine.load(self.language_model, self._version)
        if self._engine.version != self._version:
            raise InputError("engine: it didn't confirm the weights that it was given; choose own")
        if self._probed:
            self._probe(prompts[:_PROBED_PROMPTS], temperature)

    def _probe(self, prompts: Sequence[Sequence[int]], temperature: float) -> None:
        sampled = self._engine.sample(prompts, Sampling(_PROBED_TOKENS, temperature), seed=0)
        self._own(prompts, sampled, temperature, "float32")
        assert self.gap is not None
        if not self.gap <= (STALE if self._engine.exact else _FAR):
            raise InputError(
                f"engine: what it says of its tokens is {self.gap:.2g} nats from what the model says: it samples from "
                "other weights, or computes otherwise; choose own"
            )

    def _own(
        self, prompts: Sequence[Sequence[int]], sampled: Sequence[Response], temperature: float, precision: Precision
    ) -> list[Response]:
        """The responses with the model's own log-probabilities."""
        own_BR = log_probabilities(
            self.language_model,
            prompts,
            [response.token_ids for response in sampled],
            temperature=temperature,
            batch_tokens=_BATCH_TOKENS,
            precision=precision,
        )
        own = [tuple(row[: len(one.token_ids)]) for row, one in zip(own_BR.tolist(), sampled, strict=True)]
        off = [
            abs(ours - theirs)
            for row, response in zip(own, sampled, strict=True)
            for ours, theirs in zip(row, response.log_probabilities, strict=True)
        ]
        self.gap = sum(off) / len(off)
        return [
            Response(response.token_ids, row, response.ended_with_eos)
            for row, response in zip(own, sampled, strict=True)
        ]
