"""A single run of KTO: what people said becomes desirable and undesirable responses, and these a candidate."""

import json
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project
from app.services.judging.answers import Answer
from app.services.projects.question import Question
from tests.jobs.conftest import Command
from tests.jobs.loop import Loop
from training.records import UnpairedRecord, read_records


async def project_with_a_policy(loop: Loop, question: Question | None = None, **settings: object) -> Project:
    project = await loop.make_project(samples_per_prompt=3, kto={"steps": 2}, **settings)
    if question is not None:
        await loop.do(
            lambda db: db.execute(
                update(Project).where(Project.id == project.id).values(question=question.model_dump(mode="json"))
            )
        )
    await loop.queue_sft(project)
    await loop.work_off()
    return project


async def learnt_from(loop: Loop, command: Command, home: Path, project: Project) -> list[UnpairedRecord]:
    """What the run is given to learn from."""
    assert (await command("run", "start", "kto", "-p", project.slug))[0] == 0
    await loop.work_off()
    made = (await loop.versions(project))[-1]
    return read_records(home / f"runs/{made.run_id}/inputs/responses.jsonl", UnpairedRecord)


def said(records: list[UnpairedRecord]) -> list[bool]:
    return [record.desirable for record in records]


async def test_a_candidate_is_made_of_judgements_without_pairs_or_a_reward_model(
    loop: Loop, command: Command, home: Path
) -> None:
    project = await project_with_a_policy(loop)
    await loop.judge(project, 6)
    assert len(await learnt_from(loop, command, home, project)) == 10
    first, made = await loop.versions(project)
    assert (first.state, made.state) == ("promoted", "candidate")
    assert (made.parent_id, made.reference_id, made.reward_id) == (first.id, first.id, None)
    assert made.dataset_version_id is not None
    config = json.loads((home / f"runs/{made.run_id}/inputs/config.json").read_text())
    assert config["policy"] == config["reference"] == f"../../../{first.folder}"
    assert config["responses"] == "responses.jsonl"
    assert "preferences" not in config
    assert config["steps"] == 2, "the project's own settings of the stage"


async def by_judgement(loop: Loop, records: list[UnpairedRecord]) -> list[tuple[Judgement, list[UnpairedRecord]]]:
    """Records beside the judgement that each is of, in the order of the judgements."""
    sources = dict.fromkeys(record.source for record in records)

    async def read(db: AsyncSession) -> list[Judgement]:
        return [await db.get_one(Judgement, int(source.partition(":")[2])) for source in sources]

    judged = await loop.do(read)
    return [
        (judgement, [record for record in records if record.source == source])
        for judgement, source in zip(judged, sources, strict=True)
    ]


async def test_what_was_said_weighs_as_much_as_it_is_believed_and_what_is_measured_on_weighs_all(
    loop: Loop, command: Command, home: Path
) -> None:
    project = await project_with_a_policy(loop, people={"weigh": "always"})
    await loop.judge(project, 6)
    found = await learnt_from(loop, command, home, project)
    assert len(found) == 10, "a tie says nothing"
    assert {record.weight for record in found if record.split == "validation"} <= {1.0}
    weights = [record.weight for record in found if record.split == "train"]
    assert weights
    assert all(0.5 < weight < 1 for weight in weights), "of a newcomer 2 · 7/8 − 1, more or less"


async def test_the_chosen_is_desirable_the_other_is_not_and_a_tie_says_nothing(
    loop: Loop, command: Command, home: Path
) -> None:
    project = await project_with_a_policy(loop)
    await loop.judge(project, 7)  # the seven choices in turn, of which the fourth is a tie
    found = await by_judgement(loop, await learnt_from(loop, command, home, project))
    assert sorted(judgement.choice or 0 for judgement, _ in found) == [1, 2, 3, 5, 6, 7]
    for judgement, pair in found:
        assert judgement.preference is not None
        assert said(pair) == [judgement.preference > 0, judgement.preference < 0]
        assert pair[0].response != pair[1].response
        assert {record.prompt[-1].role for record in pair} == {"user"}


async def test_what_was_called_acceptable_counts_more_than_what_was_chosen(
    loop: Loop, command: Command, home: Path
) -> None:
    project = await project_with_a_policy(loop, Question(asks_acceptable=True))
    await loop.judge(project, 4, acceptable=(True, True))
    await loop.judge(project, 3, acceptable=(False, None))
    found = await by_judgement(loop, await learnt_from(loop, command, home, project))
    assert [said(pair) for _, pair in found[:4]] == [[True, True]] * 4, "even what lost"
    for judgement, pair in found[4:]:
        first = judgement.shown_order[0]
        assert pair[first].desirable is False, "even what was chosen"
        assert judgement.preference is not None
        assert pair[1 - first].desirable is ((judgement.preference > 0) == (first == 1)), "of the other only the choice"


@pytest.mark.parametrize(
    ("answer_type", "ranks", "expected"),
    [
        ("ranking", (1, 2, 3), [True, False, False]),
        ("ranking", (2, 1, 1), [False, True, True]),
        ("ranking", (1, None, 2), [True, None, False]),
        ("best", (None, 1, None), [False, True, False]),
    ],
)
async def test_of_several_the_best_are_desirable_and_what_was_left_unranked_says_nothing(
    loop: Loop,
    command: Command,
    home: Path,
    answer_type: str,
    ranks: tuple[int | None, ...],
    expected: list[bool | None],
) -> None:
    question = Question.model_validate({"answer_type": answer_type, "size": 3})
    project = await project_with_a_policy(loop, question)
    await loop.judge(project, 1, answer=Answer(answer_type=question.answer_type, ranks=ranks))
    ((judgement, records),) = await by_judgement(loop, await learnt_from(loop, command, home, project))
    in_order = [expected[judgement.shown_order.index(position)] for position in range(3)]
    assert said(records) == [one for one in in_order if one is not None]


async def test_without_judgements_there_is_nothing_to_learn(loop: Loop, command: Command) -> None:
    project = await loop.make_project()
    assert await command("run", "start", "kto", "-p", project.slug) == (4, "There is no judgement to learn from.\n")
