"""Served models: who may be asked for responses, at which address, and how that is done."""
