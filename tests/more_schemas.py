"""A schema that tests put into the table of exports: whatever offers what is there has to offer this one, too."""

from collections.abc import Iterator

import pytest

# Loaded here because what the command line lists is settled when it is: no other test is to see this schema.
import app.cli.data  # noqa: F401
from app.db.base import Json
from app.services.data.exports import registry
from app.services.data.exports.pairs import Pair, pairs
from app.services.data.exports.schema import SPLIT, Column, Schema


def _lengths(pair: Pair) -> Iterator[Json]:
    a, b = (len(pair.record[name]) for name in ("response_a", "response_b"))
    yield {"a": a, "b": b, "split": pair.split}


LENGTHS = Schema(
    name="lengths",
    title="Lengths of the responses",
    about="Two numbers.",
    kinds=("preferences",),
    columns=(Column("a", "integer"), Column("b", "integer"), SPLIT),
    read=pairs,
    rows=_lengths,
)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> Schema[Pair]:
    monkeypatch.setattr(registry, "SCHEMAS", (*registry.SCHEMAS, LENGTHS))
    return LENGTHS
