"""Responses as points in a model's own space: what a Bayesian head needs to say which comparisons are worth asking for.

A linear preference model on these features learns in milliseconds, so that it can follow every judgement while the
model itself stays as it is.
"""

# B = responses, F = features that a model gives, Q = prompts, D = prompt features, C = features that are written

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import LanguageModel
from training.config import EmbedConfig
from training.data.encoding import encode_responses_to
from training.data.examples import Example
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.records import ResponseRecord
from training.reward.features import EXAMPLES_AT_ONCE, embed, prompt_features
from training.reward.representation import directions, products_of, scale_of
from training.runtime.artifact import lineage_of, write_json, write_tensors
from training.runtime.run import Cancellation, Run

FEATURES = "features.safetensors"
ROWS = "rows.json"


def run(config: EmbedConfig, out: Path, cancellation: Cancellation) -> None:
    """Write `features.safetensors` with `features` (B, C) float32 and `tokens` (B,), each response's length, and
    `rows.json` with the response of each row."""
    lineage = lineage_of(
        "embed", config, {"reward": config.reward, "policy": config.policy}, {"responses": config.responses}
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    model = (
        open_reward_model(config.reward, config)
        if config.reward is not None
        else open_language_model(str(config.policy), config)
    )
    config = run.settle(config, facts_of(model.model))
    records = load(config.responses, ResponseRecord)
    examples, response_ids = encode_responses_to(model, records, max_length=config.max_length)
    checkpoint = run.resume()
    start, parts = (0, []) if checkpoint is None else (checkpoint.step, [checkpoint.tensors["features"]])
    steps = -(-len(examples) // EXAMPLES_AT_ONCE)
    for step in range(start, steps):
        chunk = examples[step * EXAMPLES_AT_ONCE : (step + 1) * EXAMPLES_AT_ONCE]
        parts.append(embed(model, chunk))
        run.metrics.write(step + 1, steps, "embed", {"length": (sum(map(_tokens, chunk)), len(chunk))})
        run.end_of_step(
            step + 1,
            every=config.checkpoint_steps,
            phase="embed",
            state=lambda: ({"features": torch.cat(parts)}, {}),
        )
    feature_BC = torch.cat(parts)
    if isinstance(model, LanguageModel):
        feature_BC = _as_teachers_read(model, examples, feature_BC, config.directions)
    write_tensors(
        out / FEATURES, {"features": feature_BC, "tokens": torch.tensor([_tokens(each) for each in examples])}
    )
    write_json(out / ROWS, response_ids)
    dropped = len(records) - len(examples)
    run.finish({"responses": len(examples), "features": feature_BC.shape[1], "responses_dropped": dropped})


def _as_teachers_read(policy: LanguageModel, examples: Sequence[Example], feature_BF: Tensor, count: int) -> Tensor:
    """(B, C) float32: with the products of prompt and response, scaled, and turned onto `count` directions at most."""
    asked = {example.prompt_ids: example for example in examples}
    place = {prompt_ids: number for number, prompt_ids in enumerate(asked)}
    prompt_QD = prompt_features(policy, list(asked.values()))
    prompt_BD = prompt_QD[[place[example.prompt_ids] for example in examples]]
    standard_BI = products_of(feature_BF, prompt_BD).beside(feature_BF, prompt_BD)
    standard_BI = standard_BI / scale_of(standard_BI)
    return (standard_BI @ directions(standard_BI, [example.prompt_id for example in examples], count)).float()


def _tokens(example: Example) -> int:
    return len(example.response_ids)
