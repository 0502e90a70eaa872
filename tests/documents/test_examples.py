"""What documents show in blocks of a shell is run, each document from its beginning on a site of its own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.browser.seed.versions import write_models
from tests.command_line import runner
from tests.documents.reasons import NOT_RUN, why_not_run
from tests.documents.shown import Block, blocks
from tests.documents.walk import Walk
from tests.seeded import seeded, seeded_template, seeded_url
from tests.served_endpoint import KEY, LOOPBACK, ServedEndpoint, endpoint
from tests.services.loop.test_base_models import write_model

__all__ = ["endpoint", "seeded", "seeded_template", "seeded_url"]

TO_RUN = {
    block.document: [each for each in blocks() if each.document == block.document]
    for block in blocks()
    if block.is_shell and any(why_not_run(command) is None for command in block.commands())
}
AS_THE_STARTER = """
    UPDATE projects SET slug = 'starter';
    UPDATE users SET is_admin = true WHERE name = 'Ines Okafor';
    UPDATE rounds SET status = 'cancelled', finished_at = now() WHERE status = 'active';
"""
NEXT_IMPORT = "SELECT COALESCE(max(id), 0) + 1 FROM imports"


@pytest.fixture
def walk(
    seeded_url: str,
    endpoint: ServedEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Walk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLUMBLINE_PRIVATE_ADDRESSES", LOOPBACK)
    write_models(tmp_path / "home")
    write_model(tmp_path / "models" / "mine")
    write_model(tmp_path / "models" / "tuned")  # as training elsewhere would
    (tmp_path / "key.txt").write_text(KEY)
    with ExitStack() as stack:
        with psycopg.connect(seeded_url) as connection:
            (number,) = connection.execute(NEXT_IMPORT).fetchone() or (1,)
        instead = {"https://models.example/v1": endpoint.address, "--undo 1": f"--undo {number}"}
        yield Walk(tmp_path, seeded_url, runner(monkeypatch, capsys), stack, instead)


@pytest.mark.parametrize("document", TO_RUN)
def test_what_a_document_shows_can_be_done(document: str, walk: Walk) -> None:
    if document.startswith("docs/tutorial/"):
        with psycopg.connect(walk.database_url) as connection:
            connection.execute(AS_THE_STARTER)
    walk.follow(TO_RUN[document])
    assert walk.ran


def test_every_reason_is_needed() -> None:
    shown = [command for block in blocks() if block.is_shell for command in block.commands()]
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in shown)] == []


def test_a_command_that_fails_is_found(walk: Walk) -> None:
    for command in ("plumbline round status -p nowhere", "python nowhere.py", "rm -r /"):
        with pytest.raises(AssertionError):
            walk.follow([Block("x.md", 1, "sh", "", command + "\n")])
