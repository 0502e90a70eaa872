"""What the machine has that this process runs on: memory, and how fast it multiplies."""

import os
import time
from functools import lru_cache

import numpy as np

WIDTH = 1024
TRIES = 8


@lru_cache(maxsize=1)
def flop_rate() -> float:
    """FLOP a second of a product of matrices in single precision on all cores, the best of some tries; asked once. By
    processor time, so that a machine that is busy just now is not told to be slow for good."""
    left = np.ones((WIDTH, WIDTH), dtype=np.float32)
    seconds = []
    for _ in range(TRIES):
        began = time.process_time()
        left @ left
        seconds.append(time.process_time() - began)
    return float(2 * WIDTH**3 * (os.cpu_count() or 1) / min(seconds))
