"""Synchronous: made from `_async`, but for `ground`."""
