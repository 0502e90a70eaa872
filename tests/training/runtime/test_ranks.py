"""Processes of one run: what one of them has or says is everywhere, and gradients are the sum of all."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training import ranks as processes
from tests.training import toy
from training.runtime.metrics import mean_of
from training.runtime.optimiser import Trainer
from training.runtime.ranks import RankLost, Ranks, by_environment, joined, ranks
from training.runtime.replicas import Replicas, shards, together

ROWS = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))


class Branched(nn.Module):
    """Rows whose first number is negative go another way; and there is a way that none goes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.usual, self.other, self.unused = (nn.Linear(5, 1) for _ in range(3))

    def forward(self, row: Tensor) -> Tensor:
        return self.usual(row) if row[0] > 0 else self.other(row)


def loss_of(module: nn.Module, rows: Sequence[Tensor]) -> float:
    losses = [module(row).square().sum() for row in rows]
    torch.stack(losses).sum().backward()
    return float(torch.stack(losses).sum().detach())


def learnt(rows: Sequence[Tensor]) -> dict[str, object]:
    """Two steps on the rows: norms, results in order, and weights afterwards."""
    module = Branched()
    replicas = Replicas(module)
    trainer = Trainer(module.parameters(), epsilon=1e-8, gradient_clip=0.5)
    told = []
    for _ in range(2):
        results = replicas.map(loss_of, rows)
        told.append([*results, trainer.step(1e-2)])
    return {"told": told, "weights": {name: weight.tolist() for name, weight in module.state_dict().items()}}


def meet(out: Path, wait_seconds: float = 60) -> None:
    own = by_environment()
    with joined(own, out, device=torch.device("cpu"), wait_seconds=wait_seconds):
        index = ranks().index
        found = {
            "gathered": ranks().gather(index),
            "told": ranks().told(lambda: f"by {index}"),
            "any": ranks().agree(index == 1, False),
            "each": ranks().each(lambda item: item * item, range(5)),
            "rows": ranks().by_rows(lambda rows: [ROWS[list(rows)]], len(ROWS))[0].tolist(),
            "one_row": ranks().by_rows(lambda rows: [ROWS[list(rows)]], 1)[0].tolist(),
            "halves": shards(),
            "learnt": learnt(list(ROWS)),
            "of_one_row": learnt(list(ROWS[:1])),
        }
    (out / f"found-{index}.json").write_text(json.dumps(found))


def lose(out: Path) -> None:
    own = by_environment()
    with joined(own, out, device=torch.device("cpu"), wait_seconds=60):
        if own.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(RankLost):
            ranks().gather(0)
    (out / "lost").touch()


def hang(out: Path) -> None:
    own = by_environment()
    with joined(own, out, device=torch.device("cpu"), wait_seconds=1):
        if own.first:
            with pytest.raises(RankLost):
                ranks().gather(0)
            (out / "gave up").touch()
        else:
            while not (out / "gave up").exists():
                signal.sigtimedwait([], 0.1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    out = tmp_path_factory.mktemp("ranks")
    assert [toy.exit_code(one) for one in processes.start_each(2, meet, out)] == [0, 0]
    assert list(out.glob(".*.part")) == []
    return [json.loads((out / f"found-{index}.json").read_text()) for index in range(2)]


def test_what_each_process_has_is_everywhere_in_order(found: list[dict[str, object]]) -> None:
    for one in found:
        assert one["gathered"] == [0, 1]
        assert one["each"] == [0, 1, 4, 9, 16]
        assert one["rows"] == ROWS.tolist()
        assert one["one_row"] == ROWS[:1].tolist()


def test_the_first_process_decides_and_any_may_object(found: list[dict[str, object]]) -> None:
    for one in found:
        assert one["told"] == "by 0"
        assert one["any"] == [True, False]
        assert one["halves"] == 1


@pytest.mark.parametrize(("name", "count"), [("learnt", 9), ("of_one_row", 1)])
def test_two_processes_learn_what_one_does_to_the_bit(found: list[dict[str, object]], name: str, count: int) -> None:
    """Of one row a process has none, and of a branch that one of them alone went it has no gradient."""
    alone = json.loads(json.dumps(learnt(list(ROWS[:count]))))
    assert found[0][name] == found[1][name] == alone
    weights = alone["weights"]
    assert weights["unused.weight"] == Branched().state_dict()["unused.weight"].tolist()


def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    assert [toy.exit_code(one) for one in processes.start_each(2, lose, tmp_path)] == [0, -signal.SIGKILL]
    assert (tmp_path / "lost").exists()


def test_nobody_waits_for_ever_for_one_that_hangs(tmp_path: Path) -> None:
    assert [toy.exit_code(one) for one in processes.start_each(2, hang, tmp_path)] == [0, 0]


def test_one_process_is_by_itself() -> None:
    assert ranks() == Ranks()
    assert ranks().gather(mean_of(1.0)) == [(1.0, 1.0)]
    assert ranks().by_rows(lambda rows: [ROWS[list(rows)]], 9)[0] is not None


def test_threads_may_not_speak_for_their_process() -> None:
    two = Ranks(0, 2)
    with pytest.raises(AssertionError, match="another order"):
        together(lambda: two.gather(1), lambda: two.gather(2))
