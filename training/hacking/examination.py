"""What a new reward model is asked before anybody climbs it: tricks that make no response better, and best of n."""

# K = prompts, N = samples of each

from collections.abc import Sequence
from dataclasses import dataclass

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

SAMPLES = 64
"""Of each prompt: the largest n."""
PROBED = 96
"""Responses that each edit is tried on, at most."""


@dataclass(frozen=True)
class Examination:
    """Figures for the result, and whom the publication is to keep."""

    figures: dict[str, object]
    second: SecondTeacher | None


def examine(
    config: RewardConfig,
    policy: LanguageModel,
    reward_model: RewardModel,
    prompts: Sequence[Prompt],
    train: Sequence[Pair],
    samples: Sequence[Example],
    *,
    teacher: KeptTeacher | None = None,
) -> Examination:
    """Have the policy answer `examined_prompts` of the prompts anew. Nothing where the settings ask for none.

    Asked is what pays PPO: the teacher, where one stays beside the model, for the student misreads what nobody writes.

    The second reader reads the policy's token ids, so that there is a curve where the reward model reads them too.
    """
    if not config.examined_prompts:
        return Examination({}, None)
    chosen = draw(prompts, start=0, count=min(config.examined_prompts, len(prompts)), seed=config.seed, purpose="exam")
    asked, responses = _answered(config, policy, chosen)
    published = RewardModelScorer(reward_model, policy)
    scorer = published if teacher is None else published.by(teacher, policy)
    step = max(1, len(asked) // PROBED)
    probed = slice(None, None, step)
    texts = [response.text for response in responses[probed]]
    shares = preferred_over_edits(scorer, policy, asked[probed], texts)
    figures: dict[str, object] = {
        "probes": dict(shares),
        "probed_responses": sum(bool(text.strip()) for text in texts),
        "probes_right": sum(shares.values()) / len(shares) if shares else None,
        "probes_worst": min(shares.values()) if shares else None,
    }
    second = second_teacher(config, policy, train, samples) if reward_model.reads_ids_of(policy) else None
    if second is None:
        return Examination(figures, None)
    shape = len(chosen), SAMPLES
    score_KN = shared_rewards(scorer, asked, responses).reshape(shape)
    reading_KN = shared_rewards(scorer.by(second.kept, policy), asked, responses).reshape(shape)
    curve = best_of_curve(score_KN, reading_KN, seed=derived_seed(config.seed, "exam"))
    known = {"second_pairs": second.pairs, "second_accuracy": second.accuracy, "best_of_prompts": len(chosen)}
    return Examination({**figures, **known, **curve.to_json()}, second)


def _answered(
    config: RewardConfig, policy: LanguageModel, prompts: Sequence[Prompt]
) -> tuple[list[Prompt], list[WrittenResponse]]:
    """All samples of the first prompt, then those of the next."""
    asked = [prompt for prompt in prompts for _ in range(SAMPLES)]
    sampled = Sampler(OwnEngine(), policy).sample(
        [prompt.token_ids for prompt in asked],
        Sampling(config.max_new_tokens, config.temperature, batch_size=SAMPLES * 2),
        seed=derived_seed(config.seed, "exam"),
    )
    return asked, written(policy, sampled)
