"""How many times as fast as `transformers.generate` our sampling is, with the log-probabilities that PPO needs.

    python -m bench.generate [--size 1.6M | --model DIR] [--rows 64] [--tokens 64] [--threads 1,2] [--rounds 7]

Same weights and prompts, in turns in one process, as `training` and a `generate` with as many threads would run: those
of a world that is built for it, or of a real model in a directory, which is given the starter's prompts as its chat
template renders them. `fixed`: no token ends a response, so that both write as many; `ending`: one in 32 does, as in
training, where ours lets go of rows that have ended. `ours` writes as the stage `generate` does, with what makes steps
faster prepared once for all batches; `ours-once` prepares it anew, as each rollout of PPO does. `generate` returns its
logits, as TRL asks it to; `generate-bare` returns tokens alone. `vllm` and `vllm-bf16`, where asked for, are vLLM's
build for processors in an environment of its own (`make engine`), with float32 and bfloat16 weights, and one thread.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from app.starter.prompts import prompts as starter_prompts
from bench.ppo_vs_trl import machine
from bench.ppo_world import SIZES, Size, write_world
from bench.vllm_sampling import DTYPES, Case, Engine
from models.backbone import LanguageModel, load_language_model
from models.decoding import prepared
from models.generation import sample_responses
from training.records import conversation
from training.runtime.replicas import use_threads

TEMPERATURE = 0.7
ENDING_SHARE = 32
SYSTEMS = ("ours", "ours-once", "generate", "generate-bare")


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over rounds; `tokens` of responses, padding after their end not counted."""

    system: str
    case: str
    rows: int
    threads: int
    seconds: float
    cpu_seconds: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Work:
    language_model: LanguageModel
    prompts: Sequence[Sequence[int]]
    tokens: int

    def run(self, system: str, seed: int) -> int:
        return self._ours(seed) if system.startswith("ours") else self._theirs(seed, logits=system == "generate")

    def _ours(self, seed: int) -> int:
        sampled = sample_responses(
            self.language_model,
            self.prompts,
            max_new_tokens=self.tokens,
            temperature=TEMPERATURE,
            seed=seed,
            batch_size=len(self.prompts),
        )
        return sum(len(response.token_ids) for response in sampled)

    @torch.inference_mode()
    def _theirs(self, seed: int, *, logits: bool) -> int:
        torch.manual_seed(seed)
        longest = max(map(len, self.prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in self.prompts])
        output = self.language_model.model.generate(  # type: ignore[operator]
            ids,
            attention_mask=(ids != 0).long(),
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.tokens,
            eos_token_id=list(self.language_model.eos_ids) or None,
            pad_token_id=0,
            output_logits=logits,
            return_dict_in_generate=True,
        )
        return int((output.sequences[:, longest:] != 0).sum())


def measure(
    works: Mapping[str, Work], threads: int, rounds: int, systems: Sequence[str], engines: Mapping[str, Engine]
) -> list[Timing]:
    found: dict[tuple[str, str, int], list[tuple[float, float, int]]] = {}
    for turn in range(rounds + 1):
        for case, work in works.items():
            for system in systems:
                taken = engines[system].round(case) if system in engines else _round(work, system, threads, turn)
                if turn > 0:
                    found.setdefault((system, case, len(work.prompts)), []).append(taken)
    return [
        Timing(system, case, rows, threads, *(statistics.median(column) for column in zip(*taken, strict=True)))
        for (system, case, rows), taken in found.items()
    ]


def _round(work: Work, system: str, threads: int, turn: int) -> tuple[float, float, int]:
    """Seconds, processor seconds, and tokens that were written."""
    if system.startswith("ours"):
        use_threads(threads)
    else:
        torch.set_num_threads(threads)
    with prepared(work.language_model.model) if system == "ours" else nullcontext():
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = work.run(system, turn)
        return time.perf_counter() - wall, time.process_time() - cpu, tokens


def built(size: Size, rows: int, folder: Path) -> tuple[LanguageModel, Sequence[Sequence[int]]]:
    world = write_world(folder, size, seed=0, updates=-(-rows // size.batch_size))
    return load_language_model(world.policy), world.token_ids[:rows]


def brought(directory: Path, rows: int) -> tuple[LanguageModel, Sequence[Sequence[int]]]:
    """The starter's prompts come by topics, and are taken from all of them."""
    language_model = load_language_model(directory)
    catalogue = starter_prompts()
    texts = [prompt.text for prompt in catalogue[:: len(catalogue) // rows]][:rows]
    return language_model, language_model.encode_prompts(conversation(("user", text)) for text in texts)


def main() -> None:
    arguments = _arguments()
    print(machine())
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory(prefix="plumbline-generate-") as folder:
        most = max(arguments.rows)
        if arguments.model is None:
            loaded, prompts = built(SIZES[arguments.size], most, Path(folder))
        else:
            loaded, prompts = brought(arguments.model, most)
        endings = tuple(range(1, len(loaded.tokenizer), ENDING_SHARE))
        for rows, threads in itertools.product(arguments.rows, arguments.threads):
            works = {
                case: Work(LanguageModel(loaded.model, loaded.tokenizer, eos_ids), prompts[:rows], arguments.tokens)
                for case, eos_ids in (("fixed", ()), ("ending", endings))
                if case in arguments.cases
            }
            with _started(arguments, works, Path(folder)) as engines:
                found = measure(works, threads, arguments.rounds, arguments.systems, engines)
            timings += found
            _show(found)
    print(json.dumps({"machine": machine(), "timings": [asdict(one) for one in timings]}))


@contextmanager
def _started(arguments: argparse.Namespace, works: Mapping[str, Work], folder: Path) -> Iterator[Mapping[str, Engine]]:
    cases = {
        name: Case(work.prompts, work.tokens, TEMPERATURE, sorted(work.language_model.eos_ids))
        for name, work in works.items()
    }
    with ExitStack() as stack:
        yield {
            system: stack.enter_context(Engine(system, str(arguments.model.resolve()), cases, folder))
            for system in DTYPES
            if system in arguments.systems
        }


def _show(timings: Sequence[Timing]) -> None:
    for one in timings:
        ours = next(our for our in timings if (our.system, our.case) == ("ours", one.case))
        wall, cpu = one.seconds / ours.seconds, one.cpu_seconds / ours.cpu_seconds
        print(
            f"{one.system:<14}{one.case:<7}{one.rows:4} rows{one.threads:3} threads{one.seconds:8.3f} s, "
            f"processor{one.cpu_seconds:8.3f},{one.tokens:6.0f} tokens; wall {wall:.2f}, processor {cpu:.2f} of ours",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1.6M")
    parser.add_argument("--model", type=Path, help="the directory of a real model in place of a built one")
    parser.add_argument("--rows", type=_numbers, default=[64])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=_numbers, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--systems", type=lambda text: text.split(","), default=SYSTEMS, help="ours among them")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=("fixed", "ending"))
    arguments = parser.parse_args()
    if not DTYPES.keys().isdisjoint(arguments.systems) and (arguments.model is None or arguments.threads != [1]):
        parser.error("vLLM answers for a model in a directory (--model), with one thread (--threads 1)")
    return arguments


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


if __name__ == "__main__":
    main()
