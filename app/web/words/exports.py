"""Exports of dataset versions as people read them: the form, made from what can be asked for."""

from collections.abc import Iterable, Mapping

from app.db.tables.lineage import DatasetKind
from app.services.data.exports import registry
from app.services.data.exports.asked import Asked
from app.services.data.exports.filters import Filters
from app.services.data.exports.formats import FORMATS
from app.services.data.exports.schema import AnySchema
from app.web.locales import gettext, lazy
from app.web.words.browse import FIELDS, FilterField, filter_fields

FIELDS_OF_EXPORTS: Mapping[str, str] = {
    **FIELDS,
    "schema": lazy("Schema"),
    "format": lazy("Format"),
    "votes": lazy("Several votes on a pair"),
    "files": lazy("Files"),
    "people": lazy("People, with commas between them"),
    "least_agreement": lazy("Agreement of at least (0 to 1)"),
    "flagged": lazy("Flagged"),
}
VOTES: Mapping[str, str] = {
    "each": lazy("a row each"),
    "majority": lazy("one row: the majority"),
    "soft": lazy("one row: the share of the votes"),
    "posterior": lazy("one row: the annotator model’s"),
}
FILES: Mapping[str, str] = {"one": lazy("all rows in one"), "splits": lazy("a zip with one for each split")}


def title_of(schema: AnySchema) -> str:
    """What a schema is called."""
    return gettext(schema.title)


def fields(kind: DatasetKind, given: Mapping[str, str], *, is_believed: bool) -> list[FilterField]:
    """What is to be chosen, then what narrows it. Demonstrations have neither votes nor anything to filter by."""
    schemas = [(schema.name, title_of(schema)) for schema in registry.of_kind(kind)]
    formats = [(name, form.title) for name, form in FORMATS.items()]
    options: Mapping[str, Iterable[tuple[str, str]]] = {"schema": schemas, "format": formats, "files": FILES.items()}
    chosen = [_choice(name, offered, given) for name, offered in options.items()]
    if kind == "demonstrations":
        return chosen
    votes = [(name, word) for name, word in VOTES.items() if is_believed or name != "posterior"]
    return [*chosen, _choice("votes", votes, given), *filter_fields(Filters, given, FIELDS_OF_EXPORTS)]


def about(kind: DatasetKind) -> list[tuple[str, str, str]]:
    """Title and name of each schema, and what it is for."""
    return [(title_of(schema), schema.name, gettext(schema.about)) for schema in registry.of_kind(kind)]


def described(asked: Asked) -> str:
    """What was asked for, in one line."""
    told = asked.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    parts = [FORMATS[asked.form].title, *(f"{name}: {value}" for name, value in told.items() if name != "format")]
    return ", ".join(parts)


def _choice(name: str, options: Iterable[tuple[str, str]], given: Mapping[str, str]) -> FilterField:
    found = tuple((value, str(word)) for value, word in options)
    return FilterField(name, str(FIELDS_OF_EXPORTS[name]), "select", given.get(name) or found[0][0], found, is_set=True)
