"""TRL's conversational prompt–completion schema, of demonstrations."""

from app.db.base import Json
from app.services.data.exports import trl_preference
from app.services.data.exports.messages import reply, turns
from app.services.data.exports.schema import Column, RecordSchema
from training.records import DemonstrationRecord


def _row(record: DemonstrationRecord) -> Json:
    return {"prompt": turns(record.prompt), "completion": reply(record.response)}


SCHEMA = RecordSchema(
    name="prompt-completion",
    called="prompt and completion",
    kind="demonstrations",
    record=DemonstrationRecord,
    columns=(Column("prompt", "messages"), Column("completion", "messages")),
    row=_row,
    # Nobody says how good a demonstration is. Typed files of raw rows have these columns all the same, empty.
    raw_columns=trl_preference.RAW_COLUMNS,
)
