"""Keys of served models at rest."""

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import Conflict
from app.services.served import keys
from app.settings import settings
from tests.served_endpoint import KEY


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_a_sealed_key_opens_again_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    sealed = keys.seal(KEY, project_id=1, home=tmp_path)
    assert keys.unseal(sealed, project_id=1, home=tmp_path) == KEY
    assert KEY.encode() not in sealed
    assert keys.seal(KEY, project_id=1, home=tmp_path) != sealed


def test_the_installations_key_is_its_owners_alone(tmp_path: Path) -> None:
    keys.seal(KEY, project_id=1, home=tmp_path)
    file = tmp_path / "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    file.chmod(0o640)
    with pytest.raises(Conflict, match="chmod 600"):
        keys.seal(KEY, project_id=1, home=tmp_path)


def test_a_key_opens_neither_for_another_project_nor_in_another_installation(tmp_path: Path) -> None:
    sealed = keys.seal(KEY, project_id=1, home=tmp_path)
    for project_id, home in ((2, tmp_path), (1, tmp_path / "other")):
        with pytest.raises(Conflict, match="another installation"):
            keys.unseal(sealed, project_id=project_id, home=home)


def test_processes_that_need_the_first_key_at_once_use_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: keys.seal(KEY, project_id=1, home=tmp_path), range(16)))
    assert {keys.unseal(each, project_id=1, home=tmp_path) for each in sealed} == {KEY}


def test_the_key_may_come_from_a_file_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("ab" * 32)
    elsewhere.chmod(0o400)
    monkeypatch.setenv("PLUMBLINE_SECRET_KEY_FILE", str(elsewhere))
    settings.cache_clear()
    sealed = keys.seal(KEY, project_id=1, home=tmp_path / "home")
    assert keys.unseal(sealed, project_id=1, home=tmp_path / "home") == KEY
    assert not (tmp_path / "home").exists()
    elsewhere.chmod(0o600)
    elsewhere.write_text("short")
    with pytest.raises(Conflict, match="64 hexadecimal digits"):
        keys.seal(KEY, project_id=1, home=tmp_path / "home")
