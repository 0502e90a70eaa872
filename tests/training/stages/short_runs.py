"""Every stage once, on the toy's world and as short as can be: what it leaves is what the application reads."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.training import toy
from training.records import PreferenceRecord, ResponseRecord, UnpairedRecord, read_records, write_records

Runs = Callable[[str], Path]
"""A run's folder by its name: a stage, or a stage and how it was run."""

RUNS = (
    "sft",
    "reward, distilled and fine-tuned",
    "reward, after mismatch",
    "reward, with criteria",
    "reward, tried out",
    "reward, examined",
    "cost",
    "ppo",
    "ppo, under a constraint",
    "ppo, with everything",
    "ppo, rloo",
    "dpo",
    "kto",
    "generate",
    "evaluate",
    "embed",
)
PAIRS = slice(50, 146)
"""Of the toy's: among these every quarter by the difference in length has some to be measured on."""
MAX_NEW_TOKENS = 8


def stage_of(name: str) -> str:
    return name.partition(",")[0]


def short_runs(world: Path, policy: Path, folder: Path) -> Runs:
    """Runs a stage when its folder is first asked for."""
    write_files(world, folder)

    @cache
    def run(name: str) -> Path:
        if name == "sft":
            return world / "sft"
        out = folder / name.replace(", ", "-").replace(" ", "-")
        assert toy.run(stage_of(name), out, **settings_of(name, run, policy, folder)) == 0
        return out

    return run


def settings_of(name: str, run: Runs, policy: Path, folder: Path) -> Mapping[str, object]:
    asked = {"policy": policy, "prompts": folder / "prompts.jsonl"}
    pairs = {"preferences": folder / "pairs.jsonl"}
    match stage_of(name):
        case "reward":
            said = "all_pairs.jsonl" if name == "reward, examined" else "pairs.jsonl"
            return asked | brief(folder / said) | reward_settings(name, run)
        case "cost":
            return asked | brief(folder / "harm.jsonl")
        case "ppo":
            return asked | {"reference": policy} | ppo_settings(name, run, folder)
        case "dpo":
            return {"policy": policy, **pairs, "batch_tokens": 4096}
        case "kto":
            return {"policy": policy, "responses": folder / "verdicts.jsonl"}
        case "generate":
            return asked | {"max_new_tokens": MAX_NEW_TOKENS}
        case "evaluate":
            examined = run("reward, examined") / "artifact"
            models = {"reference": policy, "reward": examined, "cost": run("cost") / "artifact"}
            shown = {"demonstrations": folder / "demonstrations.jsonl"}
            return asked | models | pairs | shown | {"max_new_tokens": MAX_NEW_TOKENS}
        case _:
            return {"policy": policy, "responses": folder / "responses.jsonl"}


def a_reward(run: Runs) -> Path:
    return run("reward, distilled and fine-tuned") / "artifact"


def brief(preferences: Path) -> dict[str, object]:
    """What makes a reward model in less than a second."""
    return {
        "preferences": preferences,
        "reference_samples": 48,
        "max_new_tokens": MAX_NEW_TOKENS,
        "batch_tokens": 4096,
    }


def reward_settings(name: str, run: Runs) -> dict[str, object]:
    short: dict[str, object] = {"distil_steps": 3, "mismatch_steps": 2}
    match name:
        case "reward, distilled and fine-tuned":
            return short | {"method": "distil_finetune"}
        case "reward, examined":
            # With this seed the half of the judgements that the second teacher hears is told from a coin.
            return short | {"method": "distil_finetune", "examined_prompts": 2, "seed": 1}
        case "reward, after mismatch":
            return short | {"method": "mismatch_finetune", "previous_reward": a_reward(run)}
        case "reward, with criteria":
            heads = {"heads": 2, "read_out": "worst", "learn_criteria": True, "centering": 0.01}
            return short | heads | {"method": "finetune"}
        case _:
            return short | {"method": "cross_validated", "folds": 2}


def ppo_settings(name: str, run: Runs, folder: Path) -> dict[str, object]:
    short: dict[str, object] = {
        "reward": a_reward(run),
        "iterations": 2,
        "batch_size": 8,
        "minibatch_size": 4,
        "max_new_tokens": MAX_NEW_TOKENS,
        "critic_warmup_iterations": 0,
        "detector_responses": 0,
    }
    match name:
        case "ppo":
            return short | {"detector_responses": 16, "held_out_every": 1}
        case "ppo, under a constraint":
            best = {"publish": "best", "held_out_prompts": folder / "prompts.jsonl"}
            return short | best | {"cost": run("cost") / "artifact"}
        case "ppo, rloo":
            return short | {"algorithm": "rloo", "samples_per_prompt": 2, "critic_warmup_iterations": 3}
        case _:
            return short | with_everything(run, folder)


def with_everything(run: Runs, folder: Path) -> dict[str, object]:
    """What adds a figure."""
    return {
        "reward": run("reward, with criteria") / "artifact",
        "held_out_reward": a_reward(run),
        "detector_responses": 48,
        "held_out_every": 1,
        "kl_penalty": "loss",
        "kl_estimator": "k2",
        "ptx_coefficient": 0.1,
        "demonstrations": folder / "demonstrations.jsonl",
        "max_update_kl": 1e-9,
        "max_kl": None,
        "iterations": 4,
        "actor_learning_rate": 5e-3,
    }


def write_files(world: Path, folder: Path) -> None:
    for name in ("prompts.jsonl", "demonstrations.jsonl"):
        (folder / name).write_bytes((world / name).read_bytes())
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)[PAIRS]
    (folder / "all_pairs.jsonl").write_bytes((world / "preferences.jsonl").read_bytes())
    write_records(folder / "pairs.jsonl", with_all_that_is_asked(rows))
    write_records(folder / "harm.jsonl", [replace(row, **harm_of(row)) for row in rows])
    write_records(folder / "verdicts.jsonl", [verdict for row in rows for verdict in verdicts_of(row)])
    responses = [
        ResponseRecord(str(number), row.prompt_id, row.prompt, row.response_a) for number, row in enumerate(rows)
    ]
    write_records(folder / "responses.jsonl", responses[:20])


def with_all_that_is_asked(rows: list[PreferenceRecord]) -> list[PreferenceRecord]:
    """How much better, by which criterion, by whom, and some of it twice: once the same and once not."""
    kinds = ("human:1", "simulated:2", "imported:3")
    told = [
        replace(
            row,
            source=kinds[number % 3],
            strength=None if row.preference == 0.5 else float(number % 2),
            criteria={"brief": brevity(row)},
        )
        for number, row in enumerate(rows)
    ]
    judged = [row for row in told if row.preference != 0.5 and row.split == "validation"]
    return [*told, judged[0], replace(judged[1], preference=1 - judged[1].preference)]


def verdicts_of(row: PreferenceRecord) -> list[UnpairedRecord]:
    """Each response by itself: desirable if it has the good word."""
    return [
        UnpairedRecord(row.prompt_id, row.prompt, text, toy.GOOD_WORD in text.split(), split=row.split)
        for text in (row.response_a, row.response_b)
    ]


def brevity(row: PreferenceRecord) -> float:
    lengths = len(row.response_a), len(row.response_b)
    return 0.5 if lengths[0] == lengths[1] else float(lengths[0] < lengths[1])


def harm_of(row: PreferenceRecord) -> dict[str, bool]:
    """The good word for a bad one."""
    return {
        "safe_a": toy.GOOD_WORD not in row.response_a.split(),
        "safe_b": toy.GOOD_WORD not in row.response_b.split(),
    }
