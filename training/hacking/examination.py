"""What a new reward model is asked before anybody climbs it: tricks that make no response better, and best of n."""

# K = prompts, N = samples of each, B = responses, R = readers

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.reward import RewardModel
from training.config import RewardConfig
from training.data.batches import draw
from training.data.examples import Example, Pair, Prompt
from training.engines.engine import Sampling
from training.engines.own import OwnEngine
from training.hacking.edits import preferred_over_edits
from training.responses.sampler import Sampler
from training.responses.written import WrittenResponse, written
from training.reward.best_of import best_of_curve
from training.reward.kept_teacher import KeptTeacher
from training.reward.scoring import RewardModelScorer, shared_rewards
from training.reward.second_teacher import SecondTeacher, second_teacher
from training.runtime.seeds import derived_seed

AT_ONCE = 128
"""Responses that are written and scored in one piece of work, at least those of one prompt."""
PROBED = 96
"""Responses that each edit is tried on, at most."""


@dataclass(frozen=True)
class Examination:
    """Figures for the result, and whom the publication is to keep."""

    figures: dict[str, object]
    second: SecondTeacher | None


def pieces_of(config: RewardConfig, prompts: Sequence[Prompt]) -> int:
    """Into how many pieces the work of `examine` falls."""
    chosen = min(config.examined_prompts, len(prompts))
    return -(-chosen // _prompts_at_once(config)) + 1 if chosen else 0


def examine(
    config: RewardConfig,
    policy: LanguageModel,
    reward_model: RewardModel,
    prompts: Sequence[Prompt],
    train: Sequence[Pair],
    samples: Sequence[Example],
    *,
    teacher: KeptTeacher | None = None,
    done: Callable[[], None],
) -> Examination:
    """Have the policy answer `examined_prompts` of the prompts anew. Nothing where the settings ask for none. `done` is
    called after each piece of the work, and may raise.

    Asked is what pays PPO: the teacher, where one stays beside the model, for the student misreads what nobody writes.

    The second reader reads the policy's token ids, so that there is a curve where the reward model reads them too.
    """
    if not config.examined_prompts:
        return Examination({}, None)
    chosen = draw(prompts, start=0, count=min(config.examined_prompts, len(prompts)), seed=config.seed, purpose="exam")
    published = RewardModelScorer(reward_model, policy)
    scorer = published if teacher is None else published.by(teacher, policy)
    second = second_teacher(config, policy, train, samples) if reward_model.reads_ids_of(policy) else None
    readers = [scorer] if second is None else [scorer, scorer.by(second.kept, policy)]
    asked: list[Prompt] = []
    responses: list[WrittenResponse] = []
    told_RB: list[list[Tensor]] = [[] for _ in readers]
    for first in range(0, len(chosen), _prompts_at_once(config)):
        some = _answered(config, policy, chosen[first : first + _prompts_at_once(config)], first)
        for told, reader in zip(told_RB, readers, strict=True):
            told.append(shared_rewards(reader, *some))
        asked += some[0]
        responses += some[1]
        done()
    figures = _probed(scorer, policy, asked, responses)
    done()
    if second is None:
        return Examination(figures, None)
    score_KN, reading_KN = (torch.cat(told).reshape(len(chosen), config.examined_samples) for told in told_RB)
    curve = best_of_curve(score_KN, reading_KN, seed=derived_seed(config.seed, "exam"))
    known = {"second_pairs": second.pairs, "second_accuracy": second.accuracy, "best_of_prompts": len(chosen)}
    return Examination({**figures, **known, **curve.to_json()}, second)


def _prompts_at_once(config: RewardConfig) -> int:
    return max(1, AT_ONCE // config.examined_samples)


def _probed(
    scorer: RewardModelScorer, policy: LanguageModel, asked: Sequence[Prompt], responses: Sequence[WrittenResponse]
) -> dict[str, object]:
    probed = slice(None, None, max(1, len(asked) // PROBED))
    texts = [response.text for response in responses[probed]]
    shares = preferred_over_edits(scorer, policy, asked[probed], texts)
    return {
        "probes": dict(shares),
        "probed_responses": sum(bool(text.strip()) for text in texts),
        "probes_right": sum(shares.values()) / len(shares) if shares else None,
        "probes_worst": min(shares.values()) if shares else None,
    }


def _answered(
    config: RewardConfig, policy: LanguageModel, prompts: Sequence[Prompt], first: int
) -> tuple[list[Prompt], list[WrittenResponse]]:
    """All samples of the first prompt, then those of the next; `first` is how many prompts came before."""
    asked = [prompt for prompt in prompts for _ in range(config.examined_samples)]
    sampled = Sampler(OwnEngine(), policy).sample(
        [prompt.token_ids for prompt in asked],
        Sampling(config.max_new_tokens, config.temperature, batch_size=AT_ONCE),
        seed=derived_seed(config.seed, "exam", first),
    )
    return asked, written(policy, sampled)
