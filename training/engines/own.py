"""Our own decoding, on the weights that learn."""

from collections.abc import Sequence

from models.backbone import LanguageModel
from models.generation import Response, sample_responses
from training.engines.engine import Sampling
from training.runtime.ranks import ranks


class OwnEngine:
    """`models.generation` of a model that is in memory anyway."""

    copies = False
    exact = True

    def __init__(self) -> None:
        self.version: int | None = None
        self._language_model: LanguageModel | None = None

    def load(self, language_model: LanguageModel, version: int) -> None:
        """Takes nothing over: what learns is what samples."""
        self._language_model = language_model
        self.version = version

    def sample(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int) -> list[Response]:
        """What `sample_responses` draws by one seed, up to rounding: each process of a run writes its share; a prompt's
        random numbers are its own."""
        assert self._language_model is not None, "sampled from before there were weights"
        own = sample_responses(
            self._language_model,
            prompts,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            seed=seed,
            batch_size=sampling.batch_size,
            filters=sampling.filters,
            stop=sampling.stop,
            rows=ranks().share(range(len(prompts))),
        )
        return ranks().in_order(own)
