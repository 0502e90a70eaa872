"""How near vLLM's log-probabilities are to training's, before and after weights are handed over, and what it costs.

    build/peers/vllm/bin/python -W ignore -m bench.rollout_engines [--sizes 1.6M,10M] [--models DIR …] [--rows 64]

It runs in vLLM's environment (`make engine`). Gaps are in nats of a token, the largest and the mean of all responses,
at temperature 0.7: `first` with the weights that the engine was given, `stale` after every weight moved by a hundredth
of its layer's deviation and was not handed over, `handed_over` after it was; `bfloat16` are an engine's that computes
so. `repeated`: the same responses again; `back`: the same tokens again once the first weights were handed over again.
`engine_bytes`: what the engine added to the process, in the first row vLLM's own libraries included.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from app.starter.prompts import prompts as starter_prompts
from bench.ppo_vs_trl import machine
from bench.ppo_world import SIZES, write_world
from models.backbone import LanguageModel, load_language_model
from models.generation import Response
from training.config.values import Precision
from training.engines.engine import Engine, Sampling
from training.engines.own import OwnEngine
from training.engines.vllm import VllmEngine
from training.records import conversation
from training.responses.likelihoods import log_probabilities

TEMPERATURE = 0.7
MOVED_BY = 0.01

Prompts = Sequence[Sequence[int]]


def measure(language_model: LanguageModel, prompts: Prompts, tokens: int) -> Mapping[str, object]:
    sampling = Sampling(tokens, TEMPERATURE)
    opened, resident = time.perf_counter(), _resident_bytes()
    engine = _opened(language_model, prompts, tokens, "float32")
    figures: dict[str, object] = {"open_seconds": time.perf_counter() - opened}
    loaded = time.perf_counter()
    engine.load(language_model, 1)
    figures["load_seconds"] = time.perf_counter() - loaded
    engine.sample(prompts, sampling, seed=0)  # what is made ready once counts for nobody
    first, figures["processor_seconds"], figures["wall_seconds"] = _sampled(engine, prompts, sampling)
    figures["engine_bytes"] = _resident_bytes() - resident
    own = OwnEngine()
    own.load(language_model, 1)
    ours, figures["own_processor_seconds"], figures["own_wall_seconds"] = _sampled(own, prompts, sampling)
    figures["tokens"], figures["own_tokens"] = _tokens(first), _tokens(ours)
    figures["first"] = gap(language_model, prompts, first)
    figures["repeated"] = engine.sample(prompts, sampling, seed=1) == first
    before = {name: weight.clone() for name, weight in language_model.model.state_dict().items()}
    _move(language_model)
    figures["stale"] = gap(language_model, prompts, engine.sample(prompts, sampling, seed=1))
    engine.load(language_model, 2)
    figures["handed_over"] = gap(language_model, prompts, engine.sample(prompts, sampling, seed=1))
    language_model.model.load_state_dict(before)
    engine.load(language_model, 3)
    figures["back"] = _ids(engine.sample(prompts, sampling, seed=1)) == _ids(first)
    half = _opened(language_model, prompts, tokens, "bfloat16")
    half.load(language_model, 1)
    figures["bfloat16"] = gap(language_model, prompts, half.sample(prompts, sampling, seed=1))
    return figures


def gap(language_model: LanguageModel, prompts: Prompts, sampled: Sequence[Response]) -> tuple[float, float]:
    """The largest and the mean distance of log-probabilities from training's."""
    own = log_probabilities(
        language_model,
        prompts,
        [one.token_ids for one in sampled],
        temperature=TEMPERATURE,
        batch_tokens=4096,
    )
    off = [
        abs(ours - theirs)
        for row, one in zip(own.tolist(), sampled, strict=True)
        for ours, theirs in zip(row, one.log_probabilities, strict=False)
    ]
    return max(off), sum(off) / len(off)


def _opened(language_model: LanguageModel, prompts: Prompts, tokens: int, precision: Precision) -> Engine:
    longest = max(map(len, prompts)) + tokens
    return VllmEngine(language_model, longest=longest, rows=len(prompts), precision=precision)


def _sampled(engine: Engine, prompts: Prompts, sampling: Sampling) -> tuple[list[Response], float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    sampled = engine.sample(prompts, sampling, seed=1)
    return sampled, time.process_time() - cpu, time.perf_counter() - wall


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _tokens(sampled: Sequence[Response]) -> int:
    return sum(len(one.token_ids) for one in sampled)


def _ids(sampled: Sequence[Response]) -> list[tuple[int, ...]]:
    return [one.token_ids for one in sampled]


@torch.no_grad()
def _move(language_model: LanguageModel) -> None:
    generator = torch.Generator().manual_seed(5)
    for weight in language_model.model.parameters():
        weight.add_(MOVED_BY * weight.std(correction=0) * torch.randn(weight.shape, generator=generator))


def _cases(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, LanguageModel, Prompts]]:
    for name in arguments.sizes:
        world = write_world(folder / name, SIZES[name], seed=0, updates=-(-arguments.rows // SIZES[name].batch_size))
        yield name, load_language_model(world.policy), world.token_ids[: arguments.rows]
    for directory in arguments.models:
        language_model = load_language_model(directory)
        texts = [prompt.text for prompt in starter_prompts()][: arguments.rows]
        prompts = language_model.encode_prompts(conversation(("user", text)) for text in texts)
        yield directory.name, language_model, prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: text.split(",") if text else [], default=["1.6M"])
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-engines-") as folder:
        for name, language_model, prompts in _cases(arguments, Path(folder)):
            figures = measure(language_model, prompts, arguments.tokens)
            print(json.dumps({"model": name, "machine": machine(), **figures}), flush=True)


if __name__ == "__main__":
    main()
