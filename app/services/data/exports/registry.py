"""The schemas that there are. A new one is a row here: pages, API and command line offer what they find."""

from app.db.tables.lineage import DatasetKind
from app.errors import Invalid, NotFound
from app.services.data.exports import comparisons, judgements, preferences, responses
from app.services.data.exports.schema import AnySchema, Votes

# Of each kind of dataset, the first schema is what is exported where nobody names one.
SCHEMAS: tuple[AnySchema, ...] = (
    preferences.PREFERENCE,
    preferences.TEXTS,
    preferences.WITH_MARGIN,
    responses.PROMPT_COMPLETION,
    responses.MESSAGES,
    responses.UNPAIRED,
    responses.PROMPTS,
    preferences.OPENRLHF,
    preferences.HH_RLHF,
    comparisons.HELPSTEER3,
    comparisons.ARENA,
    comparisons.RANKINGS,
    preferences.CRITERIA,
    preferences.HARMLESSNESS,
    preferences.RAW,
    judgements.JUDGEMENTS,
    judgements.PLUMBLINE,
)


def of_kind(kind: DatasetKind) -> list[AnySchema]:
    return [schema for schema in SCHEMAS if kind in schema.kinds]


def choice(*kinds: DatasetKind) -> str:
    """The names that an export can be asked for by, to be read."""
    return f"One of {', '.join(schema.name for schema in SCHEMAS if {*kinds} & {*schema.kinds})}."


def named(kind: DatasetKind, name: str | None, votes: Votes = "each") -> AnySchema:
    """The schema of that name. Raises NotFound for one that there isn't, Invalid where it can't count votes so."""
    found = next((schema for schema in of_kind(kind) if name in (None, schema.name)), None)
    if found is None:
        raise NotFound(f"A {kind} dataset has no schema {name}.")
    if votes != "each" and not found.counts_votes:
        raise Invalid("Rows of %(schema)s are single votes: they can't be counted together.", schema=found.name)
    return found
