"""Watches a policy in training for signs of reward hacking: the same prompts, answered and judged at every evaluation.

It only reads: neither a random number nor a weight of the run depends on it, unless an alarm is meant to act.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import LanguageModel
from training.config import InputError, PpoConfig
from training.data.batches import draw
from training.data.examples import Prompt
from training.engines.engine import Sampling
from training.engines.own import OwnEngine
from training.hacking.alarms import Alarm, Detectors, Evaluation
from training.hacking.detectors import Samples
from training.hacking.edits import preferred_over_edits
from training.responses.likelihoods import log_probabilities
from training.responses.sampler import Sampler
from training.responses.written import WrittenResponse, written
from training.reward.scoring import Reward, RewardModelScorer
from training.runtime.artifact import write_json
from training.runtime.metrics import Measures, mean_of
from training.runtime.ranks import ranks
from training.runtime.replicas import together
from training.runtime.seeds import derived_seed

REPORT = "reward_hacking.json"
SAMPLES_PER_PROMPT = 4
"""Rewards and lengths are compared within a prompt, which takes several responses to each."""
BATCH_TOKENS = 1024
"""As many at once at most: the watch's hundreds of responses would else set the run's peak of memory, where training
computes one small minibatch."""
REFERENCE_SAMPLES = 8
"""Half of them say where the reference lies, the others how far out its responses get."""
AUDITED = 20


@dataclass(frozen=True, slots=True)
class Judges:
    """Who else judges the responses: nothing is learnt from them. Gold exists in simulations alone."""

    held_out: Reward | None = None
    gold: Reward | None = None


class Watch:
    """Evaluations of one run, in order. The reference's samples follow from the seed and are not kept."""

    def __init__(
        self,
        config: PpoConfig,
        prompts: Sequence[Prompt],
        folder: Path,
        *,
        policy: LanguageModel,
        reference: LanguageModel,
        reward: Reward,
        judges: Judges,
        sampler: Sampler | None = None,
    ) -> None:
        self._config = config
        self._policy = policy
        self._reference = reference
        self._sampler = sampler or Sampler(OwnEngine(), policy)
        self._reward = reward
        self._judges = judges
        self._folder = folder
        self._prompts = _spread(prompts, max(1, config.detector_responses // SAMPLES_PER_PROMPT), config.seed)
        self._detectors: Detectors | None = None
        self._evaluations: list[Evaluation] = []

    def evaluate(self, iteration: int) -> Measures:
        """Judge samples of the policy after so many iterations, and write the report anew."""
        if self._detectors is None:
            reference, _ = self._sample(Sampler(OwnEngine(), self._reference), REFERENCE_SAMPLES, "reference")
            self._detectors = Detectors(self._config.alarms, reference, max_kl=self._config.max_kl)
        samples, prompts = self._sample(self._sampler, SAMPLES_PER_PROMPT, "policy")
        if not self._sampler.exact:
            samples = replace(samples, engine_gap=self._sampler.gap)
        if self._config.alarms.edits is not None:
            samples = replace(samples, preferred_over_edits=self._preferred_over_edits(prompts, samples))
        evaluation = self._detectors.evaluate(iteration, samples, self._evaluations)
        self._evaluations.append(evaluation)
        audit = {"audited_iteration": iteration, "audit": audited(samples, prompts)}
        write_json(self._folder / REPORT, {**self.summary(), **audit})
        return _measures(evaluation)

    @property
    def acting(self) -> tuple[Alarm, ...]:
        """The newest evaluation's alarms of the detectors that may stop a run."""
        if self._config.on_alarm == "report":
            return ()
        return tuple(alarm for alarm in self._evaluations[-1].alarms if alarm.detector in self._config.acting_alarms)

    def summary(self) -> dict[str, object]:
        """All evaluations, for the report on over-optimisation."""
        return {
            "held_out": self._judges.held_out is not None,
            "gold": self._judges.gold is not None,
            "evaluations": [evaluation.to_json() for evaluation in self._evaluations],
        }

    @property
    def alarms(self) -> int:
        """Detectors that raised an alarm at some time."""
        return len({alarm.detector for evaluation in self._evaluations for alarm in evaluation.alarms})

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Everything that a checkpoint has to hold of it."""
        return tuple(self._evaluations)

    def restore(self, evaluations: Sequence[Evaluation]) -> None:
        """Go on after the `evaluations` of a checkpoint."""
        self._evaluations = list(evaluations)

    def _sample(self, sampler: Sampler, samples_per_prompt: int, role: str) -> tuple[Samples, list[Prompt]]:
        prompts = [prompt for prompt in self._prompts for _ in range(samples_per_prompt)]
        sampled = sampler.sample(
            [prompt.token_ids for prompt in prompts],
            Sampling(self._config.max_new_tokens, self._config.temperature),
            seed=derived_seed(self._config.seed, "detectors", role),
        )
        return self._judged(prompts, written(sampler.language_model, sampled)), prompts

    @torch.no_grad()
    def _judged(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Samples:
        sampled = [response.sampled for response in responses]
        log_probabilities = [probability for response in sampled for probability in response.log_probabilities]
        judges = {"reward": self._reward, "held_out": self._judges.held_out, "gold": self._judges.gold}
        asked: dict[str, Callable[..., Tensor]] = {
            **{name: partial(_asked, judge) for name, judge in judges.items() if judge is not None},
            "kl": self._kl,
            **({"latents": self._latents} if isinstance(self._reward, RewardModelScorer) else {}),
        }

        def say(rows: Sequence[int]) -> list[Tensor]:
            own = [prompts[row] for row in rows], [responses[row] for row in rows]
            return together(*(partial(judge, *own) for judge in asked.values()))

        said = dict(zip(asked, ranks().by_rows(say, len(prompts)), strict=True))
        latent_BD = said.get("latents")
        samples = Samples(
            prompt_ids=[prompt.prompt_id for prompt in prompts],
            texts=[response.text for response in responses],
            token_ids=[response.token_ids for response in sampled],
            ended=[response.ended_with_eos for response in sampled],
            reward_B=said["reward"],
            kl_B=said["kl"],
            entropy=-sum(log_probabilities) / len(log_probabilities),
            held_out_B=said.get("held_out"),
            gold_B=said.get("gold"),
            latent_BD=latent_BD,
            deviation_B=self._deviations(latent_BD),
        )
        for score_B in (samples.reward_B, samples.held_out_B, samples.gold_B):
            if score_B is not None and not bool(torch.isfinite(score_B).all()):
                raise InputError("a reward model gave a score that is not finite")
        return samples

    @torch.no_grad()
    def _preferred_over_edits(self, prompts: Sequence[Prompt], samples: Samples) -> Mapping[str, float]:
        """Of one response to each prompt."""
        texts = samples.texts[::SAMPLES_PER_PROMPT]
        return preferred_over_edits(self._reward, self._policy, prompts[::SAMPLES_PER_PROMPT], texts)

    @torch.no_grad()
    def _kl(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        """(B,) sums of k1."""
        reference_BR = log_probabilities(
            self._reference,
            [prompt.token_ids for prompt in prompts],
            [response.sampled.token_ids for response in responses],
            temperature=self._config.temperature,
            batch_tokens=min(self._config.micro_batch_tokens, BATCH_TOKENS),
            precision="float32",  # whatever the run's: the responses' own are those of sampling
        )
        own_B = torch.tensor([sum(response.sampled.log_probabilities) for response in responses])
        return own_B - reference_BR.sum(-1)

    def _latents(self, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
        """(B, D) what the reward model's heads read."""
        assert isinstance(self._reward, RewardModelScorer)
        return self._reward.latents(prompts, responses)

    def _deviations(self, latent_BD: Tensor | None) -> Tensor | None:
        """(B,) how far the members of an ensemble disagree; None of a rule, and of a single head."""
        if latent_BD is None or not isinstance(self._reward, RewardModelScorer):
            return None
        score_BM = self._reward.by_member(latent_BD)
        return score_BM.std(-1) if score_BM.shape[-1] > 1 else None


def audited(samples: Samples, prompts: Sequence[Prompt]) -> dict[str, list[dict[str, object]]]:
    """Responses for people to look at: what earns most, and what earns most beyond the held-out reward model."""
    lists = {"reward": samples.reward_B}
    if samples.held_out_B is not None:
        lists["beyond_held_out"] = _standardised(samples.reward_B) - _standardised(samples.held_out_B)
    return {
        name: [_row(samples, prompts, row) for row in value_B.argsort(descending=True, stable=True)[:AUDITED].tolist()]
        for name, value_B in lists.items()
    }


def _row(samples: Samples, prompts: Sequence[Prompt], row: int) -> dict[str, object]:
    return {
        "prompt_id": samples.prompt_ids[row],
        "prompt": prompts[row].conversation[-1].content,
        "response": samples.texts[row],
        "reward": float(samples.reward_B[row]),
        "held_out": None if samples.held_out_B is None else float(samples.held_out_B[row]),
    }


def _standardised(values_B: Tensor) -> Tensor:
    return (values_B - values_B.mean()) / values_B.std(correction=0).clamp(min=1e-6)


def _spread(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """As many different ones as there are, in an order of their own."""
    return draw(prompts, start=0, count=min(count, len(prompts)), seed=seed, purpose="detectors")


def _asked(judge: Reward, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    return judge(prompts, responses).float()


def _measures(evaluation: Evaluation) -> Measures:
    gains = {
        "watched_reward_gain": evaluation.reward_gain,
        "watched_held_out_gain": evaluation.held_out_gain,
        "watched_gold_gain": evaluation.gold_gain,
        **{f"watched_{name}": value for name, value in evaluation.figures.items()},
        "alarms": float(len(evaluation.alarms)),
    }
    return {name: mean_of(value) for name, value in gains.items() if value is not None}
