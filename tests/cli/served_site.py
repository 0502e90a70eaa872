"""A seeded site that may reach served models of this machine, for their commands and those of judges."""

from pathlib import Path

import pytest

from tests.served_endpoint import LOOPBACK

HERE = ("-p", "everyday-help")


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _loopback_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_PRIVATE_ADDRESSES", LOOPBACK)
