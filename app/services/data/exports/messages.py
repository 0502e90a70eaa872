"""Conversations as other tools have them: lists of {"role", "content"}, or one text."""

from collections.abc import Sequence

from app.db.base import Json

SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def reply(text: str) -> list[Json]:
    """A response, which is a conversation of one turn."""
    return [{"role": "assistant", "content": text}]


def as_text(prompt: Sequence[Json]) -> str:
    """A prompt as one text: what the user says, or all turns under their roles' names, with blank lines between."""
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{str(turn['role']).capitalize()}: {turn['content']}" for turn in prompt)


def transcript(prompt: Sequence[Json], response: str) -> str | None:
    """A conversation as hh-rlhf writes it down, or None for one that it can't hold: with a turn of anybody but Human
    and Assistant, or one that isn't followed by the other's."""
    turns = [*prompt, *reply(response)]
    roles = [turn["role"] for turn in turns]
    expected = ["user", "assistant"] * (len(turns) // 2)
    if roles != expected or any(_hides_a_marker(turn) for turn in turns):
        return None
    return "".join(f"\n\n{SPEAKERS[str(turn['role'])]}: {turn['content']}" for turn in turns)


def _hides_a_marker(turn: Json) -> bool:
    """Whether something in it would be taken for the turn of the other."""
    other = "Assistant" if turn["role"] == "user" else "Human"
    return any(f"{gap}{other}:" in str(turn["content"]) for gap in ("\n\n", "\r\n\r\n"))
