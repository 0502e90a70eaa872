"""The table of faults names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_fault_has_a_row_and_every_test_that_it_names_is_there() -> None:
    assert re.findall(r"^\| R(\d+) \|", TABLE, flags=re.MULTILINE) == [str(number) for number in range(1, 24)]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)
    assert len(named) > 40
    missing = [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
