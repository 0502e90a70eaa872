"""The list of a judgement's columns against the table, the answer and the export that follow from it."""

from dataclasses import fields

import pytest

from app.db.tables import Judgement
from app.services.judging.answers import Answer
from app.services.judging.columns import ANSWER, COLUMNS, SET_BY_DATABASE, SET_BY_ERASURE, SET_BY_IMPORTS, SUBMISSION
from app.services.judging.judgements import Submission


def test_every_column_of_the_table_is_listed_or_set_by_the_database() -> None:
    listed = [column.name for column in COLUMNS]
    assert sorted([*listed, *SET_BY_DATABASE, *SET_BY_ERASURE, *SET_BY_IMPORTS]) == sorted(
        Judgement.__table__.columns.keys()
    )


def test_what_came_in_has_a_value_for_every_column_that_is_taken_from_it() -> None:
    answer = Answer(4)
    submission = Submission(answer, "key")
    assert [column.name for column in ANSWER if not hasattr(answer, column.said_as or column.name)] == []
    assert [column.name for column in SUBMISSION if not hasattr(submission, column.said_as or column.name)] == []


def test_everything_in_an_answer_but_the_better_response_is_kept_in_a_column() -> None:
    read_back = {column.name for column in ANSWER if not column.follows}
    assert {field.name for field in fields(Answer)} - read_back == {"response", "response_of"}


SAID = [
    Answer(2, criteria={"helpful": 1, "true": 0, "brief": -1}, rationale="Shorter."),
    Answer(8, answer_type="eight", acceptable=(True, None), flags=(("rude", "wrong"), ())),
    Answer(5, safe=(True, False), less_harmful=1),
    Answer(4, safe=(False, False), less_harmful=-1),
]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("answer", SAID)
def test_an_answer_about_a_pair_is_read_back_as_it_was_said(answer: Answer, order: list[int]) -> None:
    assert Answer.of(Judgement(shown_order=order, **answer.to_row(order))) == answer


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_a_ranking_is_read_back_as_it_was_said_whatever_the_order(order: list[int]) -> None:
    answer = Answer(
        answer_type="ranking",
        ranks=(2, 1, None, 2),
        acceptable=(True, True, False, None),
        flags=((), ("rude",), (), ()),
    )
    row = answer.to_row(order)
    assert [row["ranks"][position] for position in order] == [2, 1, None, 2]
    assert Answer.of(Judgement(shown_order=order, **row)) == answer
