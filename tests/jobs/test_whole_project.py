"""A whole project through one file: exported, deleted and imported again, nothing is lost nor anybody else's."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base, Json
from app.db.tables import DatasetVersion, Judgement, Member, Project, Run, ServedModel, Task, User
from app.services.data import datasets
from app.services.judging.machines import answers, judges
from app.services.judging.machines.answers import Answer, Reply
from app.services.judging.machines.asking import Read
from app.services.loop.models import artifacts, models
from app.services.loop.runs import runs, starting
from app.services.projects import contents, packing
from app.services.projects.unpacking import JSON_IDS
from tests.exporting import exported
from tests.jobs.conftest import Command
from tests.jobs.loop import Loop
from tests.jobs.test_removal import ask, turned

# What says where something lies, or is the file's own: of its place.
PLACES = {
    "runs": {"folder", "state", "finished_at", "lease_expires_at", "lease_owner"},
    "model_versions": {"folder"},
    "dataset_versions": {"path", "sha256"},
    "imports": {"folder"},
    "judgements": {"idempotency_key"},
}


@pytest.fixture
async def owner(loop: Loop) -> User:
    async def make(db: AsyncSession) -> User:
        user = User(name="Ada", email="ada@example.org")
        db.add(user)
        await db.flush()
        return user

    return await loop.do(make)


async def named(loop: Loop, slug: str) -> Project:
    async def read(db: AsyncSession) -> Project:
        found = await db.scalar(select(Project).where(Project.slug == slug))
        assert found is not None
        return found

    return await loop.do(read)


def test_somebody_has_decided_of_every_table_whether_it_goes_along() -> None:
    assert {part.table.name for part in contents.parts()} == packing.TRAVEL | packing.STAY
    for table in Base.metadata.sorted_tables:
        if table.name in packing.TRAVEL:
            places = {column.key for column in table.c if column.key in ("folder", "path")}
            assert places <= PLACES.get(table.name, set()), table.name


async def test_what_was_exported_deleted_and_imported_is_the_same_project(
    loop: Loop, command: Command, tmp_path: Path, owner: User
) -> None:
    project = await turned(loop)

    async def address(db: AsyncSession) -> None:
        user = await db.get_one(User, await db.scalar(select(Member.user_id).where(Member.project_id == project.id)))
        user.email = "bo@example.org"
        # Whom work was given to is a matter of this place.
        await db.execute(
            update(Task).where(Task.project_id == project.id, Task.purpose == "label").values(reserved_for_id=user.id)
        )
        await judged_by_a_machine(db, project.id)

    await loop.do(address)
    first, again = tmp_path / "first.zip", tmp_path / "again.zip"
    code, said = await command("project", "export", project.slug, "-o", str(first), "--models")
    assert (code, "rows of" in said) == (0, True)
    await loop.do(lambda db: ask(db, project))
    await loop.work_off()
    assert not (loop.context.home / "models" / project.slug).exists()
    # Another project takes numbers in between, so that nothing comes to lie where it was.
    await turned(loop)
    assert await command("project", "import", str(first), "-u", "Ada") == (0, f"{project.slug}\n")
    imported = await named(loop, project.slug)
    assert imported.id != project.id
    assert (await command("project", "export", project.slug, "-o", str(again), "--models"))[0] == 0
    before, after = read(first), read(again)
    assert before.keys() == after.keys()
    for name in before:
        assert after[name] == before[name], name
    # The files are there, are what their rows say, and name the rows of here.
    await loop.do(lambda db: check_files(db, loop.context.home, imported))
    roles = await loop.do(lambda db: members(db, imported))
    assert ("Ada", "owner") in roles
    # And the loop goes on.
    await loop.start_round(imported)
    await loop.work_off()
    await loop.judge(imported, 4)
    await loop.work_off()
    assert len(await loop.versions(imported)) > len(before["tables/model_versions.jsonl"]) / 2


async def judged_by_a_machine(db: AsyncSession, project_id: int) -> None:
    served = ServedModel(project_id=project_id, name="Vicuña", address="https://models.example/v1", model="m")
    db.add(served)
    await db.flush()
    judge = await judges.make(db, await db.get_one(Project, project_id), served)
    run = await runs.queue_run(db, project_id=project_id, stage="judge", settings={"judge_id": judge.id})
    run.state, run.finished_at = "succeeded", judge.created_at
    tasks = await db.scalars(select(Task.id).where(Task.project_id == project_id).limit(2))
    said = Reply((0, 1), Read("A"), "A.", 7), Reply((1, 0), Read("B"), "B.", 7)
    unread = Reply((1, 0), Read(None, "Why."), "?", 7)
    first, second = tasks
    given = [Answer(first, "chance", None, said), Answer(second, "sure", 0.9, (said[0], unread))]
    assert len(await answers.store(db, judge, run.id, given, guidelines_version=1)) == 2


async def test_the_same_file_is_imported_beside_its_project_and_without_names_and_models(
    loop: Loop, command: Command, tmp_path: Path, owner: User
) -> None:
    project = await turned(loop)
    file = tmp_path / "plain.zip"
    assert (await command("project", "export", project.slug, "-o", str(file), "--pseudonyms"))[0] == 0
    content = zipfile.ZipFile(file).read("people.jsonl").decode()
    assert "Person 1" in content
    assert "email" not in content
    beside = await command("project", "import", str(file), "-u", "Ada", "--slug", "beside", "--name", "Beside")
    assert beside == (0, "beside\n")
    made = await named(loop, "beside")
    assert made.name == "Beside"
    everybody = await loop.do(lambda db: strangers(db, made))
    assert everybody
    assert all(name.startswith("Person ") and disabled for name, disabled in everybody)
    # Models are known and can't be used.
    assert {version.state for version in await loop.versions(made)} == {"archived"}
    assert await loop.do(lambda db: models.promoted(db, made.id)) is None


async def test_a_file_that_is_not_whole_or_from_elsewhere_makes_nothing(
    loop: Loop, command: Command, tmp_path: Path, owner: User
) -> None:
    project = await turned(loop)
    file = tmp_path / "good.zip"
    assert (await command("project", "export", project.slug, "-o", str(file)))[0] == 0
    files = sorted(loop.context.home.rglob("*"))

    async def refusal(change: Callable[[dict[str, bytes]], None]) -> str:
        entries = {name: zipfile.ZipFile(file).read(name) for name in zipfile.ZipFile(file).namelist()}
        change(entries)
        changed = tmp_path / "changed.zip"
        with zipfile.ZipFile(changed, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        code, said = await command("project", "import", str(changed), "-u", "Ada", "--slug", "other")
        assert code == 2
        assert len(said.splitlines()) == 1
        return said

    def manifested(**change: Any) -> Callable[[dict[str, bytes]], None]:
        def set_manifest(entries: dict[str, bytes]) -> None:
            entries["manifest.json"] = json.dumps(json.loads(entries["manifest.json"]) | change).encode()

        return set_manifest

    def smuggled(entries: dict[str, bytes]) -> None:
        manifest = json.loads(entries["manifest.json"])
        entries["files/runs/1/../../../x"] = b""
        manifest["sha256"]["files/runs/1/../../../x"] = (
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
        entries["manifest.json"] = json.dumps(manifest).encode()

    assert "was changed: tables/prompts.jsonl" in await refusal(
        lambda all_: all_.update({"tables/prompts.jsonl": b"{}"})
    )
    assert "not whole: people.jsonl" in await refusal(lambda entries: entries.pop("people.jsonl") and None)
    assert "made by another version of Plumbline: its format is 2" in await refusal(manifested(format=2))
    assert "newer version" in await refusal(manifested(tables={"dreams": {"rows": 0, "ids": None}}))
    assert "can't be one of a project" in await refusal(smuggled)
    (tmp_path / "no.zip").write_text("no zip")
    assert (await command("project", "import", str(tmp_path / "no.zip"), "-u", "Ada"))[0] == 2
    assert sorted(loop.context.home.rglob("*")) == files
    code, listed = await command("project", "list")
    assert (code, listed.count("\n")) == (0, 1)


async def test_an_export_is_a_run_whose_file_goes_with_the_project(loop: Loop) -> None:
    project = await turned(loop)

    async def export(db: AsyncSession) -> Run:

        found = await db.get_one(Project, project.id)
        return await starting.start(db, None, found, "pack", inputs={"with_models": False, "with_people": True})

    run = await loop.do(export)
    done = await loop.execute(run)
    assert done.state == "succeeded"
    file = loop.context.home / str(run.folder) / f"{project.slug}.zip"
    assert done.result is not None
    assert file.stat().st_size == done.result["size_bytes"]
    await loop.do(lambda db: ask(db, project))
    await loop.work_off()
    assert not file.exists()


def read(file: Path) -> dict[str, Any]:
    """The rows of every table with ids counted from the first of the file on, places left out; files by digest."""
    with zipfile.ZipFile(file) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        first = {name: said["ids"][0] for name, said in manifest["tables"].items() if said["ids"]}
        people = {person["id"]: person for person in lines(archive, "people.jsonl")}
        found: dict[str, Any] = {
            f"tables/{name}.jsonl": [
                relative(name, row, first, people) for row in lines(archive, f"tables/{name}.jsonl")
            ]
            for name in manifest["tables"]
        }
        # Whoever imports is a member beside those of the file.
        found["tables/members.jsonl"] = [row for row in found["tables/members.jsonl"] if row["user_id"] != "Ada"]
        project = json.loads(archive.read("project.json"))
        return found | {"project": {name: value for name, value in project.items() if name != "id"}}


def relative(table: str, row: Json, first: dict[str, int], people: dict[int, Json]) -> Json:
    for key in Base.metadata.tables[table].foreign_keys:
        column, target = key.parent.name, key.column.table.name
        if row.get(column) is None:
            continue
        row[column] = people[row[column]]["name"] if target == "users" else row[column] - first.get(target, row[column])
    if "id" in row:
        row["id"] -= first[table]
    for place in ("settings", "result"):
        for name, value in (row.get(place) or {}).items() if table == "runs" else ():
            if name in JSON_IDS and value is not None:
                by = first[JSON_IDS[name]]
                row[place][name] = [entry - by for entry in value] if isinstance(value, list) else value - by
    return {name: value for name, value in row.items() if name not in PLACES.get(table, set())}


def lines(archive: zipfile.ZipFile, entry: str) -> list[Json]:
    return [json.loads(line) for line in archive.read(entry).splitlines()]


async def check_files(db: AsyncSession, home: Path, project: Project) -> None:
    for version in await models.list_versions(db, project.id):
        artifacts.require_registered(home / version.folder, version.manifest_sha256)
        assert artifacts.verify(home / version.folder)
    ids = set(await db.scalars(select(Judgement.id).where(Judgement.project_id == project.id)))
    versions = list(await db.scalars(select(DatasetVersion).where(DatasetVersion.project_id == project.id)))
    assert versions
    for version in versions:
        datasets.verify(version, home)
        if version.kind == "preferences":
            said = await exported(db, version, home, schema="raw")
            assert {row["judgement_id"] for row in said} <= ids


async def members(db: AsyncSession, project: Project) -> list[tuple[str, str]]:
    rows = await db.execute(
        select(User.name, Member.role).join(Member, Member.user_id == User.id).where(Member.project_id == project.id)
    )
    return [(name, role) for name, role in rows]


async def strangers(db: AsyncSession, project: Project) -> list[tuple[str, bool]]:
    rows = await db.execute(
        select(User.name, User.disabled_at.is_not(None))
        .join(Judgement, Judgement.annotator_id == User.id)
        .where(Judgement.project_id == project.id)
    )
    return [(name, disabled) for name, disabled in rows]
