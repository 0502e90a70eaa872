"""TRL's conversational preference schema: prompt, chosen, rejected. Ties have no chosen side and are left out.

Raw rows add judgement_id, strength (0: nobody said how much) and annotator, and what was said of harm: chosen_safe and
rejected_safe, which are “yes” or “no”, and less_harmful, which is “chosen”, “rejected” or “tie”; all three are empty
where nobody was asked.
"""

from app.db.base import Json
from app.services.data.exports.annotations import Annotations
from app.services.data.exports.messages import reply, turns
from app.services.data.exports.schema import Column, RecordSchema
from training.records import PreferenceRecord

COLUMNS = (Column("prompt", "messages"), Column("chosen", "messages"), Column("rejected", "messages"))
RAW_COLUMNS = (
    Column("judgement_id", "integer"),
    Column("strength", "small integer"),
    Column("annotator", "text"),
    Column("chosen_safe", "text"),
    Column("rejected_safe", "text"),
    Column("less_harmful", "text"),
)


def _row(record: PreferenceRecord) -> Json | None:
    if record.preference == 0.5:
        return None
    a, b = reply(record.response_a), reply(record.response_b)
    chosen, rejected = (a, b) if _is_a_chosen(record) else (b, a)
    return {"prompt": turns(record.prompt), "chosen": chosen, "rejected": rejected}


def _raw(record: PreferenceRecord, annotations: Annotations) -> Json:
    judgement_id = int(record.source.partition(":")[2])
    annotation = annotations[judgement_id]
    said = {"judgement_id": judgement_id, "strength": annotation.strength or 0, "annotator": annotation.annotator}
    return said | _harm(record)


def _harm(record: PreferenceRecord) -> Json:
    a_is_safer, safe = record.less_harmful, (record.safe_a, record.safe_b)
    if not _is_a_chosen(record):
        a_is_safer, safe = None if a_is_safer is None else 1 - a_is_safer, safe[::-1]
    names = {None: "", 1.0: "chosen", 0.5: "tie", 0.0: "rejected"}
    return {"chosen_safe": yes_or_no(safe[0]), "rejected_safe": yes_or_no(safe[1]), "less_harmful": names[a_is_safer]}


def yes_or_no(truth: bool | None) -> str:
    """A truth as text, which is empty where nobody was asked."""
    return {None: "", True: "yes", False: "no"}[truth]


def _is_a_chosen(record: PreferenceRecord) -> bool:
    return record.preference > 0.5


SCHEMA = RecordSchema(
    name="preference",
    called="preference",
    kind="preferences",
    record=PreferenceRecord,
    columns=COLUMNS,
    row=_row,
    raw_columns=RAW_COLUMNS,
    raw=_raw,
)
