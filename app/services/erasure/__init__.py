"""Texts erased for good: what is meant, what it touches, and how rows and files lose it."""
