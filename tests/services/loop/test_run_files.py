"""What a training process leaves in a run's folder, read while it still writes and whatever it wrote."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from app.db.tables import Run
from app.services.loop.gates.hacking_report import REPORT, report_of
from app.services.loop.runs import runs
from app.services.loop.runs.runs import LOG
from app.services.loop.storable import storable

RUN = Run(folder="runs/7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "7"
    folder.mkdir(parents=True)
    return folder


def test_a_run_without_a_folder_or_a_log_has_said_nothing(tmp_path: Path) -> None:
    assert runs.log_tail(Run(folder=None), tmp_path) == ""
    assert runs.log_tail(RUN, tmp_path) == ""


@pytest.mark.parametrize(
    ("log", "tail"),
    [
        (b"", ""),
        (b"one\n", "one\n"),
        (b"0123456789", "0123456789"),
        (b"one\ntwo\nthree\n", "three\n"),
        (b"0123456789\n123456789", "123456789"),
        (b"caf\xc3\xa9 \xff\n", "café \ufffd\n"),
    ],
)
def test_the_end_of_a_log_starts_with_a_whole_line(tmp_path: Path, folder: Path, log: bytes, tail: str) -> None:
    (folder / LOG).write_bytes(log)
    assert runs.log_tail(RUN, tmp_path, max_bytes=10) == tail


@pytest.mark.parametrize("log", [b"loading: 1%\r2%\r3%\r4%\r5%\n", b"loading: 1%\r2%\r3%\r4%\r5%"])
def test_a_line_longer_than_the_end_of_a_log_is_shown_from_its_middle_on(
    tmp_path: Path, folder: Path, log: bytes
) -> None:
    """A bar of progress draws over itself and ends no line for hours."""
    (folder / LOG).write_bytes(log)
    assert runs.log_tail(RUN, tmp_path, max_bytes=6).strip() == log[-6:].decode().strip()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"evaluations": []}'])
def test_a_report_that_says_nothing_is_none(tmp_path: Path, folder: Path, content: bytes) -> None:
    assert report_of(RUN, tmp_path) is None
    assert report_of(Run(folder=None), tmp_path) is None
    (folder / REPORT).write_bytes(content)
    assert report_of(RUN, tmp_path) is None


def test_a_report_is_there_from_its_first_evaluation_on(tmp_path: Path, folder: Path) -> None:
    report = {"evaluations": [{"iteration": 0}]}
    (folder / REPORT).write_text(json.dumps(report))
    assert report_of(RUN, tmp_path) == report
    assert report_of(Run(folder="runs/8"), tmp_path) is None


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("half \ud83d a pair", "half ? a pair"),
        ("whole 😀", "whole 😀"),
        (1.5, 1.5),
        (math.nan, None),
        (-math.inf, None),
        (True, True),
        (None, None),
        (10**30, 10**30),
        ({"a\0": [math.inf, {"b": "\0"}]}, {"a\ufffd": [None, {"b": "\ufffd"}]}),
    ],
)
def test_what_a_model_says_is_made_fit_for_the_database_and_nothing_else_is_changed(said: Any, stored: Any) -> None:
    assert storable(said) == stored
    json.dumps(storable(said), allow_nan=False).encode()
