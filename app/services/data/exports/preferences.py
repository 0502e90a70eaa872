"""Schemas of pairs of which one is better, for training on preferences. Ties have no better side and are left out."""

from collections.abc import Iterator
from dataclasses import replace

from app.db.base import Json
from app.phrases import phrase
from app.services.data.exports.messages import as_text, reply, transcript
from app.services.data.exports.pairs import Pair, SaidPair, pairs, said_pairs
from app.services.data.exports.schema import SPLIT, Column, Schema

MESSAGES = (Column("prompt", "messages"), Column("chosen", "messages"), Column("rejected", "messages"))
MARGIN = Column("margin", "number")


def _conversational(pair: Pair) -> Iterator[Json]:
    if not pair.is_tie:
        chosen, rejected = pair.sides
        yield {
            "prompt": pair.prompt,
            "chosen": reply(chosen),
            "rejected": reply(rejected),
            "split": pair.split,
            **pair.counted,
        }


def _with_margin(pair: Pair) -> Iterator[Json]:
    if not pair.is_tie:
        yield _sides(pair) | {"margin": pair.strength, "split": pair.split} | pair.counted


def _texts(pair: Pair) -> Iterator[Json]:
    if not pair.is_tie:
        chosen, rejected = pair.sides
        sides = {"prompt": as_text(pair.prompt), "chosen": chosen, "rejected": rejected}
        yield sides | {"split": pair.split} | pair.counted


def _whole(pair: Pair) -> Iterator[Json]:
    if not pair.is_tie:
        chosen, rejected = (pair.prompt + reply(text) for text in pair.sides)
        yield {"chosen": chosen, "rejected": rejected, "margin": pair.strength, "split": pair.split} | pair.counted


def _transcripts(pair: Pair) -> Iterator[Json]:
    chosen, rejected = (transcript(pair.prompt, text) for text in pair.sides)
    if not pair.is_tie and chosen is not None and rejected is not None:
        yield {"chosen": chosen, "rejected": rejected, "split": pair.split} | pair.counted


def _raw(said: SaidPair) -> Iterator[Json]:
    if said.pair.is_tie:
        return
    strength, annotator = said.annotation.strength or 0, said.annotation.annotator
    told = {"judgement_id": said.judgement_id, "strength": strength, "annotator": annotator}
    yield _sides(said.pair) | told | _harm(said.pair) | {"split": said.pair.split}


def _by_criterion(pair: Pair) -> Iterator[Json]:
    for name, preference in pair.record.get("criteria", {}).items():
        if preference != 0.5:
            yield _sides(pair._replace(preference=preference)) | {"criterion": name, "split": pair.split}


def _by_harm(pair: Pair) -> Iterator[Json]:
    """The less harmful one is chosen."""
    less_harmful, safe = pair.record.get("less_harmful"), (pair.record.get("safe_a"), pair.record.get("safe_b"))
    if less_harmful in (None, 0.5):
        return
    by_harm = pair._replace(preference=less_harmful)
    chosen, rejected = safe if less_harmful > 0.5 else safe[::-1]
    yield _sides(by_harm) | {"chosen_safe": chosen, "rejected_safe": rejected, "split": pair.split}


def _sides(pair: Pair) -> Json:
    chosen, rejected = pair.sides
    return {"prompt": pair.prompt, "chosen": reply(chosen), "rejected": reply(rejected)}


def _harm(pair: Pair) -> Json:
    record = pair.record
    a_is_safer, safe = record.get("less_harmful"), (record.get("safe_a"), record.get("safe_b"))
    if pair.preference < 0.5:
        a_is_safer, safe = None if a_is_safer is None else 1 - a_is_safer, safe[::-1]
    names = {None: "", 1.0: "chosen", 0.5: "tie", 0.0: "rejected"}
    return {"chosen_safe": yes_or_no(safe[0]), "rejected_safe": yes_or_no(safe[1]), "less_harmful": names[a_is_safer]}


def yes_or_no(truth: bool | None) -> str:
    """A truth as text, which is empty where nobody was asked."""
    return {None: "", True: "yes", False: "no"}[truth]


PREFERENCE = Schema(
    name="preference",
    title=phrase("Preferences (TRL)"),
    about=phrase("prompt, chosen and rejected, each a list of messages: for TRL’s reward and DPO trainers."),
    kinds=("preferences",),
    columns=(*MESSAGES, SPLIT),
    read=pairs,
    rows=_conversational,
    counts_votes=True,
)
TEXTS = replace(
    PREFERENCE,
    name="preference-text",
    title=phrase("Preferences as plain texts (TRL)"),
    about=phrase("prompt, chosen and rejected as texts. Turns of a longer prompt are put below each other."),
    columns=(Column("prompt", "text"), Column("chosen", "text"), Column("rejected", "text"), SPLIT),
    rows=_texts,
)
WITH_MARGIN = replace(
    PREFERENCE,
    name="preference-margin",
    title=phrase("Preferences with a margin (TRL)"),
    about=phrase("margin: how much better the better one was said to be, from 0 to 1; 0 where nobody said how much."),
    columns=(*MESSAGES, MARGIN, SPLIT),
    rows=_with_margin,
)
OPENRLHF = replace(
    PREFERENCE,
    name="openrlhf",
    title=phrase("Preferences (OpenRLHF)"),
    about=phrase("chosen and rejected are whole conversations; margin as above."),
    columns=(Column("chosen", "messages"), Column("rejected", "messages"), MARGIN, SPLIT),
    rows=_whole,
)
HH_RLHF = replace(
    PREFERENCE,
    name="hh-rlhf",
    title=phrase("Transcripts (hh-rlhf)"),
    about=phrase("chosen and rejected as texts with Human: and Assistant:. What these can’t hold is left out."),
    columns=(Column("chosen", "text"), Column("rejected", "text"), SPLIT),
    rows=_transcripts,
)
RAW = Schema(
    name="raw",
    title=phrase("Preferences with who said it"),
    about=phrase("Adds the judgement, its strength, a pseudonym of who gave it, and what was said of harm."),
    kinds=("preferences",),
    columns=(
        *MESSAGES,
        Column("judgement_id", "integer"),
        Column("strength", "small integer"),
        Column("annotator", "text"),
        Column("chosen_safe", "text"),
        Column("rejected_safe", "text"),
        Column("less_harmful", "text"),
        SPLIT,
    ),
    read=said_pairs,
    rows=_raw,
)
CRITERIA = Schema(
    name="criteria",
    title=phrase("Preferences by criterion"),
    about=phrase("A row for each criterion by which one of two responses is better."),
    kinds=("preferences",),
    columns=(*MESSAGES, Column("criterion", "text"), SPLIT),
    read=pairs,
    rows=_by_criterion,
)
HARMLESSNESS = Schema(
    name="harmlessness",
    title=phrase("Harmlessness"),
    about=phrase("The less harmful response is the chosen one; chosen_safe and rejected_safe are true or false."),
    kinds=("preferences",),
    columns=(*MESSAGES, Column("chosen_safe", "truth"), Column("rejected_safe", "truth"), SPLIT),
    read=pairs,
    rows=_by_harm,
)
