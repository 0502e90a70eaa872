"""Schemas of single responses and of prompts: for imitation, for KTO, and for sampling."""

from collections.abc import Iterator
from dataclasses import replace

from app.db.base import Json
from app.phrases import phrase
from app.services.data.exports.demonstrations import demonstrations, prompts
from app.services.data.exports.messages import reply
from app.services.data.exports.records import Record
from app.services.data.exports.said import Said, said
from app.services.data.exports.schema import SPLIT, Column, Schema
from app.services.judging.desirable import desirable


def _prompt_and_completion(record: Record) -> Iterator[Json]:
    yield {"prompt": record["prompt"], "completion": reply(record["response"]), "split": "train"}


def _messages(record: Record) -> Iterator[Json]:
    yield {"messages": record["prompt"] + reply(record["response"]), "split": "train"}


def _prompt(record: Record) -> Iterator[Json]:
    yield {"prompt": record["prompt"], "split": record.get("split", "train")}


def _unpaired(one: Said) -> Iterator[Json]:
    # Of single responses, and whether they are good enough, no machine was asked.
    if one.judgement.kind == "machine":
        return
    for response, label in zip(one.responses, desirable(one.judgement), strict=True):
        if label is not None:
            yield {"prompt": one.prompt, "completion": reply(response.text), "label": label, "split": one.split}


PROMPT_COMPLETION = Schema(
    name="prompt-completion",
    title=phrase("Prompt and completion (TRL)"),
    about=phrase("For TRL’s SFT trainer, which learns the completion alone."),
    kinds=("demonstrations",),
    columns=(Column("prompt", "messages"), Column("completion", "messages"), SPLIT),
    read=demonstrations,
    rows=_prompt_and_completion,
)
MESSAGES = replace(
    PROMPT_COMPLETION,
    name="messages",
    title=phrase("Messages (TRL)"),
    about=phrase("Whole conversations, for TRL’s SFT trainer."),
    columns=(Column("messages", "messages"), SPLIT),
    rows=_messages,
)
PROMPTS = Schema(
    name="prompt-only",
    title=phrase("Prompts alone (TRL)"),
    about=phrase("Each prompt once, to sample from."),
    kinds=("preferences", "demonstrations"),
    columns=(Column("prompt", "messages"), SPLIT),
    read=prompts,
    rows=_prompt,
)
UNPAIRED = Schema(
    name="unpaired",
    title=phrase("Single responses, good or not (TRL)"),
    about=phrase(
        "For TRL’s KTO trainer: label is whether a response was called acceptable, else whether it was chosen."
    ),
    kinds=("preferences",),
    columns=(Column("prompt", "messages"), Column("completion", "messages"), Column("label", "truth"), SPLIT),
    read=said,
    rows=_unpaired,
)
