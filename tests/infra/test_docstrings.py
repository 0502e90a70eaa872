"""What an editor shows on hover says something by itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("app", "client/plumbline_client", "models", "training")
    for path in (ROOT / folder).rglob("*.py")
)
LEANING = ("Of ", "As ", "As,", "By ", "Those ", "Its ", "Their ", "Likewise", "The same ", "Inverse of")
"""Beginnings that need the line before them."""

Public = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt]) -> Iterator[Public]:
    """Functions, classes and their methods that others may use."""
    for node in body:
        if isinstance(node, Public) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def named(path: Path, node: Public) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_every_package_says_what_belongs_there() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_first_lines_make_sense_without_what_stands_above_them() -> None:
    leaning = [
        named(path, node)
        for path in SOURCES
        for node in public(ast.parse(path.read_text()).body)
        if (ast.get_docstring(node) or "").startswith(LEANING)
    ]
    assert leaning == []


@pytest.mark.parametrize("folder", ["app/web"])
def test_every_public_function_says_what_it_does(folder: str) -> None:
    silent = [
        named(path, node)
        for path in SOURCES
        if path.is_relative_to(ROOT / folder)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and ast.get_docstring(node) is None
    ]
    assert silent == []
