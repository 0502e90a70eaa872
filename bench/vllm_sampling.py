"""vLLM's sampling on the work of `bench.generate`: an `Engine` asks it there, and `main` answers in vLLM's environment.

    python -m bench.vllm_sampling SETTINGS

A line in is the name of a case, of which one round is sampled; a line out, what it took. What the library says goes to
the error stream. One process, so that its clock counts all.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
PEER_PYTHON = ROOT / "build" / "peers" / "vllm" / "bin" / "python"
DTYPES: Mapping[str, str] = {"vllm": "float32", "vllm-bf16": "bfloat16"}
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True, slots=True)
class Case:
    prompts: Sequence[Sequence[int]]
    tokens: int
    """Of a response at most."""
    temperature: float
    ends: Sequence[int]
    """Tokens that end a response; the model's own doesn't."""


class Engine:
    """A context that holds the process. Raises `SystemExit` with what it said last, if it ends by itself."""

    def __init__(self, system: str, model: str, cases: Mapping[str, Case], folder: Path) -> None:
        settings, self._log = folder / f"{system}.json", folder / f"{system}.log"
        content = {
            "model": model,
            "dtype": DTYPES[system],
            "cases": {name: asdict(case) for name, case in cases.items()},
        }
        settings.write_text(json.dumps(content), encoding="utf-8")
        self._command = [str(PEER_PYTHON), "-W", "ignore", "-m", "bench.vllm_sampling", str(settings)]

    def __enter__(self) -> Self:
        environment = os.environ | ENVIRONMENT
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def round(self, case: str) -> tuple[float, float, int]:
        """Seconds, processor seconds, and tokens that were written."""
        assert self._process.stdin is not None
        self._process.stdin.write(case + "\n")
        self._process.stdin.flush()
        seconds, cpu_seconds, tokens = self._answer()
        return seconds, cpu_seconds, tokens

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(self._log.read_text(errors="replace")[-2000:])
        return json.loads(line)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    cases = {name: Case(**case) for name, case in settings["cases"].items()}
    engine = _engine(settings["model"], settings["dtype"], list(cases.values()))
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        print(json.dumps(_round(engine, cases[line.strip()])), file=answers)


def _engine(model: str, dtype: str, cases: Sequence[Case]) -> Any:
    from vllm import LLM  # type: ignore[import-not-found]

    return LLM(
        model=model,
        dtype=dtype,
        max_model_len=max(max(map(len, case.prompts)) + case.tokens for case in cases),
        max_num_seqs=max(len(case.prompts) for case in cases),
        enable_prefix_caching=False,  # the next round has the same prompts
        logprobs_mode="processed_logprobs",
        enforce_eager=True,
    )


def _round(engine: Any, case: Case) -> tuple[float, float, int]:
    from vllm import SamplingParams

    parameters = SamplingParams(
        temperature=case.temperature,
        top_k=0,
        top_p=1.0,
        max_tokens=case.tokens,
        ignore_eos=True,
        stop_token_ids=list(case.ends),
        logprobs=0,
        detokenize=False,
    )
    prompts = [{"prompt_token_ids": list(prompt)} for prompt in case.prompts]
    wall, cpu = time.perf_counter(), time.process_time()
    written = engine.generate(prompts, parameters, use_tqdm=False)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return seconds, cpu_seconds, sum(len(one.outputs[0].token_ids) for one in written)


if __name__ == "__main__":
    main()
