"""Figures from the command line: as they are now, without a worker."""

import csv
import json
from pathlib import Path

import pytest

from app.services.reports.registry import FIGURES
from tests.command_line import Plumbline, runner
from tests.seeded import seeded_template, seeded_url

__all__ = ["seeded_template", "seeded_url"]

SEEDED = "everyday-help"


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeded_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", seeded_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capsys)


def test_a_figure_is_printed_as_json_and_as_csv(plumbline: Plumbline) -> None:
    read = json.loads(plumbline("figures", "models-by-round", "-p", SEEDED).out)
    assert (read["name"], read["is_awaited"], read["problem"]) == ("models-by-round", False, None)
    assert read["as_of"]
    policies = [row["number"] for row in read["rows"] if row["kind"] == "policy"]
    assert policies == [3, 2, 1]
    table = plumbline("figures", "models-by-round", "-p", SEEDED, "--format", "csv").out
    rows = list(csv.DictReader(table.splitlines()))
    assert [int(row["number"]) for row in rows if row["kind"] == "policy"] == policies
    assert set(rows[0]) == {column["name"] for column in read["columns"]}


def test_agreement_is_a_figure_with_its_interval(plumbline: Plumbline) -> None:
    read = json.loads(plumbline("figures", "agreement", "-p", SEEDED).out)
    names = {row["name"] for row in read["rows"]}
    assert {"per_cent", "fleiss", "alpha_ordinal"} <= names
    assert {"value", "low", "high"} <= set(read["rows"][0])


def test_it_lists_what_there_is_and_says_what_there_is_not(plumbline: Plumbline) -> None:
    listed = [line.partition(":")[0] for line in plumbline("figures").out.splitlines()]
    assert listed == list(FIGURES)
    assert "agreement-by-week" in plumbline("figures", "moods", "-p", SEEDED).refusal
    assert plumbline("figures", "agreement", "-p", "nowhere").refusal == "There is no project nowhere."
