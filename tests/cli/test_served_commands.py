"""Served models from the command line, each command with what it refuses."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.served_site import HERE, _loopback_allowed, database_url, home
from tests.cli.test_loop_commands import Command, plumbline
from tests.seeded import seeded, seeded_template, seeded_url
from tests.served_endpoint import KEY, ServedEndpoint, endpoint, of

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


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return str(file)


def test_a_served_model_is_added_tried_asked_and_removed(
    plumbline: Command, endpoint: ServedEndpoint, key_file: str, database_url: str
) -> None:
    added = plumbline(
        "served", "add", "Vicuña", *HERE, "--address", endpoint.address, "--model", "m", "--key-file", key_file,
        "--set", "temperature=0.5", "--set", 'stop=["END"]', "--set", "parallel=2",
    )  # fmt: skip
    assert added.out == f"Vicuña is a served model of everyday-help, at {endpoint.address}.\n"
    assert f"Vicuña\tm\t{endpoint.address}\tyes\n" in plumbline("served", "list", *HERE).out
    assert plumbline("served", "test", "Vicuña", *HERE, "--prompt", "Hello").out == "Answer 1 to Hello\n"
    (asked,) = endpoint.asked
    assert (asked.headers["authorization"], asked.body["temperature"]) == (f"Bearer {KEY}", 0.5)
    asking = ("run", "start", "ask", *HERE)
    assert "there are 2" in plumbline(*asking, "--prompts", "3").refusal
    told = plumbline(*asking, "--served", "Vicuña", "--prompts", "3", "--compare", "Vicuña", "--compare", "policy")
    assert told.out.endswith(" is in the queue.\n")
    (settings,) = only(database_url, "SELECT settings FROM runs WHERE stage = 'ask'")
    assert (settings["prompts"], settings["limits"]["parallel"]) == (3, 2)
    assert [writer.partition(":")[0] for writer in settings["writers"]] == ["served", "policy"]
    assert plumbline("served", "remove", "Vicuña", *HERE).out == "Vicuña is removed.\n"
    assert "Vicuña" not in plumbline("served", "list", *HERE).out
    assert plumbline("served", "test", "Vicuña", *HERE).refusal == "This project has no served model Vicuña."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("served", "add", "x", "--address", "file:///etc/passwd", "--model", "m"), "looks like https://"),
        (("served", "add", "x", "--address", "https://e.org", "--model", "m", "--set", "heat=1"), "NAME=VALUE"),
        (("served", "add", "x", "--address", "https://e.org", "--model", "m", "--set", "top_p=2"), "top_p"),
        (("run", "start", "generate", "--served", "x"), "are for ask"),
        (("run", "start", "ask", "--served", "x"), "no served model x"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(plumbline: Command, arguments: tuple[str, ...], said: str) -> None:
    assert said in plumbline(*arguments, *HERE).refusal


def test_what_an_endpoint_refuses_is_said_without_the_key(
    plumbline: Command, endpoint: ServedEndpoint, key_file: str
) -> None:
    endpoint.reply = lambda asked: of({"error": asked.headers["authorization"]}, 403)
    plumbline("served", "add", "x", *HERE, "--address", endpoint.address, "--model", "m", "--key-file", key_file)
    assert plumbline("served", "test", "x", *HERE).refusal == "The endpoint refuses us (403): “Bearer …”."


def only(database_url: str, query: str) -> tuple[dict[str, dict[str, object]], ...]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row
