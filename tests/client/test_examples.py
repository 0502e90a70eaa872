"""The client's examples, as programs of their own on a real site."""

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from plumbline_client import Client

from tests.client.conftest import PROJECT
from tests.client.served import ServedSite
from tests.documents.shown import blocks
from tests.models.directories import write_directory

CLIENT = Path(__file__).parents[2] / "client"


def test_responses_come_in_each_night_and_a_script_judges_them(site: ServedSite, owner: Client, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"How is tea {n} made?"}) + "\n" for n in range(5)))

    nights = [run("nightly_responses", site, "owner", PROJECT, str(prompts)) for _ in range(2)]
    judged = run("label_by_script", site, "annotator", PROJECT)

    assert nights == ["5 new tasks, 0 known already.\n", "0 new tasks, 5 known already.\n"]
    assert judged == "Judged 8 tasks.\n"
    counts = owner.project(PROJECT).details().counts
    assert counts is not None
    assert counts.judgements == 8


def test_judgements_become_a_reward_model_and_a_policy_with_trl(site: ServedSite, tmp_path: Path) -> None:
    run("label_by_script", site, "annotator", PROJECT)
    model = write_directory("qwen2", tmp_path / "model")

    said = run("train_with_trl", site, "owner", PROJECT, str(model), str(tmp_path / "out"))

    assert f"Version 1 of {PROJECT}: 3 pairs." in said
    assert "Reward model: loss 0." in said
    assert "DPO: loss 0.69" in said
    for kind in ("reward", "policy"):
        assert (tmp_path / "out" / kind / "model.safetensors").stat().st_size


def test_what_its_readme_shows_is_a_program(
    site: ServedSite, owner: Client, annotator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = [block for block in blocks() if block.document == "client/README.md" and block.language == "python"]
    for task in islice(annotator.project(PROJECT).tasks(), 2):  # of three: the owner finds one to judge
        task.judge(2)
    monkeypatch.setenv("PLUMBLINE_URL", site.url)
    monkeypatch.setenv("PLUMBLINE_TOKEN", site.tokens["owner"])
    owner.datasets.cut(PROJECT)
    names: dict[str, Any] = {"run_id": next(iter(owner.api.list_runs(PROJECT))).id}
    exec(compile(shown.text.replace("everyday-help", PROJECT), shown.document, "exec"), names)  # noqa: S102
    assert len(names["rows"]) == len(names["frame"]) == 2
    counts = owner.project(PROJECT).details().counts
    assert counts is not None
    assert counts.judgements == 3


def run(example: str, site: ServedSite, role: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, CLIENT / "examples" / f"{example}.py", *arguments],
        env=os.environ
        | {"PLUMBLINE_URL": site.url, "PLUMBLINE_TOKEN": site.tokens[role], "PYTHONPATH": str(CLIENT)}
        | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
