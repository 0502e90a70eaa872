"""The schemas that there are. A new one is a file beside this one and a row here: pages, API and command line offer
what they find."""

from pathlib import Path
from typing import Any

from app.db.tables import DatasetVersion
from app.db.tables.lineage import DatasetKind
from app.errors import NotFound
from app.services.data.datasets import verify
from app.services.data.exports import judgements, trl_preference, trl_prompt_completion
from app.services.data.exports.annotations import Annotations
from app.services.data.exports.schema import Export, RecordSchema, Schema
from training.records import Split

# Of each kind of dataset, the first schema of its records is what is exported where nobody names one.
SCHEMAS: tuple[Schema, ...] = (
    trl_preference.SCHEMA,
    trl_prompt_completion.SCHEMA,
    judgements.SCHEMA,
)


def of_kind(kind: DatasetKind) -> list[Schema]:
    return [schema for schema in SCHEMAS if schema.kind == kind]


def of_records(kind: DatasetKind) -> list[RecordSchema[Any]]:
    return [schema for schema in of_kind(kind) if isinstance(schema, RecordSchema)]


def choice(kind: DatasetKind) -> str | None:
    """The names that an export of this kind can be asked for by, to be read; None where there is nothing to choose."""
    names = [schema.name for schema in of_records(kind)]
    return f"One of {', '.join(names)}." if len(names) > 1 else None


def open_export(
    version: DatasetVersion,
    home: Path,
    *,
    schema: str | None = None,
    annotations: Annotations | None = None,
    split: Split | None = None,
) -> Export:
    """The rows of a version in the schema of that name; with `annotations`, raw ones.

    Raises NotFound for a schema that there isn't, BrokenDataset before the first row is asked for.
    """
    return _named(version, schema).export(verify(version, home), annotations=annotations, split=split)


def _named(version: DatasetVersion, name: str | None) -> RecordSchema[Any]:
    for schema in SCHEMAS:
        if isinstance(schema, RecordSchema) and schema.kind == version.kind and name in (None, schema.name):
            return schema
    raise NotFound(f"A {version.kind} dataset has no schema {name}.")
