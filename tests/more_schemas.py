"""A schema that tests put into the table of exports: whatever offers what is there has to offer this one, too."""

import pytest

# Loaded here because what the command line lists is settled when it is: no other test is to see this schema.
import app.cli.data  # noqa: F401
from app.db.base import Json
from app.services.data.exports import registry
from app.services.data.exports.schema import Column, RecordSchema
from training.records import PreferenceRecord


def _lengths(record: PreferenceRecord) -> Json:
    return {"a": len(record.response_a), "b": len(record.response_b)}


LENGTHS = RecordSchema(
    name="lengths",
    called="lengths of the responses",
    kind="preferences",
    record=PreferenceRecord,
    columns=(Column("a", "integer"), Column("b", "integer")),
    row=_lengths,
)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> RecordSchema[PreferenceRecord]:
    monkeypatch.setattr(registry, "SCHEMAS", (*registry.SCHEMAS, LENGTHS))
    return LENGTHS
