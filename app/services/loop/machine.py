"""What the machine has that this process runs on: memory, and how fast it multiplies."""

import time
from functools import lru_cache

import numpy as np

WIDTH = 1024
TRIES = 8


@lru_cache(maxsize=1)
def flop_rate() -> float:
    """FLOP a second of a product of matrices in single precision, the best of some tries; asked once."""
    left = np.ones((WIDTH, WIDTH), dtype=np.float32)
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        left @ left
        seconds.append(time.perf_counter() - began)
    return float(2 * WIDTH**3 / min(seconds))
