"""Folders that are moved as a whole: runs go on, and what they leave names nothing by where it lay."""

import shutil
from pathlib import Path

import torch

from models.backbone import load_language_model
from tests.training import toy
from training.data.opening import open_language_model


def test_a_run_goes_on_and_its_adapters_open_where_everything_was_moved(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    home = tmp_path / "old" / "home"
    shutil.copytree(policy, home / "models" / "mine" / "policy-run-1")
    out = home / "runs" / "2"
    config = out / "inputs" / "config.json"
    config.parent.mkdir(parents=True)
    shutil.copy(world / "demonstrations.jsonl", config.parent)
    toy.write_config(
        config,
        model="../../../models/mine/policy-run-1",
        demonstrations="demonstrations.jsonl",
        lora_rank=4,
        publish_as="adapter",
        max_tokens=6_000,
        batch_tokens=512,
        checkpoint_steps=1,
    )
    process = toy.child("sft", config, out)
    assert toy.kill_after_progress(process, out, lines=3, delay_seconds=0)

    there = tmp_path / "new" / "and" / "deeper"
    there.parent.mkdir(parents=True)
    home.rename(there)
    out = there / "runs" / "2"
    assert toy.exit_code(toy.child("sft", out / "inputs" / "config.json", out)) == 0
    adapters = there / "models" / "mine" / "policy-run-2"
    (out / "artifact").rename(adapters)
    written = [path for path in there.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert written == []

    last = tmp_path / "last"
    there.rename(last)
    opened = open_language_model(str(last / "models" / "mine" / "policy-run-2"))
    base = load_language_model(last / "models" / "mine" / "policy-run-1")
    pairs = zip(opened.model.parameters(), base.model.parameters(), strict=True)
    assert not all(torch.equal(learnt, began) for learnt, began in pairs)
