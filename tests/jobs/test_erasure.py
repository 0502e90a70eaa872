"""What an owner erases is gone from rows, lists, files and what is served, for good, and the rest stays whole."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Assignment,
    AuditEntry,
    Completion,
    DatasetJudgement,
    DatasetVersion,
    Demonstration,
    Errand,
    GoldAnswer,
    Judgement,
    Metric,
    Project,
    Prompt,
    Run,
    Task,
    TaskCompletion,
)
from app.errors import Conflict, Erased, NotFound
from app.security import Principal
from app.services.browse import changes
from app.services.browse.lists import LISTS
from app.services.data import datasets
from app.services.data.datasets import ErasedFrom
from app.services.data.exports.asked import Asked
from app.services.erasure.targets import Target, reach_of
from app.services.erasure.touched import Model, Version, look
from app.services.judging import assignments, judgements, labels
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.chores import erasing, exporting, folders
from app.services.loop.runs import runs
from app.services.projects import packing, standing
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.jobs.loop import Loop

SECRET = "Call Ada Byron on 555-0199 about the kettle"
SAID = "Ada Byron would never say that"


async def judged(db: AsyncSession, project: Project, who: Principal, **said: object) -> Judgement:
    """The next task, judged by this person."""
    leased = await assignments.lease_next(db, who, project)
    assert leased is not None
    submission = Submission(Answer(2, **said), idempotency_key=f"{who.user_id}-{leased.id}")  # type: ignore[arg-type]
    judgement_id = (await judgements.submit(db, who, leased.id, submission)).judgement.id
    return await db.get_one(Judgement, judgement_id)


async def found(db: AsyncSession, project: Project, words: str) -> set[str]:
    """Lists that find these words."""
    searched = {}
    for name, listing in LISTS.items():
        page = await listing.page(db, project, listing.filters(search=words), after=None, limit=10)
        searched[name] = len(page.rows)
    return {name for name, count in searched.items() if count}


async def everywhere(db: AsyncSession, word: str) -> list[str]:
    """Tables of which any row holds the word, the log among them."""
    tables = await db.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    holding = 'SELECT count(*) FROM "{}" t WHERE t::text LIKE :word'
    like = {"word": f"%{word}%"}
    return [table for table in list(tables) if await db.scalar(text(holding.format(table)), like)]


async def test_an_erased_prompt_is_nowhere_and_everything_that_was_judged_stays(loop: Loop) -> None:
    home = loop.context.home

    async def scene(db: AsyncSession) -> tuple[Project, int, int, Principal]:
        project = await make_project(db, overlap=2)
        project.question = {"asks_edit": True}
        kim, lee = await make_member(db, project), await make_member(db, project)
        prompt = await make_prompt(db, project, SECRET)
        await make_task(db, project, f"{SECRET}, first", f"{SECRET}, second", prompt=prompt, priority=1)
        await make_task(db, project)
        await judged(db, project, kim, rationale=SAID, response=f"{SECRET}, better")
        await judged(db, project, kim)
        assert await assignments.lease_next(db, lee, project)
        run = await runs.queue_run(db, project_id=project.id, stage="evaluate", settings={})
        samples = [{"prompt_id": str(prompt.id), "prompt": SECRET, "policy": "x"}, {"prompt_id": "0", "prompt": "Tea?"}]
        db.add(Metric(run_id=run.id, phase="policy", step=1, figures={}, samples=samples))
        inputs = home / str(run.folder) / "inputs"
        inputs.mkdir(parents=True)
        (inputs / "prompts.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        run.state, run.finished_at = "succeeded", prompt.created_at
        db.add(Errand(project_id=project.id, kind="write", asked={"messages": [{"role": "user", "content": SECRET}]}))
        await datasets.cut_preferences(db, project, home=home)
        await datasets.cut_demonstrations(db, project, home=home)
        return project, prompt.id, run.id, lee

    project, prompt_id, run_id, lee = await loop.do(scene)
    target = Target("prompt", prompt_id)
    touched = await loop.do(lambda db: touches(db, project, target))
    assert (touched.prompts, touched.responses, touched.demonstrations, touched.words) == (1, 2, 1, 1)
    assert (touched.tasks, touched.judgements, touched.leases) == (1, 1, 1)
    assert set(touched.versions) == {Version("preferences", 1, True), Version("demonstrations", 1, True)}
    assert await loop.do(lambda db: found(db, project, "kettle")) == {
        "prompts", "responses", "tasks", "demonstrations",
    }  # fmt: skip

    erasure = await loop.do(lambda db: erasing.start(db, lee.user_id, project, target, files=True, reason="asked for"))
    done = await loop.execute(erasure)
    assert (done.state, done.error) == ("succeeded", None)

    assert await loop.do(lambda db: everywhere(db, "Byron")) == []
    assert await loop.do(lambda db: found(db, project, "kettle")) == set()
    assert [path for path in home.rglob("*") if path.is_file() and b"Byron" in path.read_bytes()] == []
    kept = (home / f"runs/{run_id}/inputs/prompts.jsonl").read_text()
    assert json.loads(kept) == {"prompt_id": "0", "prompt": "Tea?"}

    async def check(db: AsyncSession) -> None:
        (judgement, other) = await db.scalars(select(Judgement).order_by(Judgement.id))
        assert (judgement.choice, judgement.rationale) == (2, None)
        assert judgement.erased_at
        assert other.erased_at is None
        task = await db.get_one(Task, judgement.task_id)
        assert (task.state, task.taken, task.judged) == ("retired", 1, 1)
        lease = await db.scalar(select(Assignment).where(Assignment.annotator_id == lee.user_id))
        assert lease is not None
        assert lease.state == "expired"
        with pytest.raises(Erased):
            await judgements.submit(db, lee, lease.id, Submission(Answer(1), idempotency_key="late"))
        with pytest.raises(Erased):
            await assignments.view(db, lee, lease.id)
        put_back = await changes.change(db, None, project, "put_back", [task.id])
        assert set(put_back.left) == {task.id}
        (entry,) = await db.scalars(select(AuditEntry).where(AuditEntry.kind == "erasure"))
        assert (entry.actor_id, entry.subject, entry.project_id) == (lee.user_id, str(prompt_id), project.id)
        assert entry.after is not None
        assert (entry.after["of"], entry.after["reason"], entry.after["prompts"]) == ("prompt", "asked for", 1)
        for version in await db.scalars(select(DatasetVersion)):
            assert version.erased_from_at
            assert version.file_removed_at
            with pytest.raises(ErasedFrom, match="Cut a new one"):
                datasets.verify(version, home)
        anew = await datasets.cut_preferences(db, project, home=home)
        assert (anew.number, anew.row_count) == (2, 1)
        # Who brings the same prompt again brings another one.
        await make_prompt(db, project, SECRET)

    await loop.do(check)
    with pytest.raises(Conflict, match="Nothing of it is left"):
        await loop.do(lambda db: erasing.start(db, None, project, target, files=True))


async def touches(db: AsyncSession, project: Project, target: Target):  # type: ignore[no-untyped-def]  # a Touched
    return await look(db, project, await reach_of(db, project, target))


REFILLS = (
    """UPDATE prompts SET messages = '[{"role": "user", "content": "back"}]'""",
    "UPDATE prompts SET messages = '[]', erased_at = NULL",
    "UPDATE completions SET text = 'back'",
    "UPDATE completions SET text = 'back', erased_at = NULL",
    "UPDATE tasks SET state = 'open'",
    "UPDATE dataset_versions SET erased_from_at = NULL, file_removed_at = NULL",
    "UPDATE judgements SET erased_at = NULL, rationale = 'back'",
)


async def test_the_database_never_fills_it_again(loop: Loop) -> None:
    async def scene(db: AsyncSession) -> tuple[Project, int]:
        project = await make_project(db)
        task = await make_task(db, project)
        await judged(db, project, await make_member(db, project), rationale=SAID)
        await datasets.cut_preferences(db, project, home=loop.context.home)
        return project, task.prompt_id

    project, prompt_id = await loop.do(scene)
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("prompt", prompt_id), files=False))
    assert (await loop.execute(run)).state == "succeeded"
    for refill in REFILLS:
        with pytest.raises(IntegrityError):
            await loop.do(lambda db, refill=refill: db.execute(text(refill)))  # type: ignore[misc]


async def test_a_response_goes_wherever_it_stands_and_the_others_of_its_ranking_are_learnt_from(loop: Loop) -> None:
    home = loop.context.home

    async def scene(db: AsyncSession) -> tuple[Project, int]:
        project = await make_project(db)
        prompt = await make_prompt(db, project)
        await make_task(db, project, SECRET, "b", "c", prompt=prompt, priority=1)
        await make_task(db, project, SECRET, "d", prompt=prompt)
        who = await make_member(db, project)
        leased = await assignments.lease_next(db, who, project)
        assert leased is not None
        ranking = Answer(answer_type="ranking", ranks=(1, 2, 3))
        await judgements.submit(db, who, leased.id, Submission(ranking, idempotency_key="ranking"))
        await datasets.cut_preferences(db, project, home=home)
        response = await db.scalar(select(Completion.id).where(Completion.text == SECRET).limit(1))
        assert response is not None
        return project, response

    project, response = await loop.do(scene)

    async def statements(db: AsyncSession) -> int:
        sent: list[str] = []
        engine = (await db.connection()).sync_connection.engine  # type: ignore[union-attr]
        listener = lambda *given: sent.append(given[2])  # noqa: E731 - to be taken off again
        event.listen(engine, "before_cursor_execute", listener)
        await reach_of(db, project, Target("response", response))
        event.remove(engine, "before_cursor_execute", listener)
        return len(sent)

    assert await loop.do(statements) == 1, "copies are a condition, however many there are"
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("response", response), files=False))
    result = (await loop.execute(run)).result
    assert result is not None
    assert (result["counts"]["responses"], result["counts"]["tasks"]) == (2, 2)
    assert await loop.do(lambda db: everywhere(db, "Byron")) == []

    async def check(db: AsyncSession) -> None:
        (old,) = await db.scalars(select(DatasetVersion))
        assert (home / old.path).exists(), "nobody asked for the file"
        assert old.file_removed_at is None
        anew = await datasets.cut_preferences(db, project, home=home)
        assert (old.row_count, anew.row_count) == (3, 1)
        assert b"Byron" not in datasets.verify(anew, home).read_bytes()
        packed = await packing.pack(db, project.id, home, home / "whole.zip")
        assert packed.size_bytes
        assert not {info for info in names(packed.file) if info.endswith("preferences-0001.jsonl")}

    await loop.do(check)
    # The files that were left can go later.
    later = await loop.do(lambda db: erasing.start(db, None, project, Target("response", response), files=True))
    assert (await loop.execute(later)).state == "succeeded"
    assert not (home / f"datasets/{project.slug}/preferences-0001.jsonl").exists()


@pytest.mark.parametrize(("erased", "at_hand"), [("prompt", 0), ("one of a pair", 1), ("one of three", 2)])
async def test_what_no_dataset_can_hold_any_more_is_no_label_at_hand(loop: Loop, erased: str, at_hand: int) -> None:
    home = loop.context.home

    async def scene(db: AsyncSession) -> tuple[Project, Target]:
        project = await make_project(db)
        prompt = await make_prompt(db, project)
        three = await make_task(db, project, "a", "b", "c", prompt=prompt, priority=1)
        pair = await make_task(db, project, "d", "e", prompt=prompt)
        who = await make_member(db, project)
        for answer in (Answer(answer_type="ranking", ranks=(1, 2, 3)), Answer(1)):
            leased = await assignments.lease_next(db, who, project)
            assert leased is not None
            await judgements.submit(db, who, leased.id, Submission(answer, idempotency_key=answer.answer_type))
        assert await labels.labels_at_hand(db, project.id) == 2
        if erased == "prompt":
            return project, Target("prompt", prompt.id)
        of = three if erased == "one of three" else pair
        response = select(TaskCompletion.completion_id).where(TaskCompletion.task_id == of.id).limit(1)
        return project, Target("response", (await db.scalars(response)).one())

    project, target = await loop.do(scene)
    run = await loop.do(lambda db: erasing.start(db, None, project, target, files=False))
    assert (await loop.execute(run)).state == "succeeded"

    async def check(db: AsyncSession) -> None:
        assert await labels.labels_at_hand(db, project.id) == at_hand
        assert (await standing.overview(db, project)).judgements_since_snapshot == at_hand
        if at_hand:
            await datasets.cut_preferences(db, project, home=home)
        assert await db.scalar(select(func.count()).select_from(DatasetJudgement)) == at_hand

    await loop.do(check)


def names(file: Path) -> list[str]:
    from zipfile import ZipFile

    with ZipFile(file) as archive:
        return archive.namelist()


async def test_what_a_person_wrote_goes_in_one_project_and_their_choices_stay(loop: Loop) -> None:
    async def scene(db: AsyncSession) -> tuple[Project, Principal, Principal]:
        project = await make_project(db, overlap=2)
        project.question = {"asks_edit": True}
        kim, lee = await make_member(db, project), await make_member(db, project)
        await make_task(db, project, priority=1)
        await make_task(db, project)
        for who in (kim, lee):
            await judged(db, project, who, rationale=f"{who.name} says", response=f"{who.name} writes")
        leased = await assignments.lease_next(db, kim, project)
        assert leased is not None
        await assignments.skip(db, kim, leased.id, reason=f"{kim.name} can't")
        elsewhere = await make_project(db)
        prompt = await make_prompt(db, elsewhere)
        db.add(Demonstration(prompt_id=prompt.id, text="Elsewhere.", source="written", author_id=kim.user_id))
        return project, kim, lee

    project, kim, lee = await loop.do(scene)
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("person", kim.user_id), files=False))
    result = (await loop.execute(run)).result
    assert result is not None
    assert result["counts"] | {"tasks": 0, "words": 2, "demonstrations": 1} == result["counts"]

    async def check(db: AsyncSession) -> None:
        left = {row.annotator_id: row for row in await db.scalars(select(Judgement))}
        assert (left[kim.user_id].choice, left[kim.user_id].rationale) == (2, None)
        assert left[lee.user_id].rationale == f"{lee.name} says"
        texts = set(await db.scalars(select(Demonstration.text)))
        assert texts == {"", f"{lee.name} writes", "Elsewhere."}
        assert list(await db.scalars(select(Assignment.skip_reason).where(Assignment.state == "skipped"))) == [""]
        shown = await datasets.demonstrations(db, project.id, "train")
        assert [record.response for record in shown] == [f"{lee.name} writes"]

    await loop.do(check)


async def test_what_a_person_explained_of_gold_goes_in_one_project_and_the_gold_stays(loop: Loop) -> None:
    async def scene(db: AsyncSession) -> tuple[Project, Principal]:
        project, elsewhere = await make_project(db), await make_project(db)
        kim, lee = await make_member(db, project), await make_member(db, project)
        for where, who in ((project, kim), (project, lee), (elsewhere, kim)):
            task = await make_task(db, where)
            db.add(GoldAnswer(task_id=task.id, better=0, explanation=f"{who.name} explains", author_id=who.user_id))
        return project, kim

    project, kim = await loop.do(scene)
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("person", kim.user_id), files=False))
    assert (await loop.execute(run)).result is not None

    async def check(db: AsyncSession) -> None:
        left = {(row.author_id == kim.user_id, row.explanation != "") for row in await db.scalars(select(GoldAnswer))}
        assert left == {(True, False), (False, True), (True, True)}
        here = select(GoldAnswer.explanation).join(Task, Task.id == GoldAnswer.task_id)
        own = here.where(Task.project_id == project.id, GoldAnswer.author_id == kim.user_id)
        assert list(await db.scalars(own)) == [""]

    await loop.do(check)


async def test_of_an_answer_and_an_erasure_at_once_the_answer_is_before_it_or_refused(loop: Loop) -> None:
    async def scene(db: AsyncSession) -> tuple[Project, Principal, int, int]:
        project = await make_project(db)
        task = await make_task(db, project)
        who = await make_member(db, project)
        leased = await assignments.lease_next(db, who, project)
        assert leased is not None
        return project, who, leased.id, task.prompt_id

    project, who, assignment_id, prompt_id = await loop.do(scene)
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("prompt", prompt_id), files=False))

    async def answer() -> bool:
        submission = Submission(Answer(1, rationale=SAID), idempotency_key="at-once")
        try:
            await loop.do(lambda db: judgements.submit(db, who, assignment_id, submission))
        except Erased:
            return False
        return True

    _, _ = await asyncio.gather(loop.execute(run), answer())
    assert (await loop.read(run)).state == "succeeded"
    assert await loop.do(lambda db: everywhere(db, "Byron")) == []


async def test_no_file_that_was_written_of_a_version_survives_and_one_that_held_nothing_of_it_is_written_again(
    loop: Loop,
) -> None:
    home, asked = loop.context.home, Asked(format="parquet")

    async def scene(db: AsyncSession) -> tuple[Project, Principal, int, DatasetVersion, list[Run]]:
        project = await make_project(db)
        kim = await make_member(db, project)
        await make_task(db, project)
        await judged(db, project, kim)
        harmless = await datasets.cut_preferences(db, project, home=home)
        prompt = await make_prompt(db, project, SECRET)
        await make_task(db, project, prompt=prompt)
        await judged(db, project, kim)
        held = await datasets.cut_preferences(db, project, home=home)
        exports = [await exporting.start(db, None, project, version, asked) for version in (harmless, held)]
        return project, kim, prompt.id, harmless, [*exports, await folders.start(db, None, project, held)]

    project, kim, prompt_id, harmless, written = await loop.do(scene)
    assert {(await loop.execute(run)).state for run in written} == {"succeeded"}

    async def killed(db: AsyncSession) -> None:
        """Two that died half-way, with what they were writing."""
        for stage, place in (("export", "export/.export-x1"), ("folder", ".folder-x1/data")):
            run = await runs.queue_run(db, project_id=project.id, stage=stage, settings={"asked": {}})  # type: ignore[arg-type]
            run.state, run.error = "failed", "Its worker was gone."
            run.started_at = run.finished_at = func.now()
            (home / str(run.folder) / place).mkdir(parents=True)
            (home / str(run.folder) / place / "train.csv").write_text(SECRET)

    await loop.do(killed)
    target = Target("prompt", prompt_id)
    assert (await loop.do(lambda db: touches(db, project, target))).exports == 5
    erasure = await loop.do(lambda db: erasing.start(db, kim.user_id, project, target, files=True))
    assert (await loop.execute(erasure)).state == "succeeded"
    own = home / str(erasure.folder)
    assert [path for path in (home / "runs").rglob("*") if path.is_file() and own not in path.parents] == []
    with pytest.raises(NotFound):
        await loop.do(lambda db: exporting.done(db, harmless, written[0].id))
    anew = await loop.do(lambda db: exporting.start(db, None, project, harmless, asked))
    assert (await loop.execute(anew)).state == "succeeded"
    done = await loop.do(lambda db: exporting.done(db, harmless, anew.id))
    assert (home / exporting.file_of(done)).is_file()


async def test_files_are_left_alone_while_a_run_may_have_read_them(loop: Loop) -> None:
    project = await loop.make_project()
    working = await loop.queue_sft(project)
    prompt_id = await loop.do(one_prompt(project))
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("prompt", prompt_id), files=True))
    refused = await loop.execute(run)
    assert (refused.state, "under way" in str(refused.error)) == ("failed", True)
    assert await loop.do(is_erased(prompt_id)) is False, "all of it or nothing"

    async def go_on(db: AsyncSession) -> None:
        await runs.request_cancel(db, None, await db.get_one(Run, working.id))
        await runs.retry(db, None, await db.get_one(Run, run.id))

    await loop.do(go_on)
    assert (await loop.execute(run)).state == "succeeded"
    assert await loop.do(is_erased(prompt_id)) is True


def one_prompt(project: Project) -> Callable[[AsyncSession], Awaitable[int]]:
    async def read(db: AsyncSession) -> int:
        prompt_id = await db.scalar(select(Prompt.id).where(Prompt.project_id == project.id).limit(1))
        assert prompt_id is not None
        return prompt_id

    return read


def is_erased(prompt_id: int) -> Callable[[AsyncSession], Awaitable[bool]]:
    async def read(db: AsyncSession) -> bool:
        return (await db.get_one(Prompt, prompt_id)).erased_at is not None

    return read


async def test_a_run_on_a_version_that_held_it_refuses_in_the_same_sentence(loop: Loop) -> None:
    project = await loop.make_project(label_target=2)
    await loop.execute(await loop.queue_sft(project))
    await loop.work_off()

    async def scene(db: AsyncSession) -> tuple[int, Run]:
        prompt = await db.scalar(select(Prompt.id).where(Prompt.project_id == project.id, Prompt.split == "train"))
        task = await make_task(db, project, prompt=await db.get_one(Prompt, prompt), priority=9)
        await judged(db, await db.get_one(Project, project.id), await make_member(db, project))
        version = await datasets.cut_preferences(db, await db.get_one(Project, project.id), home=loop.context.home)
        (policy,) = await loop.versions(project)
        inputs = {"policy_id": policy.id, "reference_id": policy.id, "dataset_version_id": version.id, "config": {}}
        run = await runs.queue_run(db, project_id=project.id, stage="dpo", settings=inputs)
        return task.prompt_id, run

    prompt_id, training = await loop.do(scene)
    touched = await loop.do(lambda db: touches(db, project, Target("prompt", prompt_id)))
    assert touched.models == (Model("policy", 1),)
    run = await loop.do(lambda db: erasing.start(db, None, project, Target("prompt", prompt_id), files=False))
    assert (await loop.execute(run)).state == "succeeded"
    refused = await loop.execute(training)
    assert refused.state == "failed"
    assert str(refused.error).startswith("Something in dataset version 1 was erased since it was cut.")
