"""What lies free in the heaps of threads goes back to the system."""

import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from training.runtime import heap

BLOCKS, BLOCK_NUMBERS = 1000, 16_000
BYTES = 4 * BLOCKS * BLOCK_NUMBERS


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def take_and_let_go() -> torch.Tensor:
    """Blocks small enough for a thread's heap; the last one lies above the others and stays."""
    return [torch.ones(BLOCK_NUMBERS) for _ in range(BLOCKS)][-1]


def test_what_a_thread_let_go_is_given_back_where_it_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as thread:
        kept = thread.submit(take_and_let_go).result()
        held = resident()
        heap.give_back()
        assert resident() > held - BYTES / 2, "little is left where it is"
        monkeypatch.setattr(heap, "MUCH", 0)
        heap.give_back()
        assert resident() < held - BYTES / 2
        assert kept.sum() == BLOCK_NUMBERS
