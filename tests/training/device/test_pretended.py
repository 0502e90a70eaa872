"""The pretended device refuses what CUDA refuses, and computes the rest."""

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.training.device import pretended
from tests.training.device.pretended import on_pretended_device


@pytest.fixture(autouse=True)
def _there() -> Iterator[None]:
    with on_pretended_device():
        yield


def there(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=pretended.device())


HOST, INDEX = torch.ones(3), torch.tensor([0, 2])

REFUSED: dict[str, Callable[[], object]] = {
    "a sum": lambda: there(1, 2, 3) + HOST,
    "the other way round": lambda: HOST * there(1, 2, 3),
    "in place": lambda: HOST.clone().add_(there(1, 2, 3)),
    "a product of matrices": lambda: there(1, 2, 3) @ HOST,
    "a row of tensors": lambda: torch.cat([there(1, 2, 3), HOST]),
    "a choice": lambda: torch.where(there(1, 2, 3) > 1, there(1, 2, 3), HOST),
    "a layer": lambda: nn.Linear(3, 1)(there(1, 2, 3)),
    "an embedding": lambda: nn.Embedding(3, 2).to(pretended.device())(INDEX),
    "gather": lambda: there(1, 2, 3).gather(0, INDEX),
    "an index of the device into the host": lambda: HOST[INDEX.to(pretended.device())],
    "a value of the host": lambda: there(1, 2, 3).index_put((INDEX,), HOST[:2]),
    "a value of the device": lambda: HOST.clone().index_put_((INDEX,), there(1, 2)),
}

ALLOWED: dict[str, tuple[Callable[[], Tensor], list[float]]] = {
    "a number": (lambda: there(1, 2, 3) * 2, [2, 4, 6]),
    "a scalar of the host": (lambda: there(1, 2, 3) + torch.tensor(1.0), [2, 3, 4]),
    "an index of the host": (lambda: there(1, 2, 3)[INDEX], [1, 3]),
    "a mask of the host": (lambda: there(1, 2, 3)[HOST > 2], []),
    "a scalar put in": (lambda: there(1, 2, 3).index_put((INDEX,), torch.tensor(9.0)), [9, 2, 9]),
    "a copy to it": (lambda: there(1, 2, 3).copy_(HOST), [1, 1, 1]),
    "a copy from it": (lambda: HOST.clone().copy_(there(1, 2, 3)), [1, 2, 3]),
    "a view that is written through": (lambda: (row := there(1, 2, 3), row[1:].zero_())[0], [1, 0, 0]),
}


@pytest.mark.parametrize("mixture", REFUSED)
def test_what_mixes_devices_is_refused(mixture: str) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        REFUSED[mixture]()


@pytest.mark.parametrize("mixture", ALLOWED)
def test_what_cuda_lets_through_is_computed(mixture: str) -> None:
    make, expected = ALLOWED[mixture]
    assert make().tolist() == expected


def test_numpy_sees_no_tensor_of_the_device() -> None:
    with pytest.raises((RuntimeError, TypeError)):
        there(1, 2, 3).numpy()


def test_a_model_learns_there_and_stays_the_same_as_here() -> None:
    here = tied()
    other = copy.deepcopy(here).to(pretended.device())
    assert other[0].weight is other[1].weight
    for module in (here, copy.deepcopy(other)):
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            module(torch.tensor([[0, 2]], device=module[0].weight.device)).logsumexp(-1).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        if module is not here:
            torch.testing.assert_close(module[0].weight.cpu(), here[0].weight, rtol=0, atol=0)
            assert not torch.equal(module[0].weight.cpu(), other[0].weight.cpu())


def tied() -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    module[1].weight = module[0].weight
    return module
