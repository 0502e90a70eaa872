"""A model of one's own, the whole way in a site of its own, from bringing it to an export of what was judged.

It is brought as it is, pairs are imported and judged, a reward model, PPO by adapters and DPO learn, the policy writes
and is put into use. Prints what each stage took and what the last policy writes. Everything goes through the doors that
people use: the command line and REST.

`python -m bench.real_model DIRECTORY [--pairs FILE.jsonl.gz] [--json FILE]`: the directory of a chat model, and pairs
with `prompt`, `chosen` and `rejected`; without a file the starter's, judged by its rule.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.simulation.site import Site, running_site
from app.starter.gold import score
from app.starter.samples import comparisons

SLUG = "own"
OWNER = "owner"
PAIRS = 64
POLL_SECONDS = 0.2
SHOWN_TEXTS = 4
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "reward": ("method=finetune", "reference_samples=16", "max_new_tokens=32"),
    "ppo": (
        *("lora_rank=8", "iterations=3", "batch_size=8", "minibatch_size=8", "max_new_tokens=48"),
        *("critic_warmup_iterations=1", "detector_responses=0", "critic=adapter", "sample_texts=2"),
    ),
    "dpo": ("lora_rank=8",),
    "generate": ("samples_per_prompt=2", "max_new_tokens=48"),
}
"""Short runs: what is shown is that the way can be gone, and what it takes."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one stage took on this machine."""

    stage: str
    seconds: float
    cpu_seconds: float
    peak_mib: float
    state: str
    figures: Mapping[str, object]


class Watch:
    """The peak memory and the processor time of training processes, by stage, looked at while they run."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._found: dict[str, tuple[float, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def of(self, stage: str) -> tuple[float, float]:
        """Peak in MiB and processor seconds of the newest process of a stage."""
        return self._found.pop(stage, (0.0, 0.0))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                self._look_at(process)

    def _look_at(self, process: Path) -> None:
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "training" not in command or self._home not in " ".join(command):
                return
            status = (process / "status").read_text()
            user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:
            return
        peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)
        if peak:
            self._found[command[command.index("training") + 1]] = (peak, (int(user) + int(system)) / 100)


class Doors:
    """The command line and REST of one site."""

    def __init__(self, site: Site) -> None:
        self.home = site.home
        self._environment = {"PLUMBLINE_HOME": str(site.home), "DATABASE_URL": site.database_url}
        self.api = httpx.Client(base_url=f"{site.url}/api/v1", timeout=60)

    def run(self, *words: str) -> str:
        """What the command printed. Raises SystemExit with what it said if it fails."""
        program = Path(sys.executable).with_name("plumbline")
        done = subprocess.run(
            [program, *words], env=self._environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise SystemExit(f"plumbline {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def sign_in(self, user: str = OWNER) -> None:
        scopes = [word for scope in ("read", "judge", "manage") for word in ("--scope", scope)]
        said = self.run("token", "--user", user, "--name", "bench", *scopes)
        token = next(word for word in said.split() if word.startswith("plumb_"))
        self.api.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: str | int) -> Any:
        return self.api.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        answer = self.api.post(path, json=body, headers=headers)
        if answer.is_error:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pairs", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plumbline-real-") as folder:
        home = Path(folder) / "home"
        with running_site(home, {"PLUMBLINE_STARTER": "false"}) as site:
            watch = Watch(home)
            try:
                found = the_whole_way(Doors(site), watch, arguments.model.resolve(), list(pairs_of(arguments.pairs)))
            finally:
                watch.end()
    print(json.dumps({"bench": "real_model", **found}, ensure_ascii=False))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def the_whole_way(doors: Doors, watch: Watch, model: Path, pairs: list[tuple[str, str, str]]) -> dict[str, object]:
    """Every step, in the order in which somebody with a model and pairs would take it."""
    took = [adopt(doors, watch, model, pairs)]
    for stage, settings in SETTINGS.items():
        doors.run("settings", "set", stage, *settings, "--project", SLUG)
    for stage in ("reward", "ppo", "dpo", "generate"):
        took.append(train(doors, watch, stage))
        promote(doors, "reward" if stage == "reward" else "policy")
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        doors.run("export", "--project", SLUG, "--out", file.name)
        exported = len(Path(file.name).read_text(encoding="utf-8").splitlines())
    return {"took": [asdict(one) for one in took], "exported_rows": exported, "texts": written(doors.home)}


def adopt(doors: Doors, watch: Watch, model: Path, pairs: list[tuple[str, str, str]]) -> Took:
    """A project with the model as its policy, and the pairs in it, judged."""
    doors.run("create-user", OWNER, "--admin")
    doors.run("project", "create", "Own model", "--owner", OWNER, "--slug", SLUG)
    doors.sign_in()
    print(doors.run("model", "add", str(model), "--project", SLUG, "--check"))
    doors.run("model", "add", str(model), "--project", SLUG)
    took = finished(doors, watch, "adopt", time.monotonic())
    import_pairs(doors, pairs)
    judge(doors, {(prompt, chosen) for prompt, chosen, _ in pairs}, len(pairs))
    return took


def train(doors: Doors, watch: Watch, stage: str) -> Took:
    began = time.monotonic()
    doors.run("run", "start", stage, "--project", SLUG)
    took = finished(doors, watch, stage, began)
    print(took, flush=True)
    return took


def pairs_of(path: Path | None) -> Iterator[tuple[str, str, str]]:
    """Prompt, better and worse response, of different prompts."""
    if path is not None:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for _, line in zip(range(PAIRS), file, strict=False)]
        yield from ((row["prompt"], row["chosen"], row["rejected"]) for row in rows)
        return
    drawn = comparisons(seed=0, count=8 * PAIRS)
    scored = ((prompt.text, sorted((a.text, b.text), key=partial(score, prompt.text))) for prompt, a, b in drawn)
    by_prompt = {prompt: texts for prompt, texts in scored if score(prompt, texts[0]) < score(prompt, texts[1])}
    yield from ((prompt, better, worse) for prompt, (worse, better) in list(by_prompt.items())[:PAIRS])


def import_pairs(doors: Doors, pairs: list[tuple[str, str, str]]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        for prompt, chosen, rejected in pairs:
            file.write(json.dumps({"prompt": prompt, "responses": [chosen, rejected]}) + "\n")
        file.flush()
        doors.run("import", file.name, "--project", SLUG, "--schema", "responses")


def judge(doors: Doors, better: set[tuple[str, str]], count: int) -> None:
    """As a person does who always finds the better one: task by task, over REST."""
    for number in range(count):
        answer = doors.api.get(f"/projects/{SLUG}/next-task").raise_for_status()
        if answer.status_code == httpx.codes.NO_CONTENT:
            raise SystemExit(f"only {number} tasks to judge")
        task = answer.json()
        prompt, first = task["prompt"][-1]["content"], task["panes"][0]["text"]
        choice = 2 if (prompt, first) in better else 6
        doors.post(
            f"/assignments/{task['assignment_id']}/judgements",
            {"choice": choice},
            **{"Idempotency-Key": f"real-model-{number:06d}-{task['assignment_id']}"},
        )


def finished(doors: Doors, watch: Watch, stage: str, began: float) -> Took:
    """The newest run of a stage once it has ended."""
    while True:
        run = run_of(doors, stage)
        if run["state"] not in ("queued", "running"):
            break
        time.sleep(POLL_SECONDS)
    if run["state"] != "succeeded":
        raise SystemExit(f"{stage}: {run['state']}: {run['error']}\n{doors.run('run', 'log', str(run['id']))}")
    peak, cpu = watch.of(stage)
    figures = {name: value for name, value in (run["result"] or {}).items() if isinstance(value, int | float | str)}
    return Took(stage, round(time.monotonic() - began, 1), round(cpu, 1), round(peak), run["state"], figures)


def run_of(doors: Doors, stage: str) -> dict[str, Any]:
    """The newest run of a stage, as the API tells it."""
    found: list[dict[str, Any]] = doors.get(f"/projects/{SLUG}/runs", limit=20)["items"]
    return next(row for row in found if row["stage"] == stage)


def promote(doors: Doors, kind: str) -> None:
    """Put the newest version into use, for a reason where its gate refused it."""
    newest = doors.get(f"/projects/{SLUG}/models", kind=kind, limit=1)["items"][0]
    if newest["state"] != "promoted":
        reason = ("--reason", "A short run, to see the whole way.")
        doors.run("promote", str(newest["number"]), "--kind", kind, "--project", SLUG, *reason)


def written(home: Path) -> list[str]:
    """What the policy in use wrote last to some prompts."""
    newest = max(home.glob("runs/*/completions.jsonl"), key=lambda path: path.stat().st_mtime)
    return [json.loads(line)["text"] for line in newest.read_text(encoding="utf-8").splitlines()[:SHOWN_TEXTS]]


if __name__ == "__main__":
    main()
