"""How many times as fast as `transformers.generate` our sampling is, with the log-probabilities that PPO needs.

    python -m bench.generate [--size 1.6M] [--batch 64] [--tokens 64] [--threads 1,2] [--rounds 7]

Same weights and prompts, in turns in one process, as `training` and a `generate` with as many threads would run.
`fixed`: no token ends a response, so that both write as many; `ending`: one in 32 does, as in training, where ours lets
go of rows that have ended. `generate` returns its logits, as TRL asks it to; `generate-bare` returns tokens alone.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.ppo_vs_trl import machine
from bench.ppo_world import SIZES, write_world
from models.backbone import LanguageModel, load_language_model
from models.generation import sample_responses
from training.runtime.replicas import use_threads

TEMPERATURE = 0.7
ENDING_SHARE = 32
SYSTEMS = ("ours", "generate", "generate-bare")


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians over rounds; `tokens` of responses, padding after their end not counted."""

    system: str
    case: str
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
        return self._ours(seed) if system == "ours" else self._theirs(seed, logits=system == "generate")

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


def measure(works: Mapping[str, Work], threads: int, rounds: int) -> list[Timing]:
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for turn in range(rounds + 1):
        for case, work in works.items():
            for system in SYSTEMS:
                if system == "ours":
                    use_threads(threads)
                else:
                    torch.set_num_threads(threads)
                taken = _timed(lambda work=work, system=system, turn=turn: work.run(system, turn))  # type: ignore[misc]
                if turn > 0:
                    found.setdefault((system, case), []).append(taken)
    return [
        Timing(system, case, threads, *(statistics.median(column) for column in zip(*taken, strict=True)))
        for (system, case), taken in found.items()
    ]


def _timed(work: Callable[[], int]) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    return time.perf_counter() - wall, time.process_time() - cpu, tokens


def main() -> None:
    arguments = _arguments()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="plumbline-generate-") as folder:
        size = SIZES[arguments.size]
        world = write_world(Path(folder), size, seed=0, updates=-(-arguments.batch // size.batch_size))
        loaded = load_language_model(world.policy)
        prompts = world.token_ids[: arguments.batch]
        endings = tuple(range(1, size.vocabulary, ENDING_SHARE))
        works = {
            case: Work(LanguageModel(loaded.model, loaded.tokenizer, eos_ids), prompts, arguments.tokens)
            for case, eos_ids in (("fixed", ()), ("ending", endings))
        }
        timings = [one for threads in arguments.threads for one in measure(works, threads, arguments.rounds)]
    for one in timings:
        ours = next(our for our in timings if (our.system, our.case, our.threads) == ("ours", one.case, one.threads))
        wall, cpu = one.seconds / ours.seconds, one.cpu_seconds / ours.cpu_seconds
        print(
            f"{one.system:<14}{one.case:<7}{one.threads} threads{one.seconds:8.3f} s, processor{one.cpu_seconds:7.3f},"
            f"{one.tokens:6.0f} tokens; wall {wall:.2f}, processor {cpu:.2f} of ours"
        )
    print(json.dumps({"machine": machine(), "timings": [asdict(one) for one in timings]}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1.6M")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
