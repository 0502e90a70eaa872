"""A pool of the starter's own: responses of its SFT policy with their features, topics and gold scores."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from app.services.loop.asking.features import read_tensor
from app.services.selection.arrays import Floats, Truths, Whole
from app.services.starter import DEMONSTRATIONS_PER_PROMPT
from app.starter import gold
from app.starter.prompts import normalised, subjects_by_prompt
from bench.loop_study import Study
from training.records import ResponseRecord

SAMPLES = 8


@dataclass(frozen=True)
class Answered:
    """Prompts with rows of their responses; what gold says of each response is `gold_N`."""

    feature_NF: Floats
    gold_N: Floats
    texts: Sequence[str]
    rows: Sequence[Sequence[int]]
    topics: Sequence[str]
    refusal_P: Truths

    def only(self, prompts: Whole) -> "Answered":
        """The same responses, fewer prompts."""
        return Answered(
            self.feature_NF,
            self.gold_N,
            self.texts,
            [self.rows[prompt] for prompt in prompts],
            [self.topics[prompt] for prompt in prompts],
            self.refusal_P[prompts],
        )

    @cached_property
    def test(self) -> "Test":
        pairs = [
            (a, b, prompt)
            for prompt, rows in enumerate(self.rows)
            for a, b in combinations(rows, 2)
            if abs(self.gold_N[a] - self.gold_N[b]) >= gold.TIE_BELOW
        ]
        a_P, b_P, prompt_P = (np.array(column) for column in zip(*pairs, strict=True))
        return Test(self, a_P, b_P, self.refusal_P[prompt_P])


@dataclass(frozen=True)
class Test:
    """Untied pairs of prompts that nothing learns from."""

    of: Answered
    a_P: Whole
    b_P: Whole
    refusal_P: Truths

    def accuracies(self, theta_F: Floats) -> tuple[float, float, float, float]:
        """Of all pairs, of those of prompts that call for a refusal, of the others; and what best of all samples by
        these scores gains of what it could."""
        score_N = self.of.feature_NF @ theta_F
        right_P = (score_N[self.a_P] > score_N[self.b_P]) == (self.of.gold_N[self.a_P] > self.of.gold_N[self.b_P])
        gains, most = 0.0, 0.0
        for rows in self.of.rows:
            scored, golden = score_N[list(rows)], self.of.gold_N[list(rows)]
            gains += float(golden[int(scored.argmax())] - golden.mean())
            most += float(golden.max() - golden.mean())
        return (
            float(right_P.mean()),
            float(right_P[self.refusal_P].mean()),
            float(right_P[~self.refusal_P].mean()),
            gains / most,
        )


def answered(folder: Path, *, seed: int) -> tuple[Answered, Answered]:
    """The pool of training prompts, and that of held-out prompts. What is there is not made again."""
    study = Study(folder, seed, 0, 0.0, {})
    policy = study.sft(DEMONSTRATIONS_PER_PROMPT)
    texts = {
        **study.samples("active-pool", policy, study.train, SAMPLES, seed + 17),
        **study.samples("active-test", policy, study.held_out, SAMPLES, seed + 18),
    }
    records = [
        ResponseRecord(f"{key}-{number}", key, study.conversation(key), text)
        for key, written in texts.items()
        for number, text in enumerate(written)
    ]
    out = study.stage(
        "active-embed", "embed", {"policy": policy, "responses": study.write("active-responses.jsonl", records)}
    )
    names = {name: row for row, name in enumerate(json.loads((out / "rows.json").read_text()))}
    feature_NF = np.asarray(read_tensor(out / "features.safetensors", "features"))
    kept = [record for record in records if record.response_id in names]
    gold_N = np.array([gold.score(study.prompts[record.prompt_id].text, record.response) for record in kept])

    def of(keys: Sequence[str]) -> Answered:
        rows = [[names[f"{key}-{n}"] for n in range(len(texts[key])) if f"{key}-{n}" in names] for key in keys]
        refusals = np.array([subjects_by_prompt()[normalised(study.prompts[key].text)].refusal_due for key in keys])
        topics = [study.prompts[key].topic for key in keys]
        return Answered(feature_NF, gold_N, [record.response for record in kept], rows, topics, refusals)

    return of(study.train), of(study.held_out)
