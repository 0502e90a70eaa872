"""What dataset versions came from, whether they can be cut again, and what one has that another hasn't."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, DatasetVersion, Demonstration, Judgement, Project, Prompt
from app.errors import Invalid, NotFound
from app.services.data import datasets, differences, manifests, notes
from app.services.data.beliefs import Belief, Beliefs
from app.services.data.recutting import cut_again
from app.services.judging.answers import Answer
from app.services.projects.question import Question
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.services.data.test_following import answer, decide, make_judged, prompt_of


async def cut(db: AsyncSession, project: Project, home: Path, beliefs: Beliefs | None = None) -> DatasetVersion:
    version = await datasets.cut_preferences(db, project, home=home, beliefs=beliefs)
    await db.commit()
    return version


def half_believed(said: list[Judgement]) -> Beliefs:
    return Beliefs({(one.id, 0, 1): Belief(0.71234567890123, 0.5) for one in said[:2]}, {"annotator-1": 0.5}, {})


async def test_a_manifest_says_what_a_version_came_from(db: AsyncSession, tmp_path: Path) -> None:
    project, _, said = await make_judged(db)
    project.guidelines, project.question = "Prefer what helps.", Question(criteria=("style",)).to_json()
    version = await cut(db, project, tmp_path)
    told = await manifests.manifest(db, project, version)
    assert told["watermark"]["last_judgement_id"] == said[-1].id
    assert told["guidelines"] == {"version": 1, "text": "Prefer what helps.", "judgements": {"1": 4}}
    assert told["question"]["criteria"] == ["style"]
    assert told["aggregation"] == {"kind": "each judgement by itself"}
    assert told["agreement"] == {"pairs_judged_by_several": 0, "said_the_same": None}
    assert told["counts"] | {"rows": 4, "judgements": 4} == told["counts"]
    content = (tmp_path / version.path).read_bytes()
    assert told["files"] == [
        {"path": "preferences-0001.jsonl", "sha256": hashlib.sha256(content).hexdigest(), "rows": 4}
    ]
    assert told["query"]["prefers_verdicts"] is True
    assert set(told["code"]) == {"plumbline"}


async def test_a_manifest_of_before_there_were_any_says_what_is_not_known(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    old = DatasetVersion(project_id=project.id, kind="preferences", number=1, path="a/b", sha256="0" * 64, row_count=7)
    db.add(old)
    await db.flush()
    told = await manifests.manifest(db, project, old)
    assert (told["watermark"], told["guidelines"], told["code"], told["agreement"]) == (None, None, None, None)
    assert told["counts"] == {"rows": 7, "judgements": 0}


async def test_agreement_is_how_likely_two_people_say_the_same(db: AsyncSession, tmp_path: Path) -> None:
    project, _, _ = await make_judged(db, 3)
    bea = await make_member(db, project)
    await answer(db, bea, project)
    await answer(db, bea, project, Answer(4))
    version = await cut(db, project, tmp_path)
    assert version.manifest["agreement"] == {"pairs_judged_by_several": 2, "said_the_same": 0.5}


async def test_a_version_cut_again_has_the_same_bytes_whatever_became_of_prompts_and_people(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, ada, said = await make_judged(db)
    await make_task(db, project, prompt=await make_prompt(db, project, split="validation"))
    said.append(await answer(db, ada, project))
    version = await cut(db, project, tmp_path, half_believed(said))
    await decide(db, project, said)
    of_first, of_second = [await prompt_of(db, judgement) for judgement in said[:2]]
    await db.execute(update(Prompt).where(Prompt.id == of_first).values(split="held_out"))
    await db.execute(update(Prompt).where(Prompt.id == of_second).values(excluded=True))
    project.guidelines, project.review = "Others.", {"prefers_verdicts": False}
    await db.commit()
    written = io.BytesIO()
    again = await cut_again(db, version, written)
    assert again.is_same
    assert written.getvalue() == (tmp_path / version.path).read_bytes()
    assert (again.rows, again.sha256) == (version.row_count, version.sha256)


async def test_one_that_can_not_be_cut_again_says_precisely_why(db: AsyncSession, tmp_path: Path) -> None:
    project, _, said = await make_judged(db)
    version = await cut(db, project, tmp_path)
    await db.execute(text("UPDATE tasks SET erased_at = now(), state = 'retired' WHERE id = :id").bindparams(
        id=said[0].task_id
    ))  # fmt: skip
    await db.execute(update(Completion).values(text="", erased_at=text("now()")))
    again = await cut_again(db, version)
    assert again.reasons == ("the texts of 1 of its judgements were erased",)


async def test_one_of_before_splits_were_kept_says_that(db: AsyncSession, tmp_path: Path) -> None:
    project, _, said = await make_judged(db)
    version = await cut(db, project, tmp_path)
    await db.execute(text("ALTER TABLE dataset_judgements DISABLE TRIGGER USER"))
    await db.execute(text("UPDATE dataset_judgements SET split = NULL"))
    await db.execute(text("ALTER TABLE dataset_judgements ENABLE TRIGGER USER"))
    assert (await cut_again(db, version)).is_same, "while nothing moved"
    await db.execute(update(Prompt).where(Prompt.id == await prompt_of(db, said[0])).values(split="validation"))
    again = await cut_again(db, version)
    assert again.reasons == ("of 4 of its judgements neither split nor weight was kept when it was cut",)


async def test_demonstrations_are_cut_again_as_far_as_they_are_there(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    prompts = [await make_prompt(db, project) for _ in range(3)]
    db.add_all(Demonstration(prompt_id=prompt.id, text="So.", source="imported") for prompt in prompts[:2])
    await db.flush()
    version = await datasets.cut_demonstrations(db, project, home=tmp_path)
    db.add(Demonstration(prompt_id=prompts[2].id, text="Later.", source="imported"))
    await db.flush()
    assert (await cut_again(db, version)).is_same, "what came later is not in it"
    prompts[0].excluded = True
    await db.flush()
    again = await cut_again(db, version)
    assert again.reasons == (
        "1 of its demonstrations were erased, excluded, moved to another split or replaced by a new answer",
    )


async def test_two_versions_differ_by_what_came_what_went_and_what_counts_otherwise(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, ada, said = await make_judged(db)
    await cut(db, project, tmp_path, half_believed(said))
    await make_task(db, project)
    new = await answer(db, ada, project)
    excluded, moved = [await prompt_of(db, judgement) for judgement in said[2:]]
    await db.execute(update(Prompt).where(Prompt.id == excluded).values(excluded=True))
    await db.execute(update(Prompt).where(Prompt.id == moved).values(split="validation"))
    beliefs = half_believed(said)
    weighed = {**beliefs.of_pairs, (said[0].id, 0, 1): Belief(0.9, 1.0)}
    await cut(db, project, tmp_path, replace(beliefs, of_pairs=weighed))
    before, after = await differences.versions(db, project, 2)
    assert before is not None
    assert (before.number, after.number) == (1, 2)
    found = await differences.compare(db, before, after)
    assert found.summary == differences.Summary(added=1, gone=1, moved=1, weighed=1, changed=2, same=1, unknown=0)
    told = {}
    for change in ("added", "gone", "changed"):
        rows = await differences.differences(db, before, after, change)
        told[change] = [(row.judgement_id, row.reasons) for row in rows]
    assert told == {
        "added": [(new.id, ("new",))],
        "gone": [(said[2].id, ("excluded",))],
        "changed": [(said[0].id, ("weighed",)), (said[3].id, ("moved",))],
    }
    (first, second) = await differences.differences(db, before, after, "changed")
    assert (first.learnt_before, first.learnt_after) == ([[0, 1, 0.71234567890123, 0.5]], [[0, 1, 0.9, 1.0]])
    assert (second.split_before, second.split_after) == ("train", "validation")
    for most in (1, 2):
        assert await all_of(db, (before, after), "changed", most) == [first, second]
        assert await all_of(db, (before, after), "changed", most, found) == [first, second]
    back = await differences.compare(db, after, before)
    assert (back.summary.added, back.summary.gone) == (1, 1)
    assert [row.reasons for row in await differences.differences(db, after, before, "added")] == [("let_in",)]


async def all_of(
    db: AsyncSession,
    versions: tuple[DatasetVersion, DatasetVersion],
    change: differences.Change,
    most: int,
    found: differences.Found | None = None,
) -> list[differences.Difference]:
    rows: list[differences.Difference] = []
    while page := await differences.differences(
        db, *versions, change, after_id=rows[-1].judgement_id if rows else 0, most=most, found=found
    ):
        rows += page
    return rows


async def test_what_differs_is_listed_to_its_end_however_much_of_it_is_remembered(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, ada, _ = await make_judged(db, 2)
    first = await cut(db, project, tmp_path)
    for _ in range(5):
        await make_task(db, project)
    new = [await answer(db, ada, project) for _ in range(5)]
    second = await cut(db, project, tmp_path)
    monkeypatch.setattr(differences, "REMEMBERED", 3)
    found = await differences.compare(db, first, second)
    assert found.first == {"added": tuple(one.id for one in new[:3]), "gone": (), "changed": ()}
    for most in (1, 2, 3, 4, 9):
        came = await all_of(db, (first, second), "added", most, found)
        assert [row.judgement_id for row in came] == [one.id for one in new], most
    assert await all_of(db, (first, second), "gone", 2, found) == []


async def test_what_a_reviewer_decided_went_for_that(db: AsyncSession, tmp_path: Path) -> None:
    project, _, said = await make_judged(db, 1)
    await cut(db, project, tmp_path)
    await decide(db, project, said)
    await cut(db, project, tmp_path)
    before, after = await differences.versions(db, project, 2)
    (gone,) = await differences.differences(db, before, after, "gone")
    assert (gone.judgement_id, gone.reasons) == (said[0].id, ("decided",))


async def test_the_one_before_is_that_with_the_next_lower_number(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a storage holds what came of a cut that was taken back, its number is passed over."""
    project, ada, _ = await make_judged(db)
    await cut(db, project, tmp_path)
    await make_task(db, project)
    await answer(db, ada, project)
    monkeypatch.setattr(datasets, "_free_number", lambda draft, number: number + 1)
    assert (await cut(db, project, tmp_path)).number == 3
    before, after = await differences.versions(db, project, 3)
    assert before is not None
    assert (before.number, (await differences.compare(db, before, after)).summary.added) == (1, 1)


async def test_beside_nothing_everything_is_new_and_a_version_that_is_not_there_is_not_found(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, _, said = await make_judged(db)
    await cut(db, project, tmp_path)
    before, after = await differences.versions(db, project, 1)
    assert (before, (await differences.compare(db, before, after)).summary.added) == (None, len(said))
    for numbers in ((2, None), (1, 7)):
        with pytest.raises(NotFound):
            await differences.versions(db, project, numbers[0], since=numbers[1])


async def test_notes_and_tags_alone_of_a_version_may_change(db: AsyncSession, tmp_path: Path) -> None:
    project, _, _ = await make_judged(db)
    version = await cut(db, project, tmp_path)
    notes.note(version, text="Before the new\r\nguidelines.", tags=["release", " pilot ", "release", ""])
    await db.commit()
    assert (version.note, version.tags) == ("Before the new\nguidelines.", ["pilot", "release"])
    assert [one.number for one in await datasets.list_versions(db, project.id, tag="pilot")] == [1]
    assert await datasets.list_versions(db, project.id, tag="none") == []
    for wrong in ({"text": "x" * 4_001}, {"tags": ["a,b"]}, {"tags": ["x" * 81]}, {"tags": map(str, range(21))}):
        with pytest.raises(Invalid):
            notes.note(version, **wrong)  # type: ignore[arg-type]
    for column, value in (("manifest", {}), ("sha256", "0" * 64)):
        with pytest.raises(IntegrityError, match="immutable"):
            async with db.begin_nested():
                await db.execute(update(DatasetVersion).values({column: value}))
    logged = await db.execute(
        text("SELECT after ->> 'note', after ->> 'tags' FROM audit_entries"
             " WHERE kind = 'dataset_versions' AND action = 'update'")
    )  # fmt: skip
    assert [tuple(row) for row in logged] == [("Before the new\nguidelines.", '["pilot", "release"]')]
    assert (await db.scalars(select(DatasetVersion.number))).all() == [1]
