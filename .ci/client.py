"""Write what of the client follows from something else: `python .ci/client.py` writes it, `--check` names what is out
of date.

Classes of bodies and answers, and a method for every call, follow from the API's OpenAPI document; everything in
`_sync` follows from the same file in `_async`.
"""

import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.web.api.routes import openapi

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "client" / "plumbline_client"
MADE = '"""{about}\n\nMade by `make client` from {source}: change that, not this."""\n\n# ruff: noqa: {noqa}\n'
BY_HAND = {"__init__.py", "ground.py"}  # of `_sync`

Schema = dict[str, Any]
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
STRINGS = {"date-time": "datetime", "date": "date", "binary": "bytes"}
# What a name becomes that a module of `_async` has to say otherwise in `_sync`.
WORDS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b_async\b", "_sync"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"__a(enter|exit)__", r"__\1__"),
    (r"\baclose\b", "close"),
    (r"\baiter_(\w+)", r"iter_\1"),
    (r"\baread\b", "read"),
    (r"__aiter__", "__iter__"),
    (r"\bAwaitable\[([^\]]+)\]", r"\1"),
)


class Classes:
    """The document's schemas by the names that they have in Python, in a module that has them by a `prefix`."""

    def __init__(self, document: Schema, prefix: str = "") -> None:
        self._prefix = prefix
        schemas: dict[str, Schema] = document["components"]["schemas"]
        self.schemas = {name: schema for name, schema in schemas.items() if not name.startswith("Page_")}
        self._all = schemas
        answers = [call["responses"] for item in document["paths"].values() for call in item.values()]
        self.answers = set(self._reached(answers))

    def name(self, schema: str) -> str:
        """`RunOut` is a Run, `app__web__api__browse__ChangeIn` a BrowseChangeIn."""
        module, _, own = schema.rpartition("__")
        full = module.rpartition("__")[2].title().replace("_", "") + own
        bare = full.removesuffix("Out")
        return full if bare in self.schemas else bare

    def kind(self, schema: Schema, *, is_open: bool = False) -> str:
        """The type of a value as Python writes it. An open one takes choices that a newer site has, too."""
        if "$ref" in schema:
            return self._named(schema["$ref"].rpartition("/")[2])
        if options := schema.get("anyOf") or schema.get("oneOf"):
            kinds = [self.kind(option, is_open=is_open) for option in options]
            return " | ".join(sorted(dict.fromkeys(kinds), key="None".__eq__))
        if "enum" in schema or "const" in schema:
            # `typing` gives choices in the order in which any module named the same ones first.
            choices = sorted(schema.get("enum") or [schema["const"]])
            chosen = f"Literal[{', '.join(map(repr, choices))}]"
            return f"{chosen} | str" if is_open and isinstance(choices[0], str) else chosen
        if schema.get("type") == "array":
            return f"list[{self.kind(schema.get('items', {}), is_open=is_open)}]"
        if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"dict[str, {self.kind(schema['additionalProperties'], is_open=is_open)}]"
        if schema.get("type") == "object":
            return "dict[str, Any]"
        return STRINGS.get(schema.get("format", "")) or PLAIN.get(schema.get("type", ""), "Any")

    def _named(self, schema: str) -> str:
        if schema.startswith("Page_"):
            return f"Page[{self.kind(self._all[schema]['properties']['items']['items'])}]"
        return self._prefix + self.name(schema)

    def written(self) -> Iterator[str]:
        for schema in sorted(self.schemas, key=self.name):
            yield from self._class(schema, self.schemas[schema])

    def _class(self, name: str, schema: Schema) -> Iterator[str]:
        is_answer = name in self.answers
        yield f"class {self.name(name)}(values.{'Answer' if is_answer else 'Body'}):"
        yield from _docstring(schema.get("description", ""))
        for field, described in schema.get("properties", {}).items():
            kind = self.kind(described, is_open=is_answer)
            default = "" if field in schema.get("required", ()) else f" = {described.get('default')!r}"
            given, alias = _field(field), ""
            if default.startswith(" = {") and "$ref" in described:
                default = " = None"  # of a body: what isn't set isn't sent
            if default == " = None" and not kind.endswith("None") and kind != "Any":
                kind += " | None"
            if given != field:
                alias = f" = Field({default.removeprefix(' = ') or '...'}, alias={field!r})"
            yield f"    {given}: {kind}{alias or default}"
            yield from _docstring(described.get("description", ""))
        yield "    pass\n\n" if not schema.get("properties") and not schema.get("description") else "\n"

    def _reached(self, part: object) -> Iterator[str]:
        """Names of all schemas that are mentioned in a part of the document, or in one of those."""
        seen, waiting = set[str](), [part]
        while waiting:
            match waiting.pop():
                case {"$ref": str(reference)} if (name := reference.rpartition("/")[2]) not in seen:
                    seen.add(name)
                    waiting.append(self._all[name])
                case dict(entries):
                    waiting.extend(entries.values())
                case list(entries):
                    waiting.extend(entries)
        yield from seen


def _operation(classes: Classes, method: str, path: str, call: Schema) -> Iterator[str]:
    """A method that makes the call: places in the path and the body by position, all else by name."""
    parameters = call.get("parameters", ())
    kinds = {entry["name"]: classes.kind(entry["schema"]) for entry in parameters if entry["in"] == "path"}
    places = {name: kinds[name] for name in re.findall(r"\{(\w+)\}", path)}
    headers = [entry["name"] for entry in parameters if entry["in"] == "header"]
    answer = _answer(classes, call)
    query = [entry for entry in parameters if entry["in"] == "query"]
    if "application/json" in _contents(call):  # then the other forms aren't offered
        query = [entry for entry in query if entry["name"] != "format"]
    bodies = call.get("requestBody", {}).get("content", {})
    sent = "content" if bodies and "application/json" not in bodies else "body"
    body = "Content" if sent == "content" else bodies and classes.kind(bodies["application/json"]["schema"])
    named = {
        **{entry["name"]: _optional(classes.kind(entry["schema"]), entry) for entry in query},
        **{name: "Known" if name == "If-Match" else "str | None = None" for name in headers},
    }
    arguments = ["self", *(f"{name}: {kind}" for name, kind in places.items())]
    if body:
        arguments.append(f"{sent}: {body}" + (" = None" if body.endswith("None") else ""))
    if named:
        arguments += ["*", *(f"{_argument(name)}: {kind}" for name, kind in named.items())]
    if sent == "content":
        arguments += [*(() if named else ("*",)), "progress: Progress | None = None"]
    filled = re.sub(r"\{(\w+)\}", r"{place(\1)}", path)
    given = [f'"{method.upper()}"', f'{"f" if places else ""}"{filled}"']
    if query:
        given.append("query={" + ", ".join(f"{entry['name']!r}: {_argument(entry['name'])}" for entry in query) + "}")
    if headers:
        given.append("headers={" + ", ".join(f"{name!r}: {_argument(name)}" for name in headers) + "}")
    given += [f"{sent}={sent}"] if body else []
    given += [f"content_type={next(iter(bodies))!r}, progress=progress"] if sent == "content" else []
    given += ["is_keyed=True"] if "idempotency-key" in (header.lower() for header in headers) else []
    asynchronous, result, ask = answer
    yield f"    {asynchronous}def {call['operationId']}({', '.join(arguments)}) -> {result}:"
    yield from _docstring(f"{call['summary']}.\n\n{call.get('description', '')}", indent=8)
    made = f"Call({', '.join(given)})"
    yield f"        {ask.format(call=made)}\n"


def _answer(classes: Classes, call: Schema) -> tuple[str, str, str]:
    """How the method begins, what it gives, and the line that gets it."""
    contents = _contents(call)
    if "application/json" in contents:
        kind = classes.kind(contents["application/json"].get("schema", {}))
        if of := re.fullmatch(r"Page\[([\w.]+)\]", kind):
            return "", f"AsyncPages[{of[1]}]", f"return AsyncPages(self._transport, {{call}}, Page[{of[1]}])"
        if "204" in call["responses"] or kind.endswith("| None"):
            kind = kind.removesuffix(" | None")
            return "async ", f"{kind} | None", f"return await self._transport.if_any({{call}}, {kind})"
        return "async ", kind, f"return await self._transport.ask({{call}}, {kind})"
    if "204" in call["responses"]:
        return "async ", "None", "await self._transport.send({call})"
    return "", "AsyncDownload", "return AsyncDownload(self._transport, {call})"


def _contents(call: Schema) -> dict[str, Schema]:
    return next((a.get("content", {}) for s, a in call["responses"].items() if s[0] == "2" and a.get("content")), {})


def _optional(kind: str, entry: Schema) -> str:
    return kind if entry.get("required") else f"{kind.removesuffix(' | None')} | None = None"


def _argument(name: str) -> str:
    name = name.lower().replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) or name in ("body", "content", "progress", "self") else name


def _field(name: str) -> str:
    """A field's name, which must be none of pydantic's own."""
    return f"{name}_" if keyword.iskeyword(name) or hasattr(BaseModel, name) else name


def _docstring(text: str, indent: int = 4) -> Iterator[str]:
    if text := text.replace("\\", r"\\").strip():
        closing = "\n" if "\n" in text else ""
        yield textwrap.indent(f'"""{text}{closing}"""', " " * indent)


def written() -> dict[Path, str]:
    """What each file that isn't written by hand should hold."""
    document = openapi("")
    classes = Classes(document, "models.")
    calls = [
        line
        for path, item in document["paths"].items()
        for method, call in item.items()
        for line in _operation(classes, method, path, call)
    ]
    source = "the API's OpenAPI document"
    models = MADE.format(about="What the API takes and what it answers.", source=source, noqa="E501, RUF012") + (
        "from __future__ import annotations\n\nfrom datetime import date, datetime\n"
        "from typing import Any, Literal\n\nfrom pydantic import Field\n\n"
        "from plumbline_client import values\n\n\n"
    )
    operations = MADE.format(about="A method for every call of the API.", source=source, noqa="E501") + (
        "from __future__ import annotations\n\nfrom datetime import date, datetime\nfrom typing import Any, Literal\n\n"
        "from plumbline_client import models\nfrom plumbline_client._async.download import AsyncDownload\n"
        "from plumbline_client._async.pages import AsyncPages\n"
        "from plumbline_client._async.transport import AsyncTransport\n"
        "from plumbline_client.calls import Call, Content, Progress, place\n"
        "from plumbline_client.values import Known, Page\n\n\n"
        'class AsyncOperations:\n    """Every call of the API, by the name that its description gives it."""\n\n'
        "    def __init__(self, transport: AsyncTransport) -> None:\n        self._transport = transport\n\n"
    )
    made = {
        PACKAGE / "models.py": _tidy(models + "\n".join(Classes(document).written())),
        PACKAGE / "_async" / "operations.py": _tidy(operations + "\n".join(calls)),
    }
    for file in sorted({*(PACKAGE / "_async").glob("*.py"), PACKAGE / "_async" / "operations.py"}):
        if file.name not in BY_HAND:
            text = made.get(file) or file.read_text(encoding="utf-8")
            about = f"# Made by `make client` from _async/{file.name}.\n"
            made[PACKAGE / "_sync" / file.name] = _tidy(about + _synchronous(text))
    return made


def _synchronous(text: str) -> str:
    for word, instead in WORDS:
        text = re.sub(word, instead, text)
    return text


def _tidy(text: str) -> str:
    """With the imports that are used, as everything here is formatted."""
    for command in (["check", "--fix-only", "--select=F401,I"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={PACKAGE / 'made.py'}", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


def out_of_date() -> dict[Path, str]:
    """The files that don't hold what they should, with that."""
    return {
        file: text for file, text in written().items() if not file.exists() or file.read_text(encoding="utf-8") != text
    }


if __name__ == "__main__":
    stale = out_of_date()
    for file, text in stale.items():
        print(file.relative_to(ROOT))
        if "--check" not in sys.argv:
            file.write_text(text, encoding="utf-8")
    sys.exit(1 if stale and "--check" in sys.argv else 0)
