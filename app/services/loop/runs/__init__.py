"""Runs: queued, held by workers, and what this machine has for them."""
