"""Asynchronous, and the pattern that `_sync` is made from."""
