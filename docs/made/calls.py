"""The page of the REST API's calls, made from its OpenAPI document."""

from collections.abc import Iterator
from importlib.metadata import version

from app.web.api import docs, routes
from docs.made.markdown import entries, page

LEAD = (
    "Made from the OpenAPI document, which a site serves at `/api/v1/openapi.json`; with it come tools of your own, "
    "and `/api/docs` shows the same to whoever is signed in. How tokens, lists, errors and judging work: "
    "[the API](../api.md)."
)


def markdown() -> str:
    return page("Calls of the API", LEAD, _lines(list(docs.operations(document()))))


def document() -> docs.Schema:
    return routes.openapi(version("plumbline"))


def _lines(operations: list[docs.Operation]) -> Iterator[str]:
    for tag in dict.fromkeys(operation.tag for operation in operations):
        yield f"## {tag.capitalize()}\n"
        for operation in operations:
            if operation.tag == tag:
                yield from _operation(operation)


def _operation(operation: docs.Operation) -> list[str]:
    scopes = " or ".join(f"`{scope}`" for scope in operation.scopes)
    return [
        f"### {operation.summary} {{ #{operation.anchor} }}",
        "",
        "```http",
        f"{operation.method} {operation.path}",
        "```",
        "",
        operation.about,
        "",
        f"A token needs {scopes}." if scopes else "",
        "",
        *_fields((*operation.parameters, *operation.body)),
        *(line for answer in operation.answers for line in _answer(answer)),
    ]


def _answer(answer: docs.Answer) -> list[str]:
    about = f"**{answer.status}** {answer.about}".strip()
    names = ", ".join(f"`{field.name}`" for field in answer.fields)
    return [f"{about}: {names}" if names else about, ""]


def _fields(fields: tuple[docs.Field, ...]) -> list[str]:
    rows = [
        (f"`{field.name}`", f"{field.place}, {field.kind}{', required' if field.required else ''}", field.about)
        for field in fields
    ]
    return entries(("", "", ""), rows)
