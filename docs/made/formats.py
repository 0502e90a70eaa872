"""The page of file formats, made from the tables of imports and exports."""

from typing import Any

from app.services.data.exports.formats import FORMATS as FILES
from app.services.data.exports.registry import SCHEMAS
from app.services.data.exports.schema import AnySchema
from app.services.data.imports.formats.registry import FORMATS
from docs.made.markdown import entries, page

LEAD = (
    "What files come in and go out. A file that comes in is recognised by its columns; which row becomes what, with "
    "an example of each: [files that come in](../imports.md). How to ask for one that goes out: "
    "[the API](../api.md#datasets)."
)


def markdown() -> str:
    return page(
        "File formats",
        LEAD,
        [
            "## In",
            "",
            *entries(
                ("format", "what", "needs"), [(_linked(form.name), form.called, _needs(form)) for form in FORMATS]
            ),
            "## Out",
            "",
            f"Each as {' or '.join(f'`{name}`' for name in FILES)}.",
            "",
            *entries(
                ("schema", "what", "columns"),
                [(f"`{schema.name}`", f"**{schema.title}.** {schema.about}", _columns(schema)) for schema in SCHEMAS],
            ),
        ],
    )


def _linked(name: str) -> str:
    return f"[`{name}`](../imports.md#{name})"


def _needs(form: Any) -> str:
    return ", ".join(f"`{field.column}`" for field in form.fields if field.required)


def _columns(schema: AnySchema) -> str:
    return ", ".join(f"`{column.name}`" for column in schema.columns)
