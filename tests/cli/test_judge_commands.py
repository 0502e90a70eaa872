"""Judges that are models from the command line: made, asked, measured, read and stopped, and what is refused."""

import json

import psycopg
import pytest

from tests.cli.served_site import HERE, _loopback_allowed, database_url, home
from tests.cli.test_loop_commands import Command, plumbline
from tests.command_line import usage_error
from tests.seeded import seeded, seeded_template, seeded_url
from tests.served_endpoint import ServedEndpoint, endpoint

__all__ = [
    "_loopback_allowed",
    "database_url",
    "endpoint",
    "home",
    "plumbline",
    "seeded",
    "seeded_template",
    "seeded_url",
]

SAID = """
    INSERT INTO runs (project_id, stage) SELECT project_id, 'judge' FROM judges;
    INSERT INTO judgements
        (project_id, task_id, annotator_id, kind, answer_type, ranks, shown_order, guidelines_version)
        SELECT judge.project_id, task.id, judge.user_id, 'machine', 'ranking', '{1,2}', '{0,1}', 1
        FROM judges judge, (SELECT DISTINCT task_id AS id FROM judgements WHERE preference > 0 LIMIT 3) task;
    INSERT INTO judge_answers (judge_id, task_id, run_id, judgement_id, outcome, chosen_as, replies, tokens)
        SELECT judge.id, said.task_id, (SELECT max(id) FROM runs), said.id, 'first', 'shared',
               '[{"order": [0, 1], "said": "A", "why": null, "text": "Clearer. VERDICT: A"},
                 {"order": [1, 0], "said": "B", "why": null, "text": "VERDICT: B"}]', 40
        FROM judges judge, judgements said WHERE said.kind = 'machine' AND said.annotator_id = judge.user_id;
"""


@pytest.fixture
def served(plumbline: Command, endpoint: ServedEndpoint) -> str:
    added = plumbline("served", "add", "Vicuña", *HERE, "--address", endpoint.address, "--model", "m")
    assert added.code == 0
    return "Vicuña"


def test_a_served_model_is_made_a_judge_asked_and_stopped(plumbline: Command, served: str, database_url: str) -> None:
    assert plumbline("judge", "add", served, *HERE).out == "Vicuña is a judge of everyday-help.\n"
    assert "is a judge already" in plumbline("judge", "add", served, *HERE).refusal
    assert served + ": 0 pairs judged, 0 of them by people, too; agreement unknown, flips unknown, not calibrated" in (
        plumbline("judge", "list", *HERE).out
    )
    assert plumbline("judge", "answers", served, *HERE).out == "It has answered nothing yet.\n"
    queued = json.loads(plumbline("judge", "ask", served, *HERE, "--pairs", "7", "--json").out)
    assert queued["state"] == "queued"
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT stage, settings FROM runs WHERE id = %s", (queued["run_id"],)).fetchone()
    assert row is not None
    assert (row[0], row[1]["pairs"]) == ("judge", 7)
    assert plumbline("judge", "stop", served, *HERE).out == "Vicuña judges no more.\n"
    for command in ("ask", "answers", "stop"):
        assert plumbline("judge", command, served, *HERE).refusal == "“Vicuña” is no judge."
    assert served not in plumbline("judge", "list", *HERE).out


def test_how_far_a_judge_can_be_trusted_and_what_it_replied_are_printed_as_words_and_as_json(
    plumbline: Command, served: str, database_url: str
) -> None:
    assert json.loads(plumbline("judge", "add", served, *HERE, "--json").out)["name"] == served
    with psycopg.connect(database_url) as connection:
        connection.execute(SAID.encode())
    told = {entry["name"]: entry["measured"] for entry in json.loads(plumbline("judge", "list", *HERE, "--json").out)}
    assert (told[served]["answered"], told[served]["shared"], told[served]["tokens"]) == (3, 3, 120)
    agreement = told[served]["agreement"]
    assert 0 <= agreement["low"] < agreement["share"] <= agreement["high"] <= 1
    assert f"agreement {agreement['share']:.1%} [{agreement['low']:.1%}," in plumbline("judge", "list", *HERE).out
    replies = json.loads(plumbline("judge", "answers", served, *HERE, "--json", "--limit", "2").out)
    assert [(one["outcome"], one["tokens"]) for one in replies] == [("first", 40)] * 2
    assert replies[0]["replies"][0]["text"] == "Clearer. VERDICT: A"
    assert ": first, 40 tokens" in plumbline("judge", "answers", served, *HERE).out
    assert json.loads(plumbline("judge", "answers", served, *HERE, "--outcome", "flip", "--json").out) == []


def test_what_cannot_be_is_refused_in_one_line(plumbline: Command, served: str) -> None:
    assert plumbline("judge", "add", "nobody", *HERE).refusal == "This project has no served model nobody."
    assert plumbline("judge", "list", "-p", "nowhere").refusal == "There is no project nowhere."
    assert plumbline("judge", "ask", served, *HERE).refusal == "“Vicuña” is no judge."
    assert "'--pairs'" in usage_error(plumbline("judge", "ask", served, *HERE, "--pairs", "-1"))
    assert "'--outcome'" in usage_error(plumbline("judge", "answers", served, *HERE, "--outcome", "hm"))
