"""Dataset versions in the schemas that other tools load."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import (
    DatasetJudgement,
    DatasetVersion,
    Judgement,
)
from app.services.data import judgement_rows
from app.services.data.datasets import verify
from training.records import (
    DemonstrationRecord,
    Message,
    PreferenceRecord,
    Split,
    iterate_records,
)

PARQUET_BATCH = 1_000


@dataclass(frozen=True)
class Annotation:
    """Who said how much: `strength` in levels of the scale towards the chosen response, None where there was no scale;
    `annotator` is a pseudonym.
    """

    strength: int | None
    annotator: str


async def annotations(db: AsyncSession, version: DatasetVersion) -> dict[int, Annotation]:
    """By judgement, for raw exports."""
    rows = await db.execute(
        select(Judgement.id, func.abs(Judgement.preference), Judgement.annotator_id)
        .join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        .where(DatasetJudgement.dataset_version_id == version.id)
    )
    pseudonyms = await judgement_rows.pseudonyms(db, version.project_id)
    return {
        judgement_id: Annotation(strength, pseudonyms[annotator_id]) for judgement_id, strength, annotator_id in rows
    }


def stream_jsonl(
    version: DatasetVersion,
    home: Path,
    *,
    annotations: Mapping[int, Annotation] | None = None,
    split: Split | None = None,
) -> Iterator[str]:
    """Lines in TRL's conversational schemas: prompt, chosen, rejected; or prompt, completion for demonstrations.

    Ties have no chosen side and are left out. With `annotations`, judgement_id, strength and annotator follow, and
    what was said of harm: chosen_safe, rejected_safe and less_harmful, which is “chosen”, “rejected” or “tie”. Raises
    BrokenDataset at once, before the first line is asked for.
    """
    rows = _trl_rows(version, verify(version, home), annotations, split)
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_parquet(
    version: DatasetVersion,
    home: Path,
    file: Path,
    *,
    annotations: Mapping[int, Annotation] | None = None,
    split: Split | None = None,
) -> int:
    """As `stream_jsonl`, into a Parquet file; returns the number of rows."""
    # Here, not above: only exports pay for loading a hundred megabytes of library.
    import pyarrow
    from pyarrow import parquet

    messages = pyarrow.list_(pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())]))
    sides = ("chosen", "rejected") if version.kind == "preferences" else ("completion",)
    fields = [("prompt", messages), *((side, messages) for side in sides)]
    if annotations is not None:
        fields += [
            ("judgement_id", pyarrow.int64()),
            ("strength", pyarrow.int8()),
            ("annotator", pyarrow.string()),
            ("chosen_safe", pyarrow.bool_()),
            ("rejected_safe", pyarrow.bool_()),
            ("less_harmful", pyarrow.string()),
        ]
    schema = pyarrow.schema(fields)
    rows = _trl_rows(version, verify(version, home), annotations, split)
    count = 0
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(islice(rows, PARQUET_BATCH)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _trl_rows(
    version: DatasetVersion, path: Path, annotations: Mapping[int, Annotation] | None, split: Split | None
) -> Iterator[Json]:
    if version.kind == "demonstrations":
        for demonstration in iterate_records(path, DemonstrationRecord):
            yield {"prompt": _turns(demonstration.prompt), "completion": _reply(demonstration.response)}
        return
    for record in iterate_records(path, PreferenceRecord):
        if record.preference == 0.5 or split not in (None, record.split):
            continue
        a_is_better = record.preference > 0.5
        row: dict[str, Any] = {
            "prompt": _turns(record.prompt),
            "chosen": _reply(record.response_a if a_is_better else record.response_b),
            "rejected": _reply(record.response_b if a_is_better else record.response_a),
        }
        if annotations is not None:
            judgement_id = int(record.source.partition(":")[2])
            annotation = annotations[judgement_id]
            row |= {
                "judgement_id": judgement_id,
                "strength": annotation.strength,
                "annotator": annotation.annotator,
                **_harm_of(record, a_is_better=a_is_better),
            }
        yield row


def _harm_of(record: PreferenceRecord, *, a_is_better: bool) -> Json:
    a_is_safer = record.less_harmful if a_is_better or record.less_harmful is None else 1 - record.less_harmful
    names = {None: None, 1.0: "chosen", 0.5: "tie", 0.0: "rejected"}
    chosen, rejected = (record.safe_a, record.safe_b) if a_is_better else (record.safe_b, record.safe_a)
    return {"chosen_safe": chosen, "rejected_safe": rejected, "less_harmful": names[a_is_safer]}


def _turns(prompt: tuple[Message, ...]) -> list[Json]:
    return [message.to_json() for message in prompt]


def _reply(text: str) -> list[Json]:
    return [{"role": "assistant", "content": text}]
