"""Schemas of whole comparisons: rankings, and what arenas and HelpSteer read."""

from collections.abc import Iterator, Sequence

from app.db.base import Json
from app.phrases import phrase
from app.services.data.exports.messages import reply
from app.services.data.exports.said import Said, said, said_of_tasks
from app.services.data.exports.schema import SPLIT, Column, Schema

MOST = 3
"""How much better a response of HelpSteer's can be."""
UNSAID = 2
"""Of which nobody said how much: what imports take for it, too."""


def _ranking(one: Said) -> Iterator[Json]:
    ranks = one.judgement.ranks
    if ranks is None:
        preference = one.judgement.preference or 0
        ranks = [1, 1] if not preference else [1, 2] if preference > 0 else [2, 1]
    if len(one.responses) < 2 or not any(ranks):
        return
    yield {
        "prompt": one.prompt,
        "responses": [response.text for response in one.responses],
        "models": [response.model for response in one.responses],
        "ranks": [rank or 0 for rank in ranks],
        "annotator": one.annotator,
        "split": one.split,
    }


def _battle(one: Said) -> Iterator[Json]:
    """Of a pair, in the order in which it was shown."""
    if one.preference is None:
        return
    judgement = one.judgement
    sides = [one.responses[position] for position in judgement.shown_order]
    for_a = one.preference if judgement.shown_order[0] == 0 else -one.preference
    is_bad = judgement.acceptable is not None and not any(said is not False for said in judgement.acceptable)
    tie = "tie (bothbad)" if is_bad else "tie"
    yield {
        "question_id": str(judgement.task_id),
        "model_a": sides[0].model,
        "model_b": sides[1].model,
        "winner": "model_a" if for_a > 0 else "model_b" if for_a < 0 else tie,
        "judge": one.annotator,
        "conversation_a": one.prompt + reply(sides[0].text),
        "conversation_b": one.prompt + reply(sides[1].text),
        "turn": sum(turn["role"] == "user" for turn in one.prompt),
        "anony": True,
        "language": "",
        "tstamp": judgement.submitted_at.timestamp(),
        "split": one.split,
    }


def _helpsteer(task: Sequence[Said]) -> Iterator[Json]:
    said_of_two = [(one, score) for one in task if (score := _score(one)) is not None]
    if not said_of_two:
        return
    first = task[0]
    yield {
        "domain": first.topic,
        "language": "",
        "context": first.prompt,
        "response1": first.responses[0].text,
        "response2": first.responses[1].text,
        "overall_preference": round(sum(score for _, score in said_of_two) / len(said_of_two)),
        "individual_preference": [
            {"score": score, "reasoning": one.judgement.rationale or "", "feedback1": "", "feedback2": ""}
            for one, score in said_of_two
        ],
        "split": first.split,
    }


def _score(one: Said) -> int | None:
    """From -3, the first is much better, to 3."""
    if one.preference is None:
        return None
    judgement = one.judgement
    is_said = judgement.preference is not None and (judgement.kind != "imported" or judgement.strength_said)
    level = min(abs(one.preference), MOST) if is_said else UNSAID * abs(one.preference and 1)
    return -level if one.preference > 0 else level


RANKINGS = Schema(
    name="rankings",
    title=phrase("Rankings"),
    about=phrase("A row for each judgement: all responses, and ranks, of which 1 is best and 0 is unranked."),
    kinds=("preferences",),
    columns=(
        Column("prompt", "messages"),
        Column("responses", "texts"),
        Column("models", "texts"),
        Column("ranks", "integers"),
        Column("annotator", "text"),
        SPLIT,
    ),
    read=said,
    rows=_ranking,
)
ARENA = Schema(
    name="arena",
    title=phrase("Arena battles"),
    about=phrase("model_a, model_b and winner, ties too, as tools for arenas read them."),
    kinds=("preferences",),
    columns=(
        Column("question_id", "text"),
        Column("model_a", "text"),
        Column("model_b", "text"),
        Column("winner", "text"),
        Column("judge", "text"),
        Column("conversation_a", "messages"),
        Column("conversation_b", "messages"),
        Column("turn", "integer"),
        Column("anony", "truth"),
        Column("language", "text"),
        Column("tstamp", "number"),
        SPLIT,
    ),
    read=said,
    rows=_battle,
)
HELPSTEER3 = Schema(
    name="helpsteer3",
    title=phrase("HelpSteer 3"),
    about=phrase("A row for each pair, with the preference of each person from −3 to 3 and their mean."),
    kinds=("preferences",),
    columns=(
        Column("domain", "text"),
        Column("language", "text"),
        Column("context", "messages"),
        Column("response1", "text"),
        Column("response2", "text"),
        Column("overall_preference", "integer"),
        Column("individual_preference", "opinions"),
        SPLIT,
    ),
    read=said_of_tasks,
    rows=_helpsteer,
)
