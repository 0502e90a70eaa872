"""A stage that can't fit is refused before it starts, in one line with the nearest settings that fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training import toy
from tests.training.stages.test_bad_input import refused
from training.config.dpo import DpoConfig
from training.memory import fitting
from training.memory.estimate import Texts
from training.memory.fitting import Fit, fit
from training.memory.room import MEMORY_BYTES, free_bytes
from training.memory.shape import ModelShape
from training.stages.memory import sentence, texts_of

BILLION = ModelShape(10**9, 2 * 10**9, 24, 2048, 5632, 2048, 512, 32_000, gated=True, tied=True)
GIGABYTE = 10**9


def test_what_cannot_fit_is_refused_in_one_line_and_nothing_is_loaded(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY_BYTES, "100000000")
    said = refused("dpo", tmp_path / "out", capfd, policy=policy, preferences=world / "preferences.jsonl")
    assert said.startswith("dpo needs some 0.")
    assert "of memory with this model, and 0.1 GB are free: no setting makes it fit" in said
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_what_is_needed_never_looks_like_what_is_free() -> None:
    said = sentence(Fit("sft", bytes=12_040_000_000, free=12_010_000_000, changes=None, changed_bytes=0))
    assert "needs some 12.04 GB of memory with this model, and 12.01 GB are free" in said


def test_what_might_fit_is_tried_and_told(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MEMORY_BYTES, "370000000")
    code = toy.run("generate", tmp_path / "out", policy=policy, prompts=world / "prompts.jsonl", max_new_tokens=2)
    assert code == 0
    assert capfd.readouterr().err.endswith("it is tried all the same\n")


@pytest.mark.parametrize(
    ("stage_settings", "free", "changes"),
    [
        ({}, 64 * GIGABYTE, {}),
        ({}, 26 * GIGABYTE, {"micro_batch_tokens": 512}),
        ({}, 16 * GIGABYTE, {"lora_rank": 8}),
        ({}, 3 * GIGABYTE, None),
    ],
)
def test_the_nearest_settings_that_fit_are_named(
    stage_settings: dict[str, object], free: int, changes: dict[str, object] | None
) -> None:
    settings = {"batch_tokens": 2048, "micro_batch_tokens": 2048, "lora_rank": 0, **stage_settings}
    found = fit("dpo", BILLION, settings, free=free, texts=Texts(), threads=2)
    assert found is not None
    assert found.changes == changes
    assert changes is None or found.changed_bytes <= free


def test_a_base_that_came_in_bfloat16_may_be_held_so() -> None:
    settings = {"batch_tokens": 2048, "micro_batch_tokens": 128, "lora_rank": 8, "weights": "float32"}
    half, free = replace(BILLION, in_bfloat16=True), 7 * GIGABYTE
    found = fit("dpo", half, settings, free=free, texts=Texts(), threads=2)
    assert found is not None
    assert found.changes == {"weights": "bfloat16"}
    wide = fit("dpo", BILLION, settings, free=free, texts=Texts(), threads=2)
    assert wide is not None
    assert wide.changes == {"weights": "nf4"}


def test_a_base_in_four_bits_is_what_is_left_and_then_adapters_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"batch_tokens": 2048, "micro_batch_tokens": 128, "lora_rank": 8, "weights": "usual",
                "gradient_checkpointing": False, "publish_as": "merged"}  # fmt: skip
    half = replace(BILLION, in_bfloat16=True)

    def changes(free: int) -> object:
        found = fit("dpo", half, settings, free=free, texts=Texts(), threads=2)
        assert found is not None
        return found.changes

    recomputed = {"gradient_checkpointing": True}
    assert changes(3_300_000_000) == recomputed | {"weights": "nf4", "publish_as": "adapter"}
    assert changes(1_000_000_000) is None
    monkeypatch.setattr(fitting, "can_quantise", lambda: False)
    assert changes(3_300_000_000) is None


def test_a_container_has_what_its_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY_BYTES, raising=False)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    alone = free_bytes(groups=tmp_path / "none", meminfo=meminfo)
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("2500000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000000\n")
    limited = free_bytes(groups=tmp_path, meminfo=meminfo)
    assert alone is not None
    assert limited is not None
    assert alone - limited == pytest.approx(7_192_000_000, rel=0.01), "8.192 and 1 GB, each beside what is taken"
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(groups=tmp_path, meminfo=meminfo) == pytest.approx(alone, rel=0.01)
    assert free_bytes(groups=tmp_path / "none", meminfo=tmp_path / "none") is None
    monkeypatch.setenv(MEMORY_BYTES, "4000000000")
    assert free_bytes(groups=tmp_path, meminfo=meminfo) == 4_000_000_000


def test_lengths_are_those_of_the_file(tmp_path: Path) -> None:
    record = {"prompt": [{"role": "user", "content": "x" * 40}], "response_a": "y" * 80, "response_b": "y" * 160}
    path = tmp_path / "preferences.jsonl"
    path.write_text(f"{json.dumps(record)}\n" * 3)
    assert texts_of({"preferences": path, "lora_rank": 0}) == Texts(10, 30, 3)
    path.write_text("no record\n")
    assert texts_of({"preferences": path}) == Texts()
    assert texts_of(vars(DpoConfig(seed=0, policy="p", preferences=path))) == Texts()
