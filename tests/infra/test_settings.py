"""Settings come from the environment alone, and a mistake in them is one line that says what to do."""

import re
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings, variables

ROOT = Path(__file__).resolve().parents[2]


def test_an_unknown_variable_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(
        SettingsError, match="PLUMBLINE_PROT is not a setting of Plumbline; the nearest is PLUMBLINE_PORT"
    ):
        load_settings({"PLUMBLINE_PROT": "8500", "PATH": "/bin"})


def test_every_mistake_is_named_in_one_line() -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings({"PLUMBLINE_PORT": "99999", "PLUMBLINE_QUEUES": "all", "PLUMBLINE_PUBLIC_URL": "example.org"})
    message = str(refusal.value)
    assert "\n" not in message
    for variable in ("PLUMBLINE_PORT='99999'", "PLUMBLINE_QUEUES='all'", "PLUMBLINE_PUBLIC_URL='example.org'"):
        assert variable in message


def test_an_empty_value_counts_as_unset() -> None:
    assert load_settings({"PLUMBLINE_PORT": "", "DATABASE_URL": ""}) == load_settings({})


def test_the_home_is_absolute_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).home == tmp_path / ".plumbline"
    assert load_settings({"PLUMBLINE_HOME": "data"}).home == tmp_path / "data"


def test_people_are_told_an_address_that_a_browser_can_open() -> None:
    assert load_settings({"PLUMBLINE_HOST": "::", "PLUMBLINE_PORT": "9000"}).site_url == "http://localhost:9000"
    assert load_settings({"PLUMBLINE_PUBLIC_URL": "https://example.org/"}).site_url == "https://example.org"


def test_the_documented_table_is_the_list_in_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE)
    assert rows == [
        (name, _shown(Settings.model_fields[field].default), Settings.model_fields[field].description)
        for name, field in variables().items()
    ]


def test_every_setting_is_used() -> None:
    source = "".join(
        path.read_text() for path in (ROOT / "app").rglob("*.py") if path != ROOT / "app/settings.py"
    ) + "".join(
        re.findall(r"def \w+\(self.*?(?=\n    def |\Z)", (ROOT / "app/settings.py").read_text(), flags=re.DOTALL)
    )
    assert [name for name, field in variables().items() if f".{field}" not in source] == []


def _shown(default: object) -> str:
    if default is None or default == "":
        return "—"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
