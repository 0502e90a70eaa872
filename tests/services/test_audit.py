"""The log of changes: which tables it follows, what it tells and what it leaves out, and that nobody can change it."""

import psycopg
import pytest
from sqlalchemy import delete, event, insert, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.acting import Actor, acting
from app.db.base import Base
from app.db.session import SessionFactory
from app.db.tables import AuditEntry, Member, Project
from app.db.tables.audit import LOGGED, NOT_LOGGED
from app.services import accounts, audit
from app.services.audit import Search
from app.services.judging import assignments
from tests.factories import make_member, make_project, make_scene, make_user


async def entries(db: AsyncSession, **wanted: object) -> list[AuditEntry]:
    """Newest first."""
    await db.flush()
    return await audit.page(db, Search(**wanted), size=100)  # type: ignore[arg-type]


def test_every_table_is_logged_or_says_why_not(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'log_changes'")
        assert {name for (name,) in rows} == LOGGED
    assert LOGGED | NOT_LOGGED.keys() == set(Base.metadata.tables)
    assert not LOGGED & NOT_LOGGED.keys()


async def test_a_change_tells_who_by_which_door_in_which_request_and_only_what_changed(db: AsyncSession) -> None:
    project = await make_project(db, "tea")
    ada = await make_user(db, "Ada")
    with acting(Actor("api", "request-1", ada.id)):
        project.guidelines = "Be kind."
        project.overlap = 3
        await db.flush()
    changed, made = await entries(db, project_id=project.id)
    assert (changed.kind, changed.subject, changed.action) == ("projects", str(project.id), "update")
    assert (changed.actor_id, changed.door, changed.request_id) == (ada.id, "api", "request-1")
    assert changed.before == {"guidelines": "", "overlap": 1}
    assert changed.after == {"guidelines": "Be kind.", "overlap": 3}
    assert (made.action, made.actor_id, made.door) == ("insert", None, "database")
    assert made.after is not None
    assert made.after["slug"] == "tea"


async def test_what_is_changed_to_what_it_was_is_no_change(db: AsyncSession) -> None:
    project = await make_project(db)
    await db.execute(update(Project).values(name=Project.name))
    assert len(await entries(db, project_id=project.id)) == 1


async def test_no_secret_and_no_name_of_a_person_is_in_it(db: AsyncSession) -> None:
    ada = await accounts.create_user(db, name="Ada", email="ada@example.org", password="correct horse battery")
    token = await accounts.create_api_token(db, ada.id, name="Ada's notebook")
    await accounts.create_sign_in_link(db, ada.id)
    ada.name, ada.password_hash = "Ada Lovelace", "another"
    told = await entries(db)
    assert [entry.kind for entry in told] == ["users", "sign_in_links", "api_tokens", "users"]
    assert told[0].before == {"name": "…", "password_hash": "…"} == told[0].after
    whole = " ".join(str(entry.before) + str(entry.after) for entry in told)
    assert token not in whole
    # A token's hint stands there, and its letters are drawn by chance: any short word may be among them.
    whole = whole.replace(token[: accounts.HINT_LENGTH], "")
    for secret in ("Ada", "example.org", "argon2", "x0", "\\x"):
        assert secret not in whole, secret


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET door = 'page'", "DELETE FROM audit_entries"])
async def test_nobody_changes_an_entry(db: AsyncSession, statement: str) -> None:
    await make_project(db)
    with pytest.raises((IntegrityError, ProgrammingError, OperationalError), match="immutable"):
        await db.execute(text(statement))


async def test_nobody_empties_it(db: AsyncSession) -> None:
    await make_project(db)
    with pytest.raises((IntegrityError, ProgrammingError, OperationalError), match="immutable"):
        await db.execute(text("TRUNCATE audit_entries"))


async def test_a_deleted_project_keeps_its_trace_and_its_parts_are_told_of_once(db: AsyncSession) -> None:
    project = await make_project(db, "tea")
    await make_member(db, project)
    with acting(Actor("page", "request-2", None)):
        await db.execute(delete(Project).where(Project.id == project.id))
    gone, *before = await entries(db, project_id=project.id)
    assert (gone.kind, gone.action, gone.request_id, gone.after) == ("projects", "delete", "request-2", None)
    assert gone.before is not None
    assert gone.before["slug"] == "tea"
    assert [entry.kind for entry in before] == ["members", "projects"]


async def test_who_acts_is_forgotten_with_the_transaction(db: AsyncSession, sessions: SessionFactory) -> None:
    with acting(Actor("page", "request-3", 77)):
        await make_project(db)
        await db.commit()
    await make_project(db)
    newest, older = await entries(db, kind="projects")
    assert (older.actor_id, older.door) == (77, "page")
    assert (newest.actor_id, newest.door, newest.request_id) == (None, "database", None)


async def test_a_statement_that_was_taken_back_leaves_no_entry_and_the_next_one_names_its_actor(
    db: AsyncSession,
) -> None:
    project = await make_project(db)
    ada = await make_user(db)
    with acting(Actor("page", "request-4", ada.id)):
        with pytest.raises(IntegrityError):
            async with db.begin_nested():
                await db.execute(insert(Member).values(project_id=project.id, user_id=ada.id, role="king"))
        await db.execute(insert(Member).values(project_id=project.id, user_id=ada.id, role="owner"))
    (entry,) = await entries(db, kind="members")
    assert (entry.actor_id, entry.subject) == (ada.id, f"{project.id}/{ada.id}")


async def test_an_annotators_work_is_no_change_by_hand_and_costs_no_round_trip(
    db: AsyncSession, engine: AsyncEngine
) -> None:
    project, task, annotator = await make_scene(db)
    before = await entries(db)
    sent: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    with acting(Actor("page", "request-5", annotator.user_id)):
        lease = await assignments.lease_next(db, annotator, project)
        assert lease is not None
        await assignments.skip(db, annotator, lease.id, reason="unclear")
    assert [statement for statement in sent if "set_config" in statement] == []
    assert sent
    assert await entries(db) == before
    assert task.project_id == project.id


async def test_the_worker_names_itself_and_its_turns_of_a_run_are_no_change_by_anybody(db: AsyncSession) -> None:
    project = await make_project(db)
    run = "INSERT INTO runs (project_id, stage) VALUES (:project, 'sft')"
    with acting(Actor("worker")):
        project.opens_next_round = False
        await db.flush()
        await db.execute(text(run), {"project": project.id})
    with acting(Actor("command")):
        await db.execute(text(run), {"project": project.id})
    await db.execute(text("UPDATE runs SET phase = 'first', step = 2"))
    told = await entries(db, project_id=project.id)
    assert [(entry.kind, entry.door) for entry in told] == [
        ("runs", "command"),
        ("projects", "worker"),
        ("projects", "database"),
    ]


@pytest.fixture
async def searched(db: AsyncSession) -> Project:
    project = await make_project(db, "tea")
    ada = await make_user(db, "Ada")
    with acting(Actor("page", "request-6", ada.id)):
        project.guidelines = "Prefer the kinder response, O'Brien's and a\\b."
        await db.commit()
    await make_project(db, "coffee")
    return project


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kind", 1),
        ("KINDER respon", 1),
        ("kinder unkind", 0),
        ("guidelines", 2),
        ("'", 0),
        ("O'Brien's", 1),
        ("b\\", 1),
    ],
)
async def test_it_is_searched_by_beginnings_of_words(
    db: AsyncSession, searched: Project, words: str, found: int
) -> None:
    assert len(await entries(db, project_id=searched.id, text=words)) == found


async def test_it_is_searched_by_person_kind_and_time(db: AsyncSession, searched: Project) -> None:
    (entry,) = await entries(db, actor_ids=await audit.called(db, " ADA"))
    assert entry.after is not None
    assert set(entry.after) == {"guidelines"}
    assert await audit.names(db, [entry]) == {entry.actor_id: "Ada"}
    assert [entry.kind for entry in await entries(db, kind="users")] == ["users"]
    assert await entries(db, since=entry.at) == (await entries(db))[: len(await entries(db, since=entry.at))]
    assert entry.id not in {older.id for older in await entries(db, until=entry.at)}
    assert await audit.kinds(db, Search()) == ["projects", "users"]


async def test_a_long_change_is_logged_whole(db: AsyncSession) -> None:
    project = await make_project(db)
    project.guidelines = " ".join(f"word{number}" for number in range(200_000))
    (entry, _) = await entries(db, project_id=project.id)
    assert entry.after == {"guidelines": project.guidelines}


async def test_a_gold_answer_is_told_in_its_project(db: AsyncSession) -> None:
    project, task, _ = await make_scene(db)
    await db.execute(text("INSERT INTO gold_answers (task_id, better) VALUES (:task, 0)"), {"task": task.id})
    (entry,) = await entries(db, kind="gold_answers")
    assert (entry.project_id, entry.subject) == (project.id, str(task.id))
