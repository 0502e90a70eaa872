"""Engines that sample: a pretended one everywhere, and vLLM itself in `make proof` where it is installed."""
