"""A batch in two halves, each on a thread and on a replica of the model.

The operations of a small model are too short to be shared out between cores. On two cores, two OpenMP threads that
sleep between operations (as they must beside a web server) trained a model of a million parameters at 7,800 tokens a
second, one thread alone at 9,400, and two replicas with a thread each at 14,200. The number of halves is fixed, so that
a result doesn't depend on the number of cores. Any other device is kept busy by one thread: there a batch is whole.
Where several processes share the work (`training.runtime.ranks`) the halves are theirs, and the same two are added up.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

import torch
from torch import nn

from training.runtime.device import device
from training.runtime.heap import give_back
from training.runtime.ranks import ranks

SHARDS = 2
"""On CPUs."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)
RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")

_pool = ThreadPoolExecutor(SHARDS, thread_name_prefix="shard")


def use_threads(threads: int) -> None:
    """Share `threads` CPU threads out between this process's halves; with one, the halves take turns."""
    global _pool
    torch.set_num_threads(max(1, threads // shards()))
    _pool.shutdown()
    _pool = ThreadPoolExecutor(min(SHARDS, threads), thread_name_prefix="shard")


def shards() -> int:
    """Into how many parts this process shares out its part of a batch."""
    return max(1, SHARDS // ranks().count) if device().type == "cpu" else 1


def together(*tasks: Callable[[], ResultT]) -> list[ResultT]:
    """Results of the tasks, run at the same time; the first failure is raised once all have ended."""
    if shards() == 1:
        return [task() for task in tasks]
    running: list[Future[ResultT]] = [_pool.submit(task) for task in tasks]
    wait(running)
    give_back()
    return [future.result() for future in running]


class Replicas(Generic[ModuleT]):
    """Modules that share their weights and buffers and have gradients of their own; the first is the original."""

    def __init__(self, module: ModuleT) -> None:
        self._modules = (module, *(replica(module) for _ in range(shards() - 1)))

    def map(self, work: Callable[[ModuleT, Sequence[RowT]], ResultT], rows: Sequence[RowT]) -> list[ResultT]:
        """`work` on every half of the rows with a module of its own, then this process's gradients in the original."""
        count = len(self._modules)
        first, halves = ranks().index * count, ranks().count * count
        parts = [rows[start::halves] for start in range(first, min(first + count, len(rows)))]
        pairs = zip(self._modules, parts, strict=False)
        results = together(*(lambda module=module, shard=shard: work(module, shard) for module, shard in pairs))
        self._gather_gradients()
        return [result for of_process in ranks().gather(results) for result in of_process]

    @torch.no_grad()
    def _gather_gradients(self) -> None:
        original, *others = self._modules
        for other in others:
            for parameter, copied in zip(original.parameters(), other.parameters(), strict=True):
                if copied.grad is None:
                    continue
                parameter.grad = copied.grad if parameter.grad is None else parameter.grad.add_(copied.grad)
                copied.grad = None


def replica(module: ModuleT) -> ModuleT:
    """A copy with the same weights and buffers in memory and gradients of its own."""
    shared: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
        for parameter in module.parameters()
    }
    shared |= {id(buffer): buffer for buffer in module.buffers()}
    return copy.deepcopy(module, shared)
