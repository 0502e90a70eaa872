"""What CONTRIBUTING.md says of where things are and what to touch is so."""

import inspect
import re
from pathlib import Path

import pytest

from app.services.loop.stages.registry import STAGES
from app.web import locales
from training.stages.registry import STAGES as TRAINED

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PLACEHOLDERS = ("NAME", "CODE")
HOUSES = ("app/services", "app/web", "training")


def paths_of(text: str) -> list[str]:
    """Files and folders of the repository in backticks; not addresses, nor what installing makes."""
    return [path for path in re.findall(r"`([^`\s]+)`", text) if re.fullmatch(r"\w[\w.*-]*(/[\w.*-]+)+", path)]


def touched() -> dict[str, list[str]]:
    """What the table says to touch, by what is to be added."""
    _, _, section = PAGE.partition("\n## What do I touch to add …\n")
    rows = re.findall(r"^\| (an? [^|]+) \| ([^|]+) \|$", section.partition("\n## ")[0], flags=re.MULTILINE)
    return {what: paths_of(files) for what, files in rows}


TOUCHED = touched()


@pytest.mark.parametrize("path", sorted(set(paths_of(PAGE))))
def test_every_file_and_folder_that_is_named_exists(path: str) -> None:
    for placeholder in PLACEHOLDERS:
        path = path.replace(placeholder, "*")
    assert list(ROOT.glob(path)) != []


def test_every_package_has_its_line() -> None:
    there = {str(init.parent.relative_to(ROOT)) for house in HOUSES for init in (ROOT / house).glob("*/__init__.py")}
    assert there - set(paths_of(PAGE)) == set()


def test_the_table_says_what_each_addition_touches() -> None:
    asked = {"a stage", "a selection rule", "a gate's rule", "an import format", "an export schema", "a language"}
    assert {*asked, "a question beside the verdict", "a figure of a run"} <= set(TOUCHED)
    assert all(TOUCHED.values())


@pytest.mark.parametrize("stage", sorted(STAGES.keys() & TRAINED.keys()))
def test_every_stage_is_in_the_files_that_the_table_promises(stage: str) -> None:
    own = [path for path in TOUCHED["a stage"] if "NAME" in path]
    settings, *others = own
    assert len(others) == 2
    assert Path(inspect.getfile(TRAINED[stage])) in ROOT.glob(settings.replace("NAME", "*"))
    assert [path for path in others if not (ROOT / path.replace("NAME", stage)).is_file()] == []


def test_every_language_is_the_files_that_the_table_promises() -> None:
    own = [path for path in TOUCHED["a language"] if "CODE" in path]
    assert own
    for path in own:
        before, after = path.split("CODE")
        found = {str(file.relative_to(ROOT))[len(before) : -len(after)] for file in ROOT.glob(before + "*" + after)}
        assert found == set(locales.available()) - {locales.SOURCE}
