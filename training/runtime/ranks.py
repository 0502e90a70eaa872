"""Several processes of one run: passes forward and back are shared out, and every number is everywhere.

Each process holds the whole plan, draws the same random numbers and gets all results, so that what is decided by them
is decided alike everywhere without being sent. Losses are divided by whole batches, so gradients are added up. Only the
first process claims, writes and publishes.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import FileStore

from training.config import InputError

BUCKET_NUMBERS = 8_000_000
"""Of gradients that are added up at once: many small ones cost many round trips."""

GROUP_FILE = ".group-{}.part"

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class RankLost(RuntimeError):
    """Another process of the run has ended, or didn't answer in time."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of this run as one of them sees them; of one alone everything is the identity.

    Whatever one of them asks for here all have to ask for, in the same order and in the main thread.
    """

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def share(self, rows: Sequence[ItemT]) -> Sequence[ItemT]:
        """This process's part of the rows."""
        return rows[self.index :: self.count]

    def gather(self, own: ResultT) -> list[ResultT]:
        """What each process has, in their order."""
        if self.count == 1:
            return [own]
        found: list[ResultT | None] = [None] * self.count
        with answered():
            distributed.all_gather_object(found, own)
        return cast(list[ResultT], found)

    def in_order(self, own: Sequence[ResultT]) -> list[ResultT]:
        """All results, each row's in its place, from those of every process's `share` of the rows."""
        return _interleaved(self.gather(own))

    def each(self, work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """What `work` makes of every item, done once, each by one process. An `InputError` is raised everywhere."""
        return _interleaved(self._made(lambda: [work(item) for item in self.share(items)]))

    def by_rows(self, work: Callable[[Sequence[int]], Sequence[Tensor]], rows: int) -> list[Tensor]:
        """(B, ...) tensors on the host that `work` makes of the numbers of so many rows, of which each process does its
        share; of fewer rows than there are processes each does all. An `InputError` is raised everywhere."""
        if self.count == 1 or rows < self.count:
            return list(work(range(rows)))
        parts = self._made(lambda: list(work(self.share(range(rows)))))
        return [torch.stack(_interleaved([one.unbind() for one in of_each])) for of_each in zip(*parts, strict=True)]

    def _made(self, make: Callable[[], ResultT]) -> list[ResultT]:
        """What each process makes, or everywhere the error that one of them meets."""
        if self.count == 1:
            return [make()]
        own: ResultT | InputError
        try:
            with _alone():
                own = make()
        except InputError as error:
            own = error
        found = self.gather(own)
        for one in found:
            if isinstance(one, InputError):
                raise one
        return cast(list[ResultT], found)

    def told(self, make: Callable[[], ResultT]) -> ResultT:
        """What the first process makes; the others wait for it."""
        if self.count == 1:
            return make()
        held = [make() if self.first else None]
        with answered():
            distributed.broadcast_object_list(held, src=0)
        return cast(ResultT, held[0])

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Whether any process has a flag set, for each of them."""
        if self.count == 1:
            return flags
        any_N = torch.tensor(flags, dtype=torch.uint8)
        with answered():
            distributed.all_reduce(any_N, distributed.ReduceOp.MAX)
        return tuple(any_N.bool().tolist())

    def wait(self) -> None:
        """Until all are here."""
        self.agree()

    @torch.no_grad()
    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the sum of all gradients, once for an optimiser's step. What has a gradient in none of
        them goes on without: zeros would let an optimiser move it."""
        if self.count == 1:
            return
        learning = self.agree(*(parameter.grad is not None for parameter in parameters))
        for bucket in _buckets([one for one, has in zip(parameters, learning, strict=True) if has]):
            flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
            with answered():
                distributed.all_reduce(flat)
            for parameter, sums in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                parameter.grad = sums.view_as(parameter).clone()


_ranks = Ranks()


def ranks() -> Ranks:
    """All processes of the run that this one is part of; itself alone where it joined none."""
    return _ranks


@contextmanager
def _alone() -> Iterator[None]:
    """What is one process's share already is shared out no further."""
    global _ranks
    all_of_us, _ranks = _ranks, Ranks()
    try:
        yield
    finally:
        _ranks = all_of_us


def by_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What a launcher such as `torchrun` says that this process is."""
    return Ranks(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))


@contextmanager
def joined(found: Ranks, out: Path, *, device: torch.device, wait_seconds: float) -> Iterator[None]:
    """Be one of the processes of a run in the folder `out`, of which one that waits longer for another gives up: raises
    `RankLost`."""
    global _ranks
    if found.count == 1:
        yield
        return
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    with answered():
        distributed.init_process_group(
            backend,
            store=FileStore(str(_store_file(out)), found.count) if _on_one_machine() else None,
            rank=found.index,
            world_size=found.count,
            timeout=timedelta(seconds=wait_seconds),
        )
    _ranks = found
    try:
        found.wait()  # who met the others is not sure yet that they met each other
        yield
    finally:
        _ranks = Ranks()
        distributed.destroy_process_group()
        for met in out.glob(GROUP_FILE.format("*")) if found.first else ():
            met.unlink(missing_ok=True)


def _on_one_machine() -> bool:
    return os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")


def _store_file(out: Path) -> Path:
    """Where the processes of one machine meet: a file, and no port that others could speak to, since what they send one
    another is unpickled. Of this launch alone: what an earlier one left would be believed."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    launch = f"{os.environ.get('TORCHELASTIC_RUN_ID')} {os.getppid()}"
    return out / GROUP_FILE.format(hashlib.sha256(launch.encode()).hexdigest()[:16])


@contextmanager
def answered() -> Iterator[None]:
    """What is asked of the other processes in here fails with `RankLost` where one doesn't answer."""
    assert threading.current_thread() is threading.main_thread(), "threads would ask in another order"
    try:
        yield
    except RuntimeError as error:
        raise RankLost("another process of this run has ended, or didn't answer in time") from error


def _interleaved(parts: Sequence[Sequence[ResultT]]) -> list[ResultT]:
    count = len(parts)
    return [parts[place % count][place // count] for place in range(sum(map(len, parts)))]


def _gradient(parameter: nn.Parameter) -> Tensor:
    """What adds nothing where there is none: +0 would turn a sum that is -0 around."""
    return torch.full_like(parameter, -0.0) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one format, as many together as are added up at once."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        numbers = sum(one.numel() for one in bucket) + parameter.numel()
        if bucket and (numbers > BUCKET_NUMBERS or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
