"""Large files on their way in: what the database asks of rows in bulk, who comes between, and what is read later."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import ForeignKeyViolation, LockNotAvailable
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Completion, Judgement, Project, Prompt, Task
from app.services import prompts
from app.services.browse import documents
from app.services.browse.lists import LISTS, ListName
from app.services.data.storing import frames, merging
from app.services.data.storing.loads import Counts
from app.services.prompts import NewPrompt
from tests.factories import make_project, make_prompt
from tests.importing import import_file
from tests.waiting import somebody_waits_for_a_lock

BULK = ("prompts", "completions", "tasks", "task_completions", "judgements", "demonstrations")
IN_BULK = "SET session_replication_role = replica"


def pairs(file: Path, *prompts_: str) -> Path:
    rows = [{"prompt": prompt, "chosen": f"{prompt} Yes.", "rejected": "No."} for prompt in prompts_]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def bring(db: AsyncSession, project: Project, file: Path) -> Counts:
    return await import_file(db, project, file, schema="preference")


@pytest.mark.parametrize(
    "orphan",
    [
        "prompts (project_id, messages, digest, split, source) VALUES (0, '[]', '\\x00', 'train', 'f')",
        "completions (prompt_id, text, source) VALUES (0, 'Yes.', 'imported')",
        "tasks (project_id, prompt_id, quota) SELECT id, 0, 1 FROM projects",
        "tasks (project_id, prompt_id, quota, reserved_for_id) SELECT project_id, id, 1, 0 FROM prompts",
        "task_completions (task_id, position, completion_id) VALUES (0, 0, 0)",
        "judgements (project_id, task_id, kind, choice, preference, shown_order, guidelines_version)"
        " SELECT id, 0, 'imported', 2, 2, '{0,1}', 1 FROM projects",
        "demonstrations (prompt_id, text, source) VALUES (0, 'Yes.', 'imported')",
    ],
)
async def test_a_row_that_leads_nowhere_is_refused_in_bulk_too(
    orphan: str, db: AsyncSession, database_url: str
) -> None:
    await make_prompt(db, await make_project(db))
    await db.commit()
    with psycopg.connect(database_url) as connection:
        connection.execute(IN_BULK)
        with pytest.raises(ForeignKeyViolation):
            connection.execute(f"INSERT INTO {orphan}")


async def test_a_parent_stays_while_its_rows_come_in_in_bulk(db: AsyncSession, database_url: str) -> None:
    prompt = await make_prompt(db, await make_project(db))
    await db.commit()
    with psycopg.connect(database_url) as bringing, psycopg.connect(database_url) as removing:
        bringing.execute(IN_BULK)
        bringing.execute(
            "INSERT INTO completions (prompt_id, text, source) VALUES (%s, 'Yes.', 'imported')", [prompt.id]
        )
        with pytest.raises(LockNotAvailable):
            removing.execute("SELECT FROM prompts WHERE id = %s FOR UPDATE NOWAIT", [prompt.id])


async def test_every_table_that_is_filled_in_bulk_asks_for_parents(db: AsyncSession) -> None:
    asked = await db.scalars(text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'parents_exist'"))
    assert sorted(asked) == sorted(BULK)


async def test_the_server_is_told_to_learn_how_rare_words_are(db: AsyncSession) -> None:
    learnt = await db.scalars(text("SELECT stxrelid::regclass::text FROM pg_statistic_ext WHERE stxexprs IS NOT NULL"))
    assert sorted(learnt) == sorted(document.holder.__tablename__ for document in documents.ALL)


@pytest.mark.parametrize("right", [True, False])
async def test_a_database_that_lets_us_ask_in_bulk_takes_in_what_another_does(
    right: bool, db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await db.scalar(text("SELECT has_parameter_privilege('session_replication_role', 'SET')"))
    assert granted is True  # by the embedded server
    monkeypatch.setattr(merging, "NOW_AND_RIGHT", f"SELECT now()::text, {right}")
    project = await make_project(db)
    counts = await bring(db, project, pairs(tmp_path / "pairs.jsonl", "Tea?", "Milk?"))
    assert (counts.new, counts.prompts, counts.tasks, counts.judgements) == (2, 2, 2, 2)
    assert await db.scalar(text("SELECT current_setting('session_replication_role')")) == "origin"
    again = await bring(db, project, pairs(tmp_path / "pairs.jsonl", "Tea?", "Sugar?"))
    assert (again.new, again.already_there) == (1, 1)


async def test_a_prompt_that_somebody_else_adds_meanwhile_is_taken_as_theirs(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db)
    await db.commit()
    file = pairs(tmp_path / "pairs.jsonl", "Tea?", "Milk?")
    async with sessions() as other, sessions() as bringing, sessions() as looking:
        theirs = await prompts.put(other, project, [NewPrompt((("user", "Milk?"),), source="a person")])
        importing = asyncio.create_task(bring(bringing, await bringing.get_one(Project, project.id), file))
        await somebody_waits_for_a_lock(looking)
        await other.commit()
        counts = await importing
        await bringing.commit()
    assert (counts.new, counts.prompts, counts.tasks) == (2, 1, 2)
    held = await db.scalars(select(Prompt.id).where(Prompt.source == "a person"))
    assert held.all() == list(theirs.values())
    assert await db.scalar(select(func.count()).select_from(Task).where(Task.prompt_id.in_(theirs.values()))) == 1
    assert await db.scalar(select(func.count()).select_from(Judgement)) == 2


async def found(db: AsyncSession, project: Project, name: ListName, words: str) -> int:
    listing = LISTS[name]
    filters = listing.filters.model_validate({"search": words})
    return len((await listing.page(db, project, filters, after=None, limit=100)).rows)


async def test_the_words_of_a_large_file_are_found_once_they_were_read(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "ROWS_A_FRAME", 2)
    project = await make_project(db)
    asked = [f"Sage number {number}?" for number in range(5)]
    await bring(db, project, pairs(tmp_path / "pairs.jsonl", *asked))
    assert [await found(db, project, name, "sage") for name in ("prompts", "responses", "tasks")] == [2, 2, 2]
    assert await documents.is_behind(db, documents.RESPONSE)
    while await documents.read_some(db):
        pass
    assert [await found(db, project, name, "sage") for name in ("prompts", "responses", "tasks")] == [5, 5, 5]
    assert not await documents.is_behind(db, documents.RESPONSE)


async def test_two_who_read_at_once_read_everything_once_and_neither_waits(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "ROWS_A_FRAME", 2)
    monkeypatch.setattr(documents, "READ_AT_ONCE", 2)
    await bring(
        db, await make_project(db), pairs(tmp_path / "pairs.jsonl", *(f"Sage {number}?" for number in range(4)))
    )
    await db.commit()
    async with sessions() as one, sessions() as other:
        assert await documents.read_some(one) == 4
        assert await documents.read_some(other) == 2
        await one.commit()
        await other.commit()
    unread = select(func.count()).select_from(Completion).where(~Completion.is_searchable)
    assert await db.scalar(unread) == 0
