"""Reward and cost models: their objective, the ways to learn them, and what they are worth on unseen pairs."""
