"""vLLM itself, its build for processors: `make engine` installs it, and `make proof` tries it where it is."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.ppo_world import SAME, SIZES, World, our_settings, write_world
from bench.vllm_sampling import PEER_PYTHON, ROOT
from tests.training import toy
from training.runtime.exit_codes import BAD_INPUT, DONE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PEER_PYTHON.exists(), reason="make engine installs it"),
]
ITERATIONS = 4
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
KEEPS_ITS_FIRST_WEIGHTS = """
import sys
from training.__main__ import main
from training.engines.vllm import VllmEngine

load = VllmEngine.load

def once(self, language_model, version):
    if self.version is None:
        load(self, language_model, version)
    self.version = version

VllmEngine.load = once
sys.exit(main())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), SIZES["1.6M"], seed=0, updates=ITERATIONS)


def started(program: Sequence[str], stage: str, out: Path, settings: dict[str, object]) -> subprocess.Popen[str]:
    config = toy.write_config(out.with_suffix(".json"), **settings)
    where = ["--config", str(config), "--out", str(out), "--threads", "1", "--device", "cpu"]
    return subprocess.Popen(
        [str(PEER_PYTHON), "-W", "ignore", *program, stage, *where],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(stage: str, out: Path, settings: dict[str, object], program: Sequence[str] = ("-m", "training")) -> str:
    """What the stage said on stderr; it must have come to its end."""
    return ended(started(program, stage, out, settings))


def ended(process: subprocess.Popen[str], code: int = DONE) -> str:
    """What it said on stderr."""
    said = process.communicate()[1]
    assert process.returncode == code, said[-2000:]
    return said


def ppo(world: World, **change: object) -> dict[str, object]:
    settings = our_settings(world, SAME, seed=0, updates=ITERATIONS)
    return settings | {"engine": "vllm", "checkpoint_steps": 1} | change


def means(out: Path, name: str) -> list[float]:
    rows = [row["values"] for row in toy.metrics(out)]
    return [values[name][0] / values[name][1] for values in rows]  # type: ignore[index]


def test_log_probabilities_are_those_of_training_whatever_weights_were_handed_over() -> None:
    command = [str(PEER_PYTHON), "-W", "ignore", "-m", "bench.rollout_engines", "--rows", "16", "--tokens", "16"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert found["first"][0] <= 1e-5
    assert found["handed_over"][0] <= 1e-5
    assert found["stale"][1] > 1e-3
    assert found["bfloat16"][1] < 0.1
    assert found["repeated"]
    assert found["back"]


def test_four_iterations_of_ppo_learn_as_with_our_own_decoding_and_a_killed_run_ends_alike(
    world: World, tmp_path: Path
) -> None:
    engines = {"own": "own", "whole": "vllm", "broken": "vllm"}
    running = {
        out: started(("-m", "training"), "ppo", tmp_path / out, ppo(world, engine=engine))
        for out, engine in engines.items()
    }
    broken = running.pop("broken")
    while broken.poll() is None and len(toy.metrics_lines(tmp_path / "broken")) < 2:
        time.sleep(0.05)
    broken.kill()
    broken.communicate()
    assert 2 <= len(toy.metrics_lines(tmp_path / "broken")) < ITERATIONS, "it was too fast to be killed"
    ran("ppo", tmp_path / "broken", ppo(world))
    for process in running.values():
        ended(process)
    assert max(means(tmp_path / "whole", "first_ratio_error")) <= 1e-5
    for mine, theirs, own_variance, variance in zip(
        *(means(tmp_path / out, figure) for figure in ("score", "score_variance") for out in ("own", "whole")),
        strict=True,
    ):
        assert abs(mine - theirs) <= 4 * ((own_variance + variance) / world.size.batch_size) ** 0.5
    published = [tmp_path / out / "artifact" / "model.safetensors" for out in ("whole", "broken")]
    assert published[0].read_bytes() == published[1].read_bytes()


def test_a_hand_over_that_is_left_out_ends_the_run(world: World, tmp_path: Path) -> None:
    process = started(("-c", KEEPS_ITS_FIRST_WEIGHTS), "ppo", tmp_path / "out", ppo(world))
    said = ended(process, BAD_INPUT)
    assert "vllm sampled from other weights than those that learn" in said
    assert len(toy.metrics(tmp_path / "out")) == 1


def test_responses_are_generated_and_policies_evaluated(world: World, tmp_path: Path) -> None:
    asked = {"policy": str(world.policy), "prompts": str(world.prompts), "max_new_tokens": 16, "engine": "vllm"}
    ran("generate", tmp_path / "generate", asked | {"samples_per_prompt": 1, "top_k": 40, "top_p": 0.9})
    assert toy.result(tmp_path / "generate")["completions"] == 256
    compared = asked | {"reference": str(world.policy), "samples_per_prompt": 1}
    ran("evaluate", tmp_path / "evaluate", compared)
    assert abs(float(str(toy.result(tmp_path / "evaluate")["kl"]))) < 1e-4, "of a policy to itself"
