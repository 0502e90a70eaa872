"""Texts of the starter's kind to learn and to hold out: demonstrations, pairs with the better one known, prompts.

What is held out is about prompts that nothing else is about.
"""

import random
from pathlib import Path

from app.starter import demonstrations, gold, prompts
from training.data.encoding import encode_demonstrations
from training.data.opening import load, open_language_model
from training.records import DemonstrationRecord, PreferenceRecord, PromptRecord, conversation, write_records
from training.stages.sft import negative_log_likelihood

HELD_OUT = "held_out.jsonl"


def write_texts(folder: Path, *, learnt: int, held_out: int) -> None:
    """So many demonstrations, half as many pairs, and as many prompts; and `held_out` demonstrations of others."""
    ids = {prompt.text: f"prompt-{number}" for number, prompt in enumerate(prompts())}
    texts: dict[str, list[str]] = {}
    for prompt, response in demonstrations(0, 2):
        texts.setdefault(prompt.text, []).append(response.text)
    asked = random.Random(0).sample(sorted(texts), learnt // 2 + held_out)
    written = [
        DemonstrationRecord(ids[text], conversation(("user", text)), response)
        for text in asked
        for response in texts[text]
    ]
    held, kept = written[: 2 * held_out], written[2 * held_out :]
    write_records(folder / HELD_OUT, held)
    write_records(folder / "demonstrations.jsonl", kept)
    write_records(folder / "prompts.jsonl", [PromptRecord(row.prompt_id, row.prompt) for row in kept[::2]])
    pairs = [
        PreferenceRecord(one.prompt_id, one.prompt, one.response, other.response, _preference(one, other), split=split)
        for split, rows in (("train", kept), ("validation", held))
        for one, other in zip(rows[::2], rows[1::2], strict=True)
    ]
    write_records(folder / "preferences.jsonl", pairs)


def held_out_loss(policy: Path | str, folder: Path) -> float:
    """Nats a response token."""
    model = open_language_model(str(policy))
    examples, _ = encode_demonstrations(model, load(folder / HELD_OUT, DemonstrationRecord), max_length=512)
    return negative_log_likelihood(model, examples, 1024)


def thin_out(path: Path, *, keep_every: int) -> None:
    """Leave of the rows of a file every so manieth."""
    rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(rows[::keep_every]), encoding="utf-8")


def _preference(one: DemonstrationRecord, other: DemonstrationRecord) -> float:
    word = gold.preference(one.prompt[-1].content, one.response, other.response)
    return 0.5 if word == 0 else float(word > 0)
