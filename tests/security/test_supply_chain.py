"""What `make audit` finds fault with, and what the lock promises without it."""

import json
import re
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
# Before these, known vulnerabilities reach what a request or a file can hold.
FLOORS = {"starlette": (1, 3), "python-multipart": (0, 0, 27), "nh3": (0, 3, 8), "authlib": (1, 9), "torch": (2, 10)}
VERSIONS = ("1.0", "1.1", "1.9", "2.5")


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / ".ci")
    spec = spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_that_is_shipped_is_locked_with_its_hash(audit: ModuleType) -> None:
    for image in ("web", "trainer"):
        packages = re.findall(r"^([\w.-]+)==.*((?:\n[ \t]+--hash=\S+.*)*)", audit.lock_of(image, LOCK), re.MULTILINE)
        assert len(packages) > 50
        assert [name for name, hashes in packages if "sha256:" not in hashes and name != "torch"] == []


def test_no_package_is_older_than_what_mended_it(audit: ModuleType) -> None:
    found = dict(re.findall(r"^([\w.-]+)==([\d.]+)", LOCK + audit.lock_of("trainer", LOCK), re.MULTILINE))
    old = {name for name, floor in FLOORS.items() if tuple(map(int, found[name].split("."))) < floor}
    assert old == set()


def test_the_bill_of_an_image_is_of_its_own_sections(audit: ModuleType) -> None:
    web, trainer = (set(audit.names_of(audit.lock_of(image, LOCK))) for image in ("web", "trainer"))
    assert {"fastapi", "authlib", "obstore", "opentelemetry-sdk"} <= web, "and what settings may ask for"
    assert not {"torch", "transformers", "pytest"} & web
    assert {"fastapi", "torch", "transformers"} <= trainer
    assert "pytest" not in trainer


def test_a_lookup_that_nobody_answered_is_no_good_answer(audit: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = {"dependencies": [{"name": "fastapi", "skip_reason": "not found"}]}
    for told in (None, skipped):
        assert audit.vulnerabilities(told) == []
        assert "NOT looked up" in capsys.readouterr().out


def test_a_lookup_is_asked_in_a_form_that_its_tool_reads(
    audit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "OUT", tmp_path)
    lock = audit.lock_of("trainer", LOCK)
    files = [file.read_text() for file in audit._write_pins(lock)]
    assert "--hash" in lock, "which torch has not"
    assert "--hash" not in "".join(files)
    assert sorted(pin for file in files for pin in audit.pins_of(file)) == sorted(audit.pins_of(lock))
    assert all(len(set(audit.names_of(file))) == len(audit.names_of(file)) for file in files)


def test_a_known_vulnerability_is_named_with_what_mends_it(audit: ModuleType) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    told = {"dependencies": [{"name": "bad", "version": "1.0", "vulns": [known]}, {"name": "good", "vulns": []}]}
    assert audit.vulnerabilities(told) == ["bad 1.0 has PYSEC-1, mended in 2.0"]


ADVISORY = {
    "id": "PYSEC-7",
    "modified": "2026-01-02T03:04:05Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Some_Thing"},
            "versions": ["1.0"],
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}, {"introduced": "2.0"}]}],
        }
    ],
}


@pytest.mark.parametrize(("form", "of"), [("json", json.dumps), ("yaml", yaml.safe_dump)])
def test_a_folder_of_advisories_does_where_no_database_answers(
    audit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, of: Callable[[object], str]
) -> None:
    (tmp_path / "some-thing").mkdir()
    (tmp_path / "some-thing" / f"PYSEC-7.{form}").write_text(of(ADVISORY))
    withdrawn = ADVISORY | {"id": "PYSEC-8", "withdrawn": "2026-01-03T00:00:00Z"}
    (tmp_path / f"PYSEC-8.{form}").write_text(of(withdrawn))
    lock = "".join(f"some-thing=={version} ; sys_platform == 'linux' \\\n    --hash=sha256:1\n" for version in VERSIONS)

    told = audit.look_up(audit.pins_of(f"{lock}other==1.0\n"), tmp_path)

    assert audit.vulnerabilities(told) == [
        "some-thing 1.0 has PYSEC-7, mended in 1.1",
        "some-thing 2.5 has PYSEC-7, mended in -",
    ]
    assert "of 5 packages out of 5, in advisories up to 2026-01-02." in capsys.readouterr().out


def test_a_folder_without_advisories_is_no_good_answer(audit: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no advisories"):
        audit.look_up([("fastapi", "1.0")], tmp_path)


@pytest.mark.parametrize(
    ("licence", "is_shipped"),
    [
        ("MIT", True),
        ("LGPL-3.0-only", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("GPL-3.0-or-later", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("AGPL-3.0-only", False),
        ("GNU Affero General Public License v3", False),
        ("UNKNOWN", False),
    ],
)
def test_a_licence_that_reaches_what_is_shipped_with_it_is_refused(
    audit: ModuleType, licence: str, is_shipped: bool
) -> None:
    told = audit.licences([{"Name": "one", "Version": "1", "License": licence}])
    assert told == ([] if is_shipped else [f"one 1 is under {licence}"])
