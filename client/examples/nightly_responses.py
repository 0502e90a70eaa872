"""Bring responses from a sampler of your own, every night: python nightly_responses.py PROJECT PROMPTS.jsonl

Wants PLUMBLINE_URL, and as PLUMBLINE_TOKEN a token for `read` and `manage` of an owner. A pair that the project has
already is told and never brought in twice, so that a night may be repeated.
"""

import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from plumbline_client import Client


def main(project: str, prompts: Path) -> None:
    with Client() as client:
        tonight = datetime.now().astimezone()
        brought = client.imports.bring(project, rows_of(prompts), name=f"sampler-{tonight:%Y-%m-%d}.jsonl")
    print(f"{brought.counts.get('tasks', 0)} new tasks, {brought.counts.get('already_there', 0)} known already.")


def rows_of(prompts: Path) -> Iterator[dict[str, object]]:
    """Two responses for each prompt, which annotators will be asked to compare."""
    for line in prompts.read_text(encoding="utf-8").splitlines():
        prompt = json.loads(line)["prompt"]
        yield {"prompt": prompt, "responses": [sampled(prompt, seed) for seed in range(2)]}


def sampled(prompt: str, seed: int) -> str:
    """Here your model answers. This one makes up something, the same for the same seed."""
    draw = random.Random(f"{prompt}{seed}")
    return " ".join(draw.choices(["water", "tea", "a kettle", "patience", "honey"], k=draw.randint(2, 9))).capitalize()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
