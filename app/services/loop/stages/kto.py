"""KTO: a policy straight from what was said of single responses, with neither pairs nor a reward model between."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.db.tables import Completion, DatasetJudgement, DatasetVersion, Judgement, Prompt, Task, TaskCompletion
from app.phrases import phrase
from app.services.data import datasets
from app.services.data.exports.annotations import pseudonyms
from app.services.judging.desirable import desirable
from app.services.loop.stages.charts import GRADIENT_NORM, PACE
from app.services.loop.stages.dpo import from_judgements
from app.services.loop.stages.figures import Words
from app.services.loop.stages.parts import (
    REFERENCE_CACHE,
    add_candidate,
    dataset_of,
    model_folders,
    required,
    with_config,
)
from app.services.loop.stages.stage import MEMORY, TIME, Button, Chart, Inputs, TrainingStage, Usual, Work
from training.records import Message, PreferenceRecord, Split, UnpairedRecord, read_records

LEAST_WEIGHT = 0.02
"""What weighs less says nothing."""


async def _gather(work: Work) -> Inputs:
    dataset = await dataset_of(work)
    datasets.require_whole(dataset)
    told = await _told(work, dataset)
    responses = required(await _responses(work, dataset, told), "response that was said to be good or bad")
    config = await model_folders(work, "policy", "reference")
    return Inputs({**config, "reference_cache": str(work.home / REFERENCE_CACHE)}, {"responses": responses})


async def _told(work: Work, dataset: DatasetVersion) -> Mapping[str, PreferenceRecord]:
    """Where people are not believed alike, what the version made of each judgement of a pair to train on."""
    if not dataset.settings.get("believed"):
        return {}
    path = datasets.verify(dataset, work.home)
    records = await asyncio.to_thread(read_records, path, PreferenceRecord)
    return {record.source: record for record in records if record.split == "train" and not record.group}


async def _responses(work: Work, dataset: DatasetVersion, told: Mapping[str, PreferenceRecord]) -> list[UnpairedRecord]:
    """What the dataset version's judgements say of each response, in the order of judgements and positions."""
    there = case((Completion.erased_at.is_(None), Completion.text))
    texts = func.array_agg(aggregate_order_by(there, TaskCompletion.position))
    rows = await work.db.execute(
        select(Judgement, Prompt, texts)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .join(Task, Task.id == Judgement.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(TaskCompletion, TaskCompletion.task_id == Task.id)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        # Of single responses, and whether they are good enough, no machine was asked.
        .where(DatasetJudgement.dataset_version_id == dataset.id, Judgement.kind != "machine")
        .group_by(Judgement.id, Prompt.id)
        .order_by(Judgement.id)
    )
    people = dataset.settings.get("believed", {}).get("people", {})
    names = await pseudonyms(work.db, dataset.project_id)
    records = []
    for judgement, prompt, written in rows:
        source = f"{judgement.kind}:{judgement.id}"
        who = names.get(judgement.annotator_id or 0) if prompt.split == "train" else None
        believed = people.get(who, 1.0)
        sides = _sides(judgement, told.get(source), believed)
        for text, side in zip(written, sides, strict=True):
            if text is not None and abs(side) >= LEAST_WEIGHT:
                records.append(_record(prompt, text, side, source))
    return records


def _record(prompt: Prompt, text: str, side: float, source: str) -> UnpairedRecord:
    return UnpairedRecord(
        prompt_id=str(prompt.id),
        prompt=tuple(Message.from_json(message) for message in prompt.messages),
        response=text,
        desirable=side > 0,
        weight=abs(side),
        split=cast(Split, prompt.split),
        source=source,
    )


def _sides(judgement: Judgement, told: PreferenceRecord | None, believed: float) -> Sequence[float]:
    """Of each response how much its being desirable weighs; below 0, its being undesirable.

    A response that is desirable with the probability q adds q (1 - v) + (1 - q) v to KTO's loss, v being the sigmoid of
    its margin: but for a constant, what one adds that is said to be so with the weight 2 q - 1.
    """
    said = [0.0 if is_desirable is None else float(2 * is_desirable - 1) for is_desirable in desirable(judgement)]
    if told is None or judgement.acceptable is not None:
        return [believed * side for side in said]
    first = round((2 * told.preference - 1) * told.weight, 4)
    return [first, -first]


KTO = TrainingStage(
    name="kto",
    title=phrase("KTO"),
    makes="policy",
    by_hand=from_judgements,
    button=Button(
        title=phrase("Run KTO"), about=phrase("a policy from what was said of each response, without a reward model")
    ),
    run_settings=partial(with_config, "kto"),
    gather=_gather,
    take_over=add_candidate,
    usual=(
        Usual("loss", phrase("Loss")),
        Usual("beta", phrase("How close to the reference the policy stays")),
        Usual("epochs", phrase("Passes over the judgements"), TIME),
        Usual("learning_rate", phrase("Learning rate")),
        Usual("lora_rank", phrase("Rank of adapters (0: all weights learn)")),
        Usual("max_length", phrase("Longest prompt with response, in tokens"), MEMORY),
    ),
    charts=(
        Chart("loss", phrase("Loss"), from_zero=True),
        Chart(
            "desirable_margin", phrase("Implicit reward of desirable responses over undesirable ones"), phrase("nats")
        ),
        Chart("desirable_reward", phrase("Implicit reward of desirable responses"), phrase("nats")),
        Chart("undesirable_reward", phrase("Implicit reward of undesirable responses"), phrase("nats")),
        Chart("kl", phrase("KL to the reference"), phrase("nats per response"), from_zero=True),
        Chart(
            "kl_k2",
            phrase("Distance from the reference on these responses"),
            phrase("nats per response"),
            from_zero=True,
        ),
        GRADIENT_NORM,
        *PACE,
    ),
    figures=("steps",),
    own_figures={
        "desirable_margin": Words(phrase("Implicit reward of desirable responses over undesirable ones"), "nats"),
        "train_responses": Words(phrase("Responses trained on"), "count"),
        "train_desirable": Words(phrase("Desirable ones among them"), "count"),
        "validation_responses": Words(phrase("Responses held out"), "count"),
    },
)
