"""The bench of what labels are worth to the policy, run in parts: a round that takes minutes is made up here."""

import json
import sys
from pathlib import Path

import pytest

from bench import loop_labels
from bench.loop_labels import Reached
from bench.loop_study import Study

WORTH = {"uniform": 0.6, "thompson_d_optimal": 0.65}


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, int]]:
    """The rounds that were turned, in order."""
    done: list[tuple[int, str, int]] = []

    def one_round(study: Study, rule: str, labels: int) -> Reached:
        if len(done) == 3 and not study.settings:
            done.append((-1, "stopped", 0))
            raise KeyboardInterrupt
        done.append((study.seed, rule, labels))
        rate = WORTH[rule] + study.seed % 10 / 100
        return Reached(study.seed, rule, labels, rate, rate, rate, 3.0, 1.0)

    monkeypatch.setattr(loop_labels, "one_round", one_round)
    return done


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> "Bench":
    return Bench(monkeypatch, capsys, tmp_path)


class Bench:
    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._patch, self._capsys, self._folder = patch, capsys, folder

    def __call__(self, *words: str) -> list[str]:
        """The lines that a run in the folder prints."""
        self._patch.setattr(sys, "argv", ["loop_labels", "--folder", str(self._folder), *words])
        loop_labels.main()
        return self._capsys.readouterr().out.splitlines()


def test_what_was_stopped_goes_on_where_it_was_and_parts_add_up(
    bench: Bench, turned: list[tuple[int, str, int]]
) -> None:
    whole = ("--labels", "60", "--seeds", "1", "2")
    with pytest.raises(KeyboardInterrupt):
        bench(*whole)
    assert turned.pop() == (-1, "stopped", 0)
    turned.append((-1, "was there", 0))
    told = bench(*whole)
    assert turned == [
        (1, "uniform", 60), (1, "thompson_d_optimal", 60), (2, "uniform", 60),
        (-1, "was there", 0), (2, "thompson_d_optimal", 60),
    ]  # fmt: skip
    assert "thompson_d_optimal, 60 labels, win_rate: +0.050 [+0.050, +0.050], 2 seeds" in told
    bench("--labels", "60", "--seeds", "4")
    (line,) = [line for line in bench("--seeds") if line.startswith("thompson_d_optimal, 60 labels, refusals")]
    assert line.endswith("3 seeds"), "without any seed it prints what is there"
    assert len(json.loads(bench("--seeds")[-1])["reached"]) == 6


def test_seeds_that_were_drawn_stay_drawn(bench: Bench, turned: list[tuple[int, str, int]]) -> None:
    drawn = ("--labels", "60", "--seeds", "--rules", "uniform")
    bench(*drawn, "--drawn", "1")
    (first,) = turned
    bench(*drawn, "--drawn", "2")
    assert (len(turned), turned[0]) == (2, first), "the one that is there is not turned again"


def test_a_seed_that_has_no_random_round_counts_for_nothing(bench: Bench, turned: list[tuple[int, str, int]]) -> None:
    told = bench("--labels", "60", "--seeds", "1", "--rules", "thompson_d_optimal")
    assert len(turned) == 1
    assert not [line for line in told if "win_rate:" in line]


def test_a_folder_holds_one_study(bench: Bench, turned: list[tuple[int, str, int]]) -> None:
    bench("--labels", "60", "--seeds", "1")
    with pytest.raises(SystemExit, match="take another folder"):
        bench("--labels", "60", "--seeds", "1", "--noise", "0.25")
    assert len(turned) == 2
