"""The API's documentation as a page, made from its own OpenAPI document, where each call can be tried: by a script of
the site's own, since the strict content policy holds here, too.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.errors import DomainError
from app.web.api import routes
from app.web.api.access import may_read_docs
from app.web.rendering import render
from app.web.serving.deps import settings_of

router = APIRouter(include_in_schema=False)

METHODS = ("get", "post", "put", "patch", "delete")

WRAPPED = re.compile(r"(?<=\S)\n(?=[^\s*-])")
LARGEST = 2**31 - 1
JSON = "application/json"
UNSAID = "Successful Response"  # what the framework writes where nobody wrote anything

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body. `about` is Markdown."""

    name: str
    place: str
    kind: str
    required: bool
    about: str


@dataclass(frozen=True)
class Answer:
    """`example` is JSON as one reads it; none of what isn't JSON."""

    status: str
    about: str
    fields: tuple[Field, ...]
    example: str | None


@dataclass(frozen=True)
class Operation:
    """A call. A token needs one of `scopes` for it; `media_type` is that of its body, `example` such a body as JSON."""

    anchor: str
    tag: str
    scopes: tuple[str, ...]
    method: str
    path: str
    summary: str
    about: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    media_type: str | None
    example: str | None
    answers: tuple[Answer, ...]

    @property
    def changes(self) -> bool:
        """Whether something may be another than before, once it was made."""
        return "read" not in self.scopes


@router.get("/api/docs", dependencies=[Depends(may_read_docs)])
async def show_docs(request: Request) -> Response:
    """Shows every call with its fields, and every error, to people who are signed in and to programs with a token."""
    document = routes.openapi(request.app.version)
    shown = list(operations(document))
    return render.page(
        request,
        "api/docs.html",
        about=_unwrapped(document["info"]["description"]),
        tags=list(dict.fromkeys(operation.tag for operation in shown)),
        operations=shown,
        errors=sorted(_errors(DomainError), key=lambda error: (error.status, error.__name__)),
        site_url=settings_of(request).site_url,
    )


def _unwrapped(text: str) -> str:
    """A docstring's paragraphs as lines of their own: pages show each end of a line as one, as models mean it."""
    return WRAPPED.sub(" ", text)


def operations(document: Schema) -> Iterator[Operation]:
    """Every operation of an OpenAPI document, in its order."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield _operation(document, path, method, item[method])


def _operation(document: Schema, path: str, method: str, described: Schema) -> Operation:
    contents = described.get("requestBody", {}).get("content", {})
    body = contents.get(JSON, {})
    return Operation(
        anchor=described["operationId"],
        tag=described.get("tags", [""])[0],
        scopes=tuple(described["x-scopes"]),
        method=method.upper(),
        path=path,
        summary=described["summary"],
        about=_unwrapped(described.get("description", "")),
        parameters=tuple(
            Field(
                entry["name"],
                entry["in"],
                _kind(document, entry["schema"]),
                # Declared optional, so that their absence is our own 400 or 428 and not the framework's 422.
                entry.get("required", False) or entry["name"] in {"idempotency-key", "If-Match"},
                entry.get("description", ""),
            )
            for entry in described.get("parameters", ())
        ),
        body=tuple(_fields(document, body.get("schema", {}))),
        media_type=next(iter(contents), None),
        example=_written(body),
        answers=tuple(
            _answer(document, status, answer)
            for status, answer in sorted(described["responses"].items())
            if status.startswith("2")
        ),
    )


def _answer(document: Schema, status: str, described: Schema) -> Answer:
    content = described.get("content", {}).get(JSON, {})
    fields = tuple(_fields(document, content.get("schema", {})))
    return Answer(status, described["description"].removeprefix(UNSAID), fields, _written(content))


def _written(content: Schema) -> str | None:
    return json.dumps(content["example"], indent=2, ensure_ascii=False) if "example" in content else None


def _fields(document: Schema, schema: Schema) -> Iterator[Field]:
    schema = _resolved(document, schema)
    if schema.get("type") == "array":
        schema = _resolved(document, schema["items"])
    for name, described in schema.get("properties", {}).items():
        yield Field(
            name,
            "body",
            _kind(document, described),
            name in schema.get("required", ()),
            described.get("description", ""),
        )


def _resolved(document: Schema, schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Schema = document["components"]["schemas"][reference.rsplit("/", 1)[-1]]
    return found


def _kind(document: Schema, schema: Schema) -> str:
    """A schema in a few words: “integer 1–7 or null”, “list of Message”."""
    if "anyOf" in schema:
        return " or ".join(_kind(document, option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1]).removesuffix("Out").removesuffix("In")
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema['items'])}"
    # The largest id is a limit of the database, and no news to anybody.
    # JSON Schema has them as floats; none of ours is a fraction.
    bounds = [f"{schema[name]:.0f}" for name in ("minimum", "maximum") if schema.get(name, LARGEST) < LARGEST]
    words = [str(schema.get("format") or schema.get("type", "any"))]
    if len(bounds) == 2:
        words.append("–".join(bounds))
    return " ".join(words)


def _errors(of: type[DomainError]) -> Iterator[type[DomainError]]:
    yield of
    for kind in of.__subclasses__():
        yield from _errors(kind)
