"""Do rounds add up: a policy after each of several rounds, as its run made it and as it is published.

    python -m bench.rounds --folder DIR --seeds 0 1 2 [--drawn 3] [--rounds 3] [--labels 400] [--samples 12]

A round asks `--labels` judgements of pairs that the policy in use wrote, one in ten turned, learns a reward model of
all judgements so far and runs PPO from the SFT policy, with the starter's settings. From the second round on what is
published is the mean of that run's weights and of those in use. Measured on held-out prompts: gold win rate against
the SFT policy and against the policy that was in use before, KL to SFT in nats a response, length. `--drawn` adds
seeds that nobody chose. What is finished is not run again in the same folder. Prints a line a policy and, last, one
JSON object.
"""

import argparse
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from app.services.starter import DEMONSTRATIONS_PER_PROMPT
from app.simulation.comparison import mean_interval
from bench.frontier import Answers, Ground
from bench.loop_study import Study
from models.backbone import LanguageModel
from models.lora import learnt_weights, set_learnt_weights
from training.data.opening import open_language_model
from training.runtime.replicas import use_threads

NOISE = 0.1
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class After:
    """A policy after `round`. `beats_before` is its gold win rate against the policy that was in use until then."""

    seed: int
    round: int
    is_published: bool
    win_rate: float
    interval: tuple[float, float]
    beats_before: float | None
    beats_before_interval: tuple[float, float] | None
    kl: float
    length_ratio: float

    def __str__(self) -> str:
        low, high = self.interval
        what = "published" if self.is_published else "run alone"
        line = (
            f"seed {self.seed:<7} round {self.round} {what}: gold {self.win_rate:.3f} [{low:.3f}, {high:.3f}], "
            f"KL {self.kl:.2f}, length x {self.length_ratio:.2f}"
        )
        if self.beats_before is None or self.beats_before_interval is None:
            return line
        low, high = self.beats_before_interval
        return f"{line}, beats the one before {self.beats_before:.3f} [{low:.3f}, {high:.3f}]"


class Chain:
    """The rounds of one seed, and what their policies are measured by."""

    def __init__(self, study: Study, samples: int) -> None:
        self._study = study
        self._samples = samples
        self._sft = study.sft(DEMONSTRATIONS_PER_PROMPT)
        self._rows = study.label("labels-1", self._sft)
        study.reward("reward-1", self._sft, self._rows, study.seed)
        self._ground = Ground(study)
        self._ground.theirs = self._ground.answers(self._ground.reference, study.seed + 2000, samples)
        self._writer: LanguageModel = open_language_model(str(self._sft))

    def after(self, rounds: int) -> Iterator[After]:
        study = self._study
        in_use = study.ppo("ppo-1", self._sft, study.folder / "reward-1" / "artifact", study.seed)
        weights = _weights(in_use)
        answers = self._answers(weights)
        yield self._measured(1, answers, None)
        for number in range(2, rounds + 1):
            self._rows = self._rows + study.label(f"labels-{number}", in_use)
            seed = study.seed + number - 1
            reward = study.reward(f"reward-{number}", self._sft, self._rows, seed)
            published = study.ppo(f"ppo-{number}", self._sft, reward, seed, averaged=in_use)
            mean = _weights(published)
            # The mean has half of each: what the run made is as far beyond it as the one in use is behind.
            alone = {name: 2 * weight - weights[name] for name, weight in mean.items()}
            yield self._measured(number, self._answers(alone), answers, is_published=False)
            before, answers = answers, self._answers(mean)
            yield self._measured(number, answers, before)
            in_use, weights = published, mean

    def _answers(self, weights: Weights) -> Answers:
        set_learnt_weights(self._writer.model, weights)
        return self._ground.answers(self._writer, self._study.seed + 1000, self._samples)

    def _measured(self, number: int, ours: Answers, before: Answers | None, *, is_published: bool = True) -> After:
        point = self._ground.point("learned", "rounds", number, 0.0, ours)
        duel = self._study.gold_rate(_lists(ours), _lists(before)) if before is not None else None
        return After(
            self._study.seed,
            number,
            is_published,
            point.win_rate,
            point.interval,
            duel.rate if duel else None,
            duel.interval if duel else None,
            point.kl,
            point.length_ratio,
        )


def _weights(artifact: Path) -> Weights:
    return {name: weight.clone() for name, weight in learnt_weights(open_language_model(str(artifact)).model).items()}


def _lists(answers: Answers) -> dict[str, list[str]]:
    return {prompt: list(texts) for prompt, texts in answers.texts.items()}


def in_the_mean(found: list[After]) -> list[str]:
    """Over the seeds, by round: the win rate of what is published, and how often it beats the one before."""
    lines = []
    for number in sorted({one.round for one in found}):
        published = [one for one in found if one.round == number and one.is_published]
        line = f"round {number}: gold {_mean([(str(one.seed), one.win_rate) for one in published])}"
        beaten = [(str(one.seed), one.beats_before) for one in published if one.beats_before is not None]
        lines.append(f"{line}, beats the one before {_mean(beaten)}" if beaten else line)
    return lines


def _mean(of_seeds: list[tuple[str, float]]) -> str:
    low, high = mean_interval(of_seeds, seed=0)
    return f"{sum(rate for _, rate in of_seeds) / len(of_seeds):.3f} [{low:.3f}, {high:.3f}] over {len(of_seeds)} seeds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--samples", type=int, default=12)
    asked = parser.parse_args()
    use_threads(1)
    found = []
    for seed in [*asked.seeds, *(secrets.randbelow(1_000_000) for _ in range(asked.drawn))]:
        for one in Chain(Study(asked.folder, seed, asked.labels, NOISE, {}), asked.samples).after(asked.rounds):
            print(one, flush=True)
            found.append(one)
    for line in in_the_mean(found):
        print(line)
    print(json.dumps({"policies": [asdict(one) for one in found]}))


if __name__ == "__main__":
    main()
