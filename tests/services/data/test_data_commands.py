"""Data and people from the command line: import, cut, export, accounts and tokens."""

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from pyarrow import parquet

from app.services.data.imports.formats.registry import FORMATS
from tests.command_line import Done, runner
from tests.more_schemas import lengths

__all__ = ["lengths"]

HH_RLHF = Path(__file__).parents[4] / "shared" / "data" / "hh-rlhf-harmless-base-test.jsonl.gz"
FEW = 100
BAD_LINE = 87


class Command(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


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
def transcripts(tmp_path: Path) -> Path:
    """The first rows of the real file, a bad one among them."""
    file = tmp_path / "hh.jsonl.gz"
    with gzip.open(HH_RLHF, "rb") as rows:
        file.write_bytes(gzip.compress(b"".join(islice(rows, FEW))))
    return file


def one(database_url: str, query: str) -> object:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]


def test_real_transcripts_come_in_are_cut_and_go_out_as_trl_reads_them(
    plumbline: Command, transcripts: Path, tmp_path: Path
) -> None:
    done = plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    assert done.code == 0, done.err
    assert f"line {BAD_LINE} has an empty response" in done.out
    assert f"Imported {FEW - 1} of {FEW} rows (hh-rlhf) into harmless as 1; 0 were there already" in done.out

    done = plumbline("dataset", "cut", "--project", "harmless")
    assert f"Dataset 1 of harmless holds {FEW - 1} judgements" in done.out
    assert (tmp_path / "home" / "datasets" / "harmless" / "preferences-0001.jsonl").exists()

    out = tmp_path / "pairs"
    done = plumbline("export", "--project", "harmless", "--dataset", "1", "--format", "jsonl", "--out", str(out))
    assert done.out == f"Wrote {FEW - 1} rows of dataset 1 of harmless to {out}.\n"
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["prompt", "chosen", "rejected", "split"]] * (FEW - 1)
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)

    done = plumbline("export", "-p", "harmless", "--format", "parquet", "--raw", "-o", str(out))
    assert done.code == 0, done.err
    raw = parquet.read_table(out).to_pylist()
    assert [{name: row[name] for name in rows[0]} for row in raw] == rows
    assert {(row["strength"], row["annotator"]) for row in raw} == {(0, "imported")}, "no file said how much"


@pytest.mark.usefixtures("lengths")
def test_a_schema_more_in_the_table_is_exported_by_its_name(
    plumbline: Command, transcripts: Path, tmp_path: Path
) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    plumbline("dataset", "cut", "--project", "harmless")
    out = tmp_path / "lengths.jsonl"
    done = plumbline("export", "-p", "harmless", "--schema", "lengths", "-o", str(out))
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["a", "b", "split"]] * (FEW - 1)


def test_a_schema_that_is_not_in_the_table_is_one_line(plumbline: Command, transcripts: Path, tmp_path: Path) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    plumbline("dataset", "cut", "--project", "harmless")
    done = plumbline("export", "-p", "harmless", "--schema", "lengths", "-o", str(tmp_path / "out"))
    assert done.refusal == "A preferences dataset has no schema lengths."


def test_chosen_responses_become_demonstrations_once_and_only_when_asked_for(
    plumbline: Command, transcripts: Path, database_url: str
) -> None:
    known = "SELECT count(*) FROM demonstrations WHERE source = 'imported'"
    importing = ("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    plumbline(*importing)
    assert one(database_url, known) == 0
    assert "There is no demonstration" in plumbline("run", "start", "sft", "--project", "harmless").refusal
    assert "no demonstration yet" in plumbline("dataset", "cut", "--kind", "demonstrations", "-p", "harmless").refusal
    plumbline(*importing, "--demonstrate")
    plumbline(*importing, "--demonstrate")
    chosen = "SELECT count(DISTINCT (c.prompt_id, c.text)) FROM judgements j JOIN task_completions t USING (task_id)"
    better = "WHERE (t.position = 0) = (j.preference > 0)"
    expected = one(database_url, f"{chosen} JOIN completions c ON c.id = t.completion_id {better}")
    assert one(database_url, known) == expected
    cut = plumbline("dataset", "cut", "--kind", "demonstrations", "-p", "harmless")
    assert " demonstrations: " in cut.out
    assert "is in the queue" in plumbline("run", "start", "sft", "--project", "harmless").out


def test_demonstrations_come_in_once_in_each_of_their_forms_and_sft_learns_from_them(
    plumbline: Command, database_url: str, tmp_path: Path
) -> None:
    question, answer = {"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well."}
    rows: list[object] = [
        {"prompt": "How are you?", "completion": "Fine."},
        {"prompt": [question], "completion": [answer]},
        {"messages": [{"role": "system", "content": "Be brief."}, question, answer]},
        {"prompt": [question], "completion": "Well."},
    ]
    (tmp_path / "shown.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    importing = ("import", str(tmp_path / "shown.jsonl"), "-p", "manners", "--create")
    done = plumbline(*importing)
    assert "Imported 3 of 4 rows (demonstrations) into manners as 1; 0 were there already, 1 came twice" in done.out
    again = plumbline(*importing).out
    assert "Imported 0 of 4 rows (demonstrations) into manners as 2; 3 were there already, 1 came twice" in again
    assert one(database_url, "SELECT count(*) FROM demonstrations WHERE source = 'imported'") == 3
    assert one(database_url, "SELECT count(*) FROM prompts") == 2
    assert "is in the queue" in plumbline("run", "start", "sft", "--project", "manners").out


def test_every_schema_can_be_asked_for_and_no_other(plumbline: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "4000")  # no line is broken
    described = plumbline("import", "--help").out
    assert all(form.name in described for form in FORMATS)


def test_chosen_responses_are_asked_of_judgements_alone(plumbline: Command, tmp_path: Path) -> None:
    (tmp_path / "shown").write_text('{"prompt": "Hello?", "completion": "Hi."}', encoding="utf-8")
    asked = plumbline("import", str(tmp_path / "shown"), "-p", "new", "--create", "--demonstrate")
    assert asked.refusal == "--demonstrate is for judgements: a file of demonstrations has no chosen responses."


def test_a_bad_row_keeps_the_file_and_the_new_project_out(
    plumbline: Command, transcripts: Path, database_url: str
) -> None:
    done = plumbline("import", str(transcripts), "--project", "harmless", "--create")
    assert done.refusal == (
        f"Nothing was imported: 1 of {FEW} rows can't be used. Use --skip-bad to import the others."
    )
    assert f"line {BAD_LINE} " in done.out
    assert one(database_url, "SELECT count(*) FROM projects") == 0


def test_a_project_is_created_only_when_asked_for(plumbline: Command, transcripts: Path) -> None:
    done = plumbline("import", str(transcripts), "--project", "harmless", "--skip-bad")
    assert done.refusal == "There is no project harmless. Use --create to make it."


def test_an_empty_file_and_a_missing_one_are_one_line(plumbline: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert "holds no row" in plumbline("import", str(tmp_path / "empty"), "-p", "new", "--create").refusal
    assert "can't be read" in plumbline("import", str(tmp_path / "none"), "-p", "new", "--create").refusal


def test_many_bad_rows_are_counted_and_not_all_shown(plumbline: Command, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b'{"prompt": 7}\n' * 50)
    done = plumbline("import", str(tmp_path / "bad"), "-p", "newer", "--create", "--schema", "prompts")
    assert len(done.out.splitlines()) == 21
    assert "… and 30 more" in done.out
    assert "50 of 50" in done.refusal


def test_an_export_of_a_changed_file_is_refused_and_leaves_nothing(
    plumbline: Command, transcripts: Path, tmp_path: Path
) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    out = tmp_path / "out" / "pairs.jsonl"
    out.parent.mkdir()
    assert "cut one first" in plumbline("export", "-p", "harmless", "-o", str(out)).refusal
    plumbline("dataset", "cut", "--project", "harmless")
    file = tmp_path / "home" / "datasets" / "harmless" / "preferences-0001.jsonl"
    file.write_bytes(file.read_bytes().replace(b"e", b"a", 1))
    for file_format in ("jsonl", "parquet"):
        done = plumbline("export", "-p", "harmless", "--format", file_format, "-o", str(out))
        assert "is not what was cut" in done.refusal
    assert list(out.parent.iterdir()) == []
    assert "no preferences dataset 7" in plumbline("export", "-p", "harmless", "--dataset", "7", "-o", str(out)).refusal
    assert plumbline("export", "-p", "nowhere", "-o", str(out)).refusal == "There is no project nowhere."


def test_a_new_person_gets_a_link_and_a_place(plumbline: Command, transcripts: Path, database_url: str) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    done = plumbline("create-user", "Ada", "--email", "ada@example.org", "-p", "harmless", "--role", "reviewer")
    assert done.out.startswith("http://localhost:8400/sign-in/link/"), done.err
    assert (
        one(database_url, "SELECT role FROM members JOIN users ON users.id = user_id WHERE name = 'Ada'") == "reviewer"
    )
    assert plumbline("link", "--user", "ada@example.org").code == 0
    assert "e-mail address" in plumbline("create-user", "Other", "--email", "Ada@example.org").refusal
    assert "A role is one of" in plumbline("create-user", "Bob", "-p", "harmless", "--role", "king").refusal
    assert one(database_url, "SELECT count(*) FROM users") == 1


def test_an_api_token_is_printed_alone_and_once(plumbline: Command, database_url: str) -> None:
    plumbline("create-user", "Ada", "--admin")
    done = plumbline("token", "--user", "Ada", "--name", "nightly export", "--days", "30")
    assert done.out.startswith("plumb_")
    assert len(done.out.splitlines()) == 1
    assert one(database_url, "SELECT is_admin FROM users") is True
    assert one(database_url, "SELECT count(*) FROM api_tokens WHERE expires_at > now() + interval '29 days'") == 1


def test_judgements_are_followed_without_a_version(plumbline: Command, transcripts: Path, database_url: str) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    done = plumbline("dataset", "follow", "-p", "harmless", "--once")
    assert done.code == 0, done.err
    *lines, last = [json.loads(line) for line in done.out.splitlines()]
    held = one(database_url, "SELECT count(*) FROM judgements JOIN tasks ON task_id = tasks.id JOIN prompts"
               " ON prompt_id = prompts.id WHERE split <> 'held_out'")  # fmt: skip
    assert sum("row" in line for line in lines) == held
    again = plumbline("dataset", "follow", "-p", "harmless", "--once", "--after", last["cursor"])
    assert [list(json.loads(line)) for line in again.out.splitlines()] == [["cursor"]], "nothing new"
    odd = {"prompt": "One\u2028two\x85three?", "chosen": "Yes.", "rejected": "No.", "split": "train"}
    file = transcripts.with_name("odd.jsonl")
    file.write_text(json.dumps(odd))
    done = plumbline("import", str(file), "-p", "harmless")
    assert done.code == 0, done.err
    told = plumbline("dataset", "follow", "-p", "harmless", "--once", "--json", "--after", last["cursor"])
    assert "row" in told.out, told
    assert json.loads(told.out)[0]["row"]["prompt"][0]["content"] == odd["prompt"]
    assert one(database_url, "SELECT count(*) FROM dataset_versions") == 0


def test_a_version_is_cut_again_compared_and_its_manifest_read(
    plumbline: Command, transcripts: Path, tmp_path: Path, database_url: str
) -> None:
    plumbline("import", str(transcripts), "--project", "harmless", "--create", "--skip-bad")
    plumbline("dataset", "cut", "-p", "harmless")
    held = one(database_url, "SELECT count(*) FROM dataset_judgements")
    told = json.loads(plumbline("dataset", "manifest", "1", "-p", "harmless").out)
    copy = tmp_path / "again.jsonl"
    done = plumbline("dataset", "again", "1", "-p", "harmless", "--out", str(copy))
    assert done.out == f"Dataset 1 of harmless has the same {held} rows, SHA-256 {told['files'][0]['sha256']}.\n"
    assert copy.read_bytes() == (tmp_path / "home" / "datasets" / "harmless" / "preferences-0001.jsonl").read_bytes()
    counts = json.loads(plumbline("dataset", "compare", "1", "-p", "harmless", "--json").out)
    assert (counts["added"], counts["gone"]) == (held, 0)
    assert plumbline("dataset", "compare", "1", "-p", "harmless").out.startswith(f"{held} added, 0 gone, ")
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE dataset_judgements DISABLE TRIGGER USER")
        connection.execute("UPDATE dataset_judgements SET split = NULL")
        connection.execute("UPDATE prompts SET split = 'validation' WHERE split = 'train'")
    refused = plumbline("dataset", "again", "1", "-p", "harmless").refusal
    assert refused == (
        "Dataset 1 of harmless can't be cut again as it was:"
        f" of {held} of its judgements neither split nor weight was kept when it was cut."
    )
