"""Files into projects by `plumbline import`, and out again: from files, pipes and standard input, dry or in earnest."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.command_line import Done, runner

Command = Callable[..., Done]

PAIRS = [
    {"prompt": f"How warm is tea {number}?", "response_a": "Warm.", "response_b": "Cold.", "note": "x"}
    for number in range(5)
]


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Command:
    """`plumbline` on the test's database, with its data in `tmp_path / "home"`."""
    run = runner(monkeypatch, capsys)

    def command(*arguments: str) -> Done:
        return run(*arguments, DATABASE_URL=database_url, PLUMBLINE_HOME=str(tmp_path / "home"))

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "tea.jsonl", PAIRS)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def count(database_url: str) -> Iterator[Callable[[str], object]]:
    with psycopg.connect(database_url, autocommit=True) as connection:

        def counted(rows: str) -> object:
            row = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()  # noqa: S608 - of the test's own
            return row and row[0]

        yield counted


def test_pairs_to_be_judged_become_open_tasks_for_as_many_people_as_the_project_asks(
    plumbline: Command, file: Path, count: Callable[[str], object]
) -> None:
    done = plumbline("import", str(file), "-p", "tea", "--create")
    assert done.out == (
        "Imported 5 of 5 rows (responses) into tea as 1; 0 were there already, 0 came twice, 0 can't be used.\n"
    )
    assert count("tasks WHERE state = 'open' AND taken = 0 AND quota = 1") == 5
    assert count("task_completions") == 10
    assert count("judgements") == 0


def test_a_dry_run_tells_what_would_come_in_and_writes_nothing(
    plumbline: Command, file: Path, count: Callable[[str], object]
) -> None:
    write(file, [*PAIRS, PAIRS[0]])
    done = plumbline("import", str(file), "-p", "tea", "--create", "--dry-run")
    assert "5 of 6 rows (responses) would come into tea; 0 were there already, 1 came twice" in done.out
    assert [count(table) for table in ("prompts", "tasks", "imports")] == [0, 0, 0]
    plumbline("import", str(file), "-p", "tea", "--create")
    assert (
        "0 of 6 rows (responses) would come into tea; 5 were there"
        in plumbline("import", str(file), "-p", "tea", "--dry-run").out
    )


@pytest.mark.parametrize("way", ["pipe", "standard input"])
def test_what_can_be_read_only_once_comes_in_whole(
    plumbline: Command, file: Path, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(file.read_bytes()))
    writer.start()
    if way == "pipe":
        done = plumbline("import", str(pipe), "-p", "tea", "--create")
    else:
        with pipe.open("rb") as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            done = plumbline("import", "-", "-p", "tea", "--create")
    writer.join()
    assert "Imported 5 of 5 rows" in done.out, done.err


def test_a_file_whose_name_is_no_text_comes_in_under_an_escaped_one(
    plumbline: Command, file: Path, database_url: str
) -> None:
    odd = Path(os.fsdecode(os.fsencode(file.parent) + b"/tea\xff.jsonl"))
    file.rename(odd)
    assert plumbline("import", str(odd), "-p", "tea", "--create").code == 0
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT file_name FROM imports").fetchone() == ("tea\\xff.jsonl",)


def test_columns_of_any_name_are_mapped_by_hand(plumbline: Command, file: Path) -> None:
    write(file, [{"q": "Tea?", "left": "Yes.", "right": "No."}])
    asked = ("import", str(file), "-p", "tea", "--create")
    assert "is of no schema that is known" in plumbline(*asked).refusal
    assert "--map is FIELD=COLUMN" in plumbline(*asked, "--schema", "prompts", "--map", "prompt").refusal
    assert "no column" in plumbline(*asked, "--schema", "prompts", "--map", "prompt=x").refusal
    assert "There is no format songs" in plumbline(*asked, "--schema", "songs").refusal
    assert "Imported 1 of 1 rows (prompts)" in plumbline(*asked, "--schema", "prompts", "--map", "prompt=q").out


def test_an_import_is_undone_as_a_whole_and_only_once(
    plumbline: Command, file: Path, count: Callable[[str], object]
) -> None:
    plumbline("import", str(file), "-p", "tea", "--create")
    write(file, [{"prompt": "Milk?", "chosen": "Yes.", "rejected": "No."}, {**PAIRS[0], "response_b": "Hot."}])
    write(file, [{"prompt": "Milk?", "chosen": "Yes.", "rejected": "No."}])
    plumbline("import", str(file), "-p", "tea")
    assert count("judgements") == 1
    undone = plumbline("import", "-p", "tea", "--undo", "2")
    assert undone.out == ("Import 2 of tea is undone: 1 judgements, 2 responses, 1 tasks, 1 prompts removed.\n")
    assert [count(table) for table in ("judgements", "tasks", "completions", "prompts")] == [0, 5, 10, 5]
    assert plumbline("import", "-p", "tea", "--undo", "2").refusal == "Only what was imported can be undone."
    assert "Imported 1 of 1" in plumbline("import", str(file), "-p", "tea").out


def test_what_a_dataset_version_holds_is_not_undone(
    plumbline: Command, file: Path, count: Callable[[str], object]
) -> None:
    write(file, [{"prompt": "Milk?", "chosen": "Yes.", "rejected": "No."}])
    plumbline("import", str(file), "-p", "tea", "--create")
    plumbline("dataset", "cut", "-p", "tea")
    assert plumbline("import", "-p", "tea", "--undo", "1").refusal == (
        "Dataset version 1 holds some of it. A version is never changed, so this import stays."
    )
    assert count("judgements") == 1


def test_more_bad_rows_than_are_shown_are_all_in_a_table(plumbline: Command, file: Path, tmp_path: Path) -> None:
    file.write_bytes(b'{"prompt": 7}\n' * 12_000)
    done = plumbline("import", str(file), "-p", "tea", "--create", "--schema", "prompts")
    assert "12,000 of 12,000 rows can't be used" in done.refusal
    (table,) = (tmp_path / "home" / "imports").glob("*/bad-rows.csv")
    assert f"… and 11,980 more; all of them are in {table}" in done.out
    assert len(table.read_text(encoding="utf-8").splitlines()) == 12_001
