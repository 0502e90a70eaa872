"""What a model has read of responses, and judgements that follow from it: by a hidden direction, and some in error."""

import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, ModelVersion, Project, Prompt, Task, TaskCompletion, User
from tests.browser.seed.judgements import make_judgement
from tests.browser.seed.runs import make_run

FEATURES = 12
SAMPLES = 5
TOPICS = ("cooking", "money", "refusals", "travel")
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


async def make_read(
    db: AsyncSession,
    project: Project,
    people: Sequence[User],
    home: Path,
    policies: Sequence[ModelVersion],
    *,
    labels: int,
    random_share: float = 0.4,
    turned_after: int | None = None,
    seed: int = 3,
) -> list[int]:
    """Prompts on four topics that all `policies` have answered, later ones better; `labels` judgements on the first
    policy's, whose ids it returns, by what they prefer, and after `turned_after` by the opposite. Committed by nobody.
    """
    rng = np.random.default_rng(seed)
    liked = rng.standard_normal(FEATURES)
    liked *= 2.5 / np.linalg.norm(liked)
    prompts = [_prompt(project, place) for place in range(labels)]
    db.add_all(prompts)
    await db.flush()
    rows: list[int] = []
    features: list[Floats] = []
    for better, policy in enumerate(policies):
        written = [_completion(prompt, policy, sample) for prompt in prompts for sample in range(SAMPLES)]
        db.add_all(written)
        await db.flush()
        rows += [completion.id for completion in written]
        features.append(rng.standard_normal((len(written), FEATURES)) + better * liked / 4)
    await _embedded(db, project, home, rows, np.vstack(features))
    before = datetime.now(UTC) - timedelta(hours=2)
    for place, prompt in enumerate(prompts):
        pair = [SAMPLES * place, SAMPLES * place + 1]
        lead = float((features[0][pair[0]] - features[0][pair[1]]) @ liked)
        lead = -lead if turned_after is not None and place >= turned_after else lead
        is_first = rng.random() < 0.05 + 0.9 / (1 + np.exp(-lead))
        slice_ = "random" if rng.random() < random_share else "chosen"
        task = await _task(db, project, prompt, [rows[row] for row in pair], slice_)
        at = before + timedelta(seconds=place)
        await make_judgement(db, task, people[place % len(people)], 2 if is_first else 6, at, active_ms=5_000)
    await db.flush()
    return rows


def _prompt(project: Project, place: int) -> Prompt:
    return Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": f"Question {place}?"}],
        digest=(2**200 + place).to_bytes(32, "big"),
        split="train",
        topic=TOPICS[place % len(TOPICS)],
        source="imported",
    )


def _completion(prompt: Prompt, policy: ModelVersion, sample: int) -> Completion:
    text = f"Answer {sample} of policy {policy.number}."
    return Completion(prompt_id=prompt.id, text=text, source="policy", model_version_id=policy.id, sample=sample)


async def _task(db: AsyncSession, project: Project, prompt: Prompt, completions: Sequence[int], slice_: str) -> Task:
    task = Task(
        project_id=project.id,
        prompt_id=prompt.id,
        quota=1,
        taken=1,
        judged=1,
        state="closed",
        selection={
            "slice": slice_,
            "rule": "uniform" if slice_ == "random" else "thompson_d_optimal",
            "propensity": 0.5 if slice_ == "random" else None,
        },
    )
    db.add(task)
    await db.flush()
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion_id)
        for position, completion_id in enumerate(completions)
    )
    return task


async def _embedded(
    db: AsyncSession, project: Project, home: Path, completion_ids: Sequence[int], features: Floats
) -> None:
    run = await make_run(db, project, "embed", hours=1, minutes=0.1)
    folder = home / str(run.folder)
    folder.mkdir(parents=True)
    stored = features.astype(np.float16)
    told = {"dtype": "F16", "shape": list(stored.shape), "data_offsets": [0, stored.nbytes]}
    header = json.dumps({"features": told}).encode()
    (folder / "features.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + stored.tobytes())
    (folder / "rows.json").write_text(json.dumps([str(key) for key in completion_ids]))
