"""What `make audit` finds fault with, and what the lock promises without it."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
# Before these, known vulnerabilities reach what a request or a file can hold.
FLOORS = {"starlette": (1, 3), "python-multipart": (0, 0, 27), "nh3": (0, 3, 8), "authlib": (1, 9), "torch": (2, 10)}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
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


def test_a_known_vulnerability_is_named_with_what_mends_it(audit: ModuleType) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    told = {"dependencies": [{"name": "bad", "version": "1.0", "vulns": [known]}, {"name": "good", "vulns": []}]}
    assert audit.vulnerabilities(told) == ["bad 1.0 has PYSEC-1, mended in 2.0"]


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
