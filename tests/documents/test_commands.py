"""Every command and every call that a document names is one that there is: the typer application, the OpenAPI document,
the Makefile, the stages and the benches say so."""

import re
from functools import cache
from itertools import product
from typing import Any

import pytest

from app.settings import variables
from docs.made.calls import document as openapi
from docs.made.command_line import application
from tests.documents.shown import DOCUMENTS, PROGRAMS, ROOT, Block, blocks, mentions, words_of

METHODS = "GET|POST|PUT|PATCH|DELETE"
CALL = re.compile(rf"\b({METHODS}) +(/api/v1/[^\s`]*)")
LEFT_OUT = ("…", "...")
HISTORY = "CHANGELOG.md"
"""Says what was so then."""


def in_words(text: str) -> str:
    """A mention without what is optional or goes on, and with the first of what can stand in one place."""
    return re.sub(r"[\[\]]", "", text)


def alternatives(words: list[str]) -> list[list[str]]:
    """`db upgrade|downgrade` is two commands; of a value, what stands first will do."""
    return [list(chosen) for chosen in product(*(word.split("|") if word[0] != "-" else [word] for word in words))]


@cache
def root() -> Any:
    return application()


def unknown_in(words: list[str]) -> str | None:
    """What of a `plumbline …` there isn't: a command, or an option of it."""
    command = root()
    for word in words:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        if word in LEFT_OUT or not re.fullmatch(r"[a-z][a-z-]*", word):
            return None
        if word not in command.commands:
            return word
        command = command.commands[word]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return next((option for option in options if option not in known), None)


def strange_in(text: str) -> str | None:
    """What of a command there isn't."""
    try:
        settings, words = words_of(in_words(text))
    except ValueError:
        return "quotes"
    known = {*variables(), "NO_MKDOCS_2_WARNING"}
    if wrong := [name for name in settings if name.startswith("PLUMBLINE_") and name not in known]:
        return wrong[0]
    program = words[0].rpartition("/")[2]
    if program == "plumbline":
        return next((found for each in alternatives(words[1:]) if (found := unknown_in(each))), None)
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        return next((word for word in words[1:] if word.isalpha() and word.islower() and word not in targets), None)
    if program == "curl":
        return strange_request(words[1:])
    if program == "python" and "-m" in words:
        return strange_module(words[words.index("-m") + 1 :])
    return None


def strange_request(words: list[str]) -> str | None:
    """By curl's own rule a request with data is a POST, unless it says otherwise."""
    has_data = any(word.startswith(("--data", "-d", "--json", "-F", "--form")) for word in words)
    said = [words[at + 1] for at, word in enumerate(words) if word in ("-X", "--request")]
    method = (*said, "POST" if has_data else "GET")[0]
    paths = [word[word.index("/api/v1") :] for word in words if "/api/v1/" in word]
    return next((wrong for path in paths if (wrong := strange_call(method, path))), None)


def strange_module(words: list[str]) -> str | None:
    module, *arguments = words
    if module == "training":
        return strange_stage(arguments)
    if not module.startswith("bench."):
        return None
    file = ROOT / (module.replace(".", "/") + ".py")
    source = "".join(path.read_text() for path in ROOT.glob("bench/**/*.py")) if file.is_file() else ""
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    return module if not source else next((option for option in options if f'"{option}"' not in source), None)


def strange_stage(arguments: list[str]) -> str | None:
    from training.stages.registry import STAGES

    if arguments and arguments[0].islower() and arguments[0] not in STAGES:
        return arguments[0]
    known = ("--config", "--out", "--device", "--processes", "--threads")
    return next((word for word in arguments if word.startswith("--") and word not in known), None)


def strange_call(method: str, path: str) -> str | None:
    """A call that the OpenAPI document doesn't have; parameters may be called as one likes."""
    called = re.sub(r"[\[?,;:)].*$", "", path).rstrip(".").removeprefix("/api/v1")
    if any(sign in called for sign in LEFT_OUT):
        return None
    for known, operations in openapi()["paths"].items():
        parts = [r"[^/]+" if part.startswith("{") else re.escape(part) for part in known.split("/")]
        if re.fullmatch("/".join(parts), f"/api/v1{called}") and method.lower() in operations:
            return None
    return f"{method} {path}"


def test_every_command_that_is_named_in_passing_is_there() -> None:
    found = [(told.document, told.text, strange_in(told.text)) for told in mentions() if told.document != HISTORY]
    assert len(found) > 50
    assert [each for each in found if each[2]] == []


SHELL_BLOCKS = [block for block in blocks() if block.is_shell]


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=lambda block: f"{block.document}:{block.line}")
def test_every_command_of_a_block_is_there(block: Block) -> None:
    commands = block.commands()
    assert commands
    assert [(command, wrong) for command in commands if (wrong := strange_in(_inner(command)))] == []


def _inner(command: str) -> str:
    """Of `NAME=$(command)` the command."""
    caught = re.fullmatch(r"\w+=\$\((.+)\)", command)
    return caught.group(1) if caught else command


def test_every_call_that_a_document_names_is_in_the_openapi_document() -> None:
    calls = {
        (str(path.relative_to(ROOT)), *call)
        for path in DOCUMENTS
        if path.name != HISTORY
        for call in CALL.findall(path.read_text())
    }
    assert len(calls) > 50
    assert [call for call in sorted(calls) if strange_call(*call[1:])] == []


def test_every_block_of_python_compiles() -> None:
    snippets = [block for block in blocks() if block.language == "python"]
    assert snippets
    for block in snippets:
        compile(block.text, f"{block.document}:{block.line}", "exec")


def test_every_block_says_what_it_is_in() -> None:
    assert [(block.document, block.line) for block in blocks() if not block.language] == []


def test_what_looks_like_a_command_stands_in_a_block_of_a_shell() -> None:
    """Else nobody would run it."""
    others = [block for block in blocks() if not block.is_shell and block.language != "text"]
    assert [(each.document, each.line) for each in others if PROGRAMS.match(each.text)] == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("plumbline imprt FILE -p P", "imprt"),
        ("plumbline db upgrade|downgrad", "downgrad"),
        ("plumbline import FILE --projct P", "--projct"),
        ("PLUMBLINE_PROT=1 plumbline up", "PLUMBLINE_PROT"),
        ("make tset", "tset"),
        ("python -m bench.nothing --seeds 3", "bench.nothing"),
        ("python -m training rewrd --config a.json", "rewrd"),
        ("python -m training reward --confg a.json", "--confg"),
        ("plumbline project create NAME [--template T]", None),
        ("curl -H 'Authorization: Bearer $TOKEN' https://a.example/api/v1/project", "GET /api/v1/project"),
        ("curl -X DELETE https://a.example/api/v1/projects", "DELETE /api/v1/projects"),
        ('curl --data-binary @a.csv "$PLUMBLINE/api/v1/projects/P/imports?name=a.csv"', None),
    ],
)
def test_a_command_that_there_is_not_is_found(command: str, wrong: str | None) -> None:
    assert strange_in(command) == wrong


def test_a_call_that_there_is_not_is_found() -> None:
    assert strange_call("GET", "/api/v1/projects/{x}/datasets?format=a|b[&raw=1]") is None
    assert strange_call("DELETE", "/api/v1/projects/{x}/datasets")
    assert strange_call("GET", "/api/v1/project/P")
