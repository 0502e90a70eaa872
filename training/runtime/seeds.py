"""Seeds for every purpose from one."""

import hashlib


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose at one step. Nothing draws from a running generator, so nothing of it need be saved."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
