"""A resident process that keeps the protocol of `training.answering` without a model.

It says what it was asked, and scores by length. A prompt that holds `die` ends it, `hang` has it write without an end.
"""

import json
import os
import sys
import time
from pathlib import Path


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def write(question: dict[str, object]) -> dict[str, object]:
    prompt, config = question["prompt"], question["config"]
    assert isinstance(prompt, list)
    assert isinstance(config, dict)
    words = f"{Path(config['policy']).name} says: {prompt[-1]['content']}".split()
    if "die" in words:
        os._exit(1)
    while "hang" in words:
        say({"texts": ["and"] * config["samples_per_prompt"]})
        time.sleep(0.05)
    if "refuse" in words:
        return {"problem": "no prompt leaves room"}
    texts = [" ".join(words) + f" {sample}" for sample in range(config["samples_per_prompt"])]
    say({"texts": [words[0]] * len(texts)})
    return {"responses": [{"text": text, "token_count": len(words), "ended_with_eos": True} for text in texts]}


def score(question: dict[str, object]) -> dict[str, object]:
    pairs = question["pairs"]
    assert isinstance(pairs, list)
    return {"scores": [{"raw": float(len(pair["response"])), "score": len(pair["response"]) / 10} for pair in pairs]}


for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "wake":
        say({"done": True, "pid": os.getpid()})
        continue
    say({**(write(asked) if asked["do"] == "write" else score(asked)), "done": True})
