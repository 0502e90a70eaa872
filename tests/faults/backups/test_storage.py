"""Backups to a storage that speaks S3: a server of its own, on the loopback."""

from importlib import util
from pathlib import Path

import httpx
import pytest

from app.db.tables import Project
from tests.faults.backups.conftest import Command, files_in
from tests.jobs.loop import Loop
from tests.object_storage import credentials


@pytest.fixture
def s3(storage_server: str) -> dict[str, str]:
    return credentials(storage_server)


async def test_a_storage_takes_only_what_is_new_and_gives_it_back(
    loop: Loop, project: Project, here: Command, there: Command, s3: dict[str, str], other_home: Path
) -> None:
    place = "s3://bucket/plumbline/mine"
    assert (await here("backup", place, **s3)).code == 0
    await loop.judge(project, 1)
    second = await here("backup", place, "--keep", "1", **s3)
    assert second.code == 0, second.err
    assert f"is in {place}: " in second.out
    (name,) = (await there("restore", place, "--list", **s3)).out.split()
    assert (await there("restore", place, "--check", **s3)).code == 0
    assert (await there("restore", place, **s3)).code == 0
    assert (await here("restore", place, "--backup", "another", **s3)).refusal.startswith("There is no backup another")
    assert name in second.out
    assert files_in(other_home / "models")


def change_an_object(storage_server: str) -> str:
    """The key of what is something else now."""
    listed = httpx.get(f"{storage_server}/bucket", params={"list-type": "2", "prefix": "damaged/objects/"}).text
    key = listed.partition("<Key>")[2].partition("</Key>")[0]
    httpx.put(f"{storage_server}/bucket/{key}", content=b"something else").raise_for_status()
    return key


async def test_a_changed_object_is_refused_by_name(
    project: Project, here: Command, there: Command, s3: dict[str, str], storage_server: str
) -> None:
    assert (await here("backup", "s3://bucket/damaged", **s3)).code == 0
    key = change_an_object(storage_server)
    refusal = (await there("restore", "s3://bucket/damaged", **s3)).refusal
    assert refusal == f"The backup is damaged: {key.removeprefix('damaged/')} is not what it was."


async def test_a_storage_that_is_not_there_is_one_line(project: Project, here: Command, s3: dict[str, str]) -> None:
    refusal = (await here("backup", "s3://nowhere/x", **s3)).refusal
    assert refusal.startswith("The storage s3://nowhere/x can't be used: ")


async def test_without_the_extra_it_says_what_to_install(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr("app.services.places.storage.find_spec", lambda name: None if name == "obstore" else find(name))
    assert (await here("backup", "s3://bucket/x")).refusal == (
        "s3://bucket/x needs obstore, which isn't installed: pip install plumbline[storage]"
    )
