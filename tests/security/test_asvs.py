"""The table of docs/asvs.md claims nothing that nobody checks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs/asvs.md").read_text()
ROWS = re.findall(r"^\| ([\d.–]+) \| (met|partly|not met|n/a) \| (.*?) \| (.*) \|$", TABLE, flags=re.MULTILINE)
STATES = ("met", "partly", "not met", "n/a")


def test_every_test_that_is_named_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), flags=re.MULTILINE)
    }
    named = {name for *_, tests in ROWS for name in re.findall(r"`(\w+)`", tests)}
    assert len(named) > 60
    assert sorted(named - there) == []


def test_what_is_met_names_a_test_or_says_how() -> None:
    assert [number for number, state, how, tests in ROWS if state == "met" and not (how.strip() or tests.strip())] == []


def test_what_is_not_met_says_what_is_missing() -> None:
    assert [number for number, state, how, _ in ROWS if state in {"partly", "not met", "n/a"} and not how.strip()] == []


def test_no_requirement_stands_twice_and_every_chapter_is_there() -> None:
    numbers = [tuple(map(int, number.partition("–")[0].split("."))) for number, *_ in ROWS]
    assert numbers == sorted(set(numbers))
    assert {chapter for chapter, *_ in numbers} == set(range(1, 18))
