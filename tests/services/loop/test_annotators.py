"""What a dataset version makes of people who can't be relied on, and of people who see things differently."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Project, Task
from app.security import Principal
from app.services.data import datasets
from app.services.judging import gold
from app.services.judging.answers import Answer
from app.services.judging.gold import Known
from app.services.loop.asking import annotators
from app.services.people import members
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.jobs.judging import BAD, GOOD
from tests.jobs.test_judge_calibration import leave_features
from tests.services.judging.test_quality import answer
from training.records import PreferenceRecord, read_records

FIRST, TIE, SECOND = 2, 4, 6
TASKS = 24


async def crowd(db: AsyncSession, *choices: int, tasks: int = TASKS) -> tuple[Project, list[Principal]]:
    """Everybody has judged every task; each says the same of all of them. The last two tasks are to measure on."""
    project = await make_project(db, overlap=len(choices))
    people = [await make_member(db, project) for _ in choices]
    for number in range(tasks):
        prompt = await make_prompt(db, project, split="train" if number < tasks - 2 else "validation")
        task = await make_task(db, project, "Yes.", "No.", prompt=prompt)
        for person, choice in zip(people, choices, strict=True):
            # In both orders, so that nobody seems to like a side.
            turned = bool(number % 2)
            await answer(db, person, task, [1, 0] if turned else [0, 1], Answer(8 - choice if turned else choice))
    return project, people


async def check(db: AsyncSession, project: Project, person: Principal, *, right: int, wrong: int) -> None:
    """Gold tasks, of which the person gets so many right."""
    owner = await make_member(db, project, "owner")
    for number in range(right + wrong):
        known = Known("gold", 0, "")
        made = await gold.write(db, owner, project, f"{person.user_id}: {number}?", ["Gently.", "In a shoe."], known)
        said = FIRST if number < right else SECOND
        await answer(db, person, await db.get_one(Task, made), [0, 1], Answer(said))


async def cut(db: AsyncSession, project: Project, home: Path, weigh: str = "auto") -> DatasetVersion:
    beliefs = await annotators.beliefs(db, project, home, weigh)
    return await datasets.cut_preferences(db, project, home=home, beliefs=beliefs)


def records_of(version: DatasetVersion, home: Path, position: int, people: int) -> list[PreferenceRecord]:
    """What the version holds of one of the people, who judged in turn."""
    return read_records(home / version.path, PreferenceRecord)[position::people]


def verdicts(known: annotators.Known) -> Sequence[str]:
    return [person.verdict for person in sorted(known.people, key=lambda person: person.user_id)]


async def test_who_says_the_opposite_is_learnt_from_the_other_way_round(db: AsyncSession, tmp_path: Path) -> None:
    project, people = await crowd(db, FIRST, FIRST, FIRST, SECOND)
    version = await cut(db, project, tmp_path)
    theirs = records_of(version, tmp_path, 3, 4)
    train, held_out = theirs[:-2], theirs[-2:]
    assert all(record.preference > 0.9 for record in train), "flipped in effect"
    assert all(0 < record.weight < 1 for record in train), "and it weighs less, but it is there"
    assert all((record.preference, record.weight) == (0.0, 1.0) for record in held_out), "what is measured is as said"
    believed = version.settings["believed"]["people"]
    assert believed["annotator-4"] < 0 < believed["annotator-1"]
    assert len(people) == len(believed)
    assert all(record.weight == 1 for record in records_of(version, tmp_path, 0, 4))


async def test_a_version_says_what_was_said_where_everybody_can_be_relied_on(db: AsyncSession, tmp_path: Path) -> None:
    project, _ = await crowd(db, FIRST, FIRST, TIE)
    version = await cut(db, project, tmp_path)
    assert "believed" not in version.settings
    assert {record.preference for record in read_records(tmp_path / version.path, PreferenceRecord)} == {1.0, 0.5}
    weighed = await cut(db, project, tmp_path, "always")
    assert (weighed.number, "believed" in weighed.settings) == (2, True)
    again = await cut(db, project, tmp_path, "always")
    assert again.id == weighed.id, "the same judgements make the same bytes"


@pytest.mark.parametrize(("right", "wrong", "verdict"), [(8, 0, "different"), (1, 7, "unreliable")])
async def test_who_passes_the_checks_and_disagrees_keeps_their_word(
    db: AsyncSession, tmp_path: Path, right: int, wrong: int, verdict: str
) -> None:
    project, people = await crowd(db, FIRST, FIRST, FIRST, SECOND)
    await check(db, project, people[3], right=right, wrong=wrong)
    assert verdicts(await annotators.known(db, project, tmp_path)) == ["reliable"] * 3 + [verdict]
    await members.remove(db, None, project, people[3].user_id)
    assert verdicts(await annotators.known(db, project, tmp_path))[3] == verdict, "of who has left, too"
    theirs = records_of(await cut(db, project, tmp_path, "always"), tmp_path, 3, 4)[:-2]
    kept = {(record.preference, record.weight) for record in theirs}
    assert (kept == {(0.0, 1.0)}) == (verdict == "different")


async def test_few_votes_decide_about_nobody(db: AsyncSession, tmp_path: Path) -> None:
    project, _ = await crowd(db, FIRST, FIRST, SECOND, tasks=annotators.FEWEST_VOTES - 1)
    known = await annotators.known(db, project, tmp_path)
    assert set(verdicts(known)) == {"new"}
    assert all(person.drift is None for person in known.people)
    assert await annotators.beliefs(db, project, tmp_path, "auto") is None


@pytest.mark.parametrize("choices", [(FIRST,), (TIE, TIE), (SECOND, SECOND)])
async def test_one_person_ties_and_one_answer_can_be_weighed(
    db: AsyncSession, tmp_path: Path, choices: tuple[int, ...]
) -> None:
    project, _ = await crowd(db, *choices)
    version = await cut(db, project, tmp_path, "always")
    assert all(0 <= record.preference <= 1 for record in read_records(tmp_path / version.path, PreferenceRecord))


async def test_nothing_said_is_nobody_known(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    assert (await annotators.known(db, project, tmp_path)).people == ()


async def test_what_models_are_measured_on_teaches_no_label_that_they_are_trained_on(
    db: AsyncSession, tmp_path: Path
) -> None:
    """Only what is said of the validation prompts differs, by somebody who judged nothing else."""
    learnt = []
    for number, of_held_out in enumerate((FIRST, SECOND)):
        project, home = await make_project(db), tmp_path / str(number)
        ada, bob = await make_member(db, project), await make_member(db, project)
        for place in range(16):
            is_held_out = place % 2 == 1
            prompt = await make_prompt(db, project, split="validation" if is_held_out else "train")
            task = await make_task(db, project, GOOD, BAD, prompt=prompt)
            said = Answer(of_held_out if is_held_out else FIRST)
            await answer(db, bob if is_held_out else ada, task, [0, 1], said)
        await leave_features(db, project, home, set())
        records = records_of(await cut(db, project, home, "always"), home, 0, 1)
        learnt.append([record.preference for record in records if record.split == "train"])
    assert learnt[0] == learnt[1]
