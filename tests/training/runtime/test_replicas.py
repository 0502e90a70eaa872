"""Halves of a batch on replicas: the same gradients as the whole, however many threads there are."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import nn

from training.runtime.replicas import Replicas, together, use_threads


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    yield
    use_threads(1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))


def learn(module: nn.Module, rows: Sequence[torch.Tensor]) -> float:
    loss = module(torch.stack(list(rows))).square().sum()
    loss.backward()
    return float(loss.detach())


def gradients(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


ROWS = list(torch.randn(9, 5, generator=torch.Generator().manual_seed(1)))


def test_two_halves_have_the_gradients_of_the_whole() -> None:
    whole, halved = network(), network()
    loss = learn(whole, ROWS)
    assert sum(Replicas(halved).map(learn, ROWS)) == pytest.approx(loss)
    for one, other in zip(gradients(whole), gradients(halved), strict=True):
        torch.testing.assert_close(one, other)


def test_the_number_of_threads_changes_no_bit() -> None:
    found = []
    for threads in (1, 2, 4):
        use_threads(threads)
        module = network()
        Replicas(module).map(learn, ROWS)
        found.append(gradients(module))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_step_of_the_original_is_a_step_of_its_replicas() -> None:
    module = network()
    replicas = Replicas(module)
    replicas.map(learn, ROWS)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0.0
    module.zero_grad()
    after = network()
    after.load_state_dict(module.state_dict())
    learn(after, ROWS)
    replicas.map(learn, ROWS)
    for one, other in zip(gradients(after), gradients(module), strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_of_one_has_one_half() -> None:
    module = network()
    assert len(Replicas(module).map(learn, ROWS[:1])) == 1
    assert gradients(module)


def test_a_failure_is_raised_when_the_other_half_has_ended() -> None:
    ended = []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        together(fail, lambda: ended.append(1))
    assert ended == [1]
