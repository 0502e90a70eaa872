"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

from docs.made.hook import MADE

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "client" / "README.md"])
SOURCES = ("app", "bench", "client", "docs", "migrations", "models", "static", "templates", "tests", "training")
FILE = re.compile(r"\w[\w./-]*\.(?:css|html|js|lock|md|po|py|toml)")
FOLDER = re.compile(rf"(?:{'|'.join(SOURCES)})/[a-z0-9_./]+")
MODULE = re.compile(r"(?:app|bench|models|tests|training)(?:\.\w+)+")
PLACEHOLDER = re.compile(r"\b(?:NAME|CODE)\b")
THERE = [*ROOT.iterdir(), *(path for folder in SOURCES for path in (ROOT / folder).rglob("*"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_and_picture_exists(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())
    made = {(ROOT / "docs" / path).resolve() for path in MADE}
    found = {target: (document.parent / target).resolve() for target in targets}
    assert [target for target, path in found.items() if not path.exists() and path not in made] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_folder_and_module_in_backticks_exists(document: Path) -> None:
    named = re.findall(r"`([^`\n]+)`", document.read_text())
    paths = [name for name in named if FILE.fullmatch(name) or FOLDER.fullmatch(name)]
    modules = [name for name in named if MODULE.fullmatch(name)]
    assert [path for path in paths if not is_there(path)] == []
    assert [module for module in modules if not is_there(module.replace(".", "/") + "*")] == []


def test_no_picture_is_kept_that_no_document_shows() -> None:
    shown = {name for path in DOCUMENTS for name in re.findall(r"screenshots/([\w-]+\.png)", path.read_text())}
    assert {path.name for path in (ROOT / "docs" / "screenshots").iterdir()} == shown


def is_there(path: str) -> bool:
    """A file or folder of the repository, by its whole path or the end of it."""
    pattern = PLACEHOLDER.sub("*", path)
    return any(found.match(pattern) for found in THERE)


def test_the_make_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {name for document in DOCUMENTS for name in re.findall(r"\bmake ([a-z]+)\b", document.read_text())}
    assert {"run", "test"} <= named & targets
