"""The same four steps as TRL 1.16.0's KTO, whose numbers `make oracle` records.

Alike are: log-probabilities summed over a response's tokens, EOS among them; mismatched responses, each one place
further in its batch; their mean log-ratio, clamped at zero and without a gradient; a loss that is the mean over
responses, whatever the weights of their kinds. The order of the responses differs and is bridged here: TRL takes them
as they come, in every epoch, so they are written where our shuffle finds them in that order. No prompt comes twice in a
batch: TRL would take a neighbour with the same prompt for a stranger.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from models.backbone import load_language_model
from tests.training import toy
from tests.training.golden import judgements, unpaired
from tests.training.golden.test_trl_1_16 import write_model
from tests.training.tiny import for_a_small_model
from training.config.kto import KtoConfig
from training.direct.kept_reference import read_kept
from training.direct.kto import even_batches, load_verdicts, schedule_of, whole_log_probabilities
from training.records import UnpairedRecord, conversation, write_records
from training.runtime.optimiser import Trainer
from training.runtime.seeds import derived_seed

RECORDED: Mapping[str, Sequence[Mapping[str, Any]]] = json.loads(
    Path(__file__).with_name("trl_1_16_kto.json").read_text()
)["variants"]
TOLERANCE = 1e-4
SEED = 0
ORDER = list(
    itertools.chain.from_iterable(
        even_batches(len(unpaired.VERDICTS), unpaired.BATCH, seed=derived_seed(SEED, "kto", 0))
    )
)
"""Rows of the file, as they are learnt from."""


@dataclass(frozen=True)
class Learnt:
    """A variant as the stage learns it."""

    oracle: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    out: Path
    gradient_norms: Sequence[Sequence[float]]
    """Of each step, in the order of the weights."""

    def means(self, name: str) -> list[float]:
        rows: list[Any] = [row["values"] for row in toy.metrics(self.out) if row["phase"] == "kto"]
        return [row[name][0] / row[name][1] for row in rows if name in row]

    def recorded(self, name: str) -> list[float]:
        """Of all steps, in the order of the responses."""
        return [value for step in self.oracle for value in step[name]]


@pytest.fixture(scope="module", params=RECORDED)
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    folder = tmp_path_factory.mktemp("kto")
    records = dict(zip(ORDER, map(record, unpaired.VERDICTS), strict=True))
    write_records(folder / "verdicts.jsonl", [records[row] for row in sorted(records)])
    settings = {
        "seed": SEED,
        "policy": str(write_model(folder / "policy", judgements.POLICY)),
        "reference": str(write_model(folder / "reference", judgements.REFERENCE)),
        "responses": folder / "verdicts.jsonl",
        "beta": judgements.BETA,
        "batch_size": unpaired.BATCH,
        "learning_rate": unpaired.LEARNING_RATE,
        "warmup_fraction": 0.0,
        "gradient_clip": 1e9,
        **unpaired.VARIANTS[request.param].ours,
    }
    norms: list[list[float]] = []
    plain_step = Trainer.step

    def step(trainer: Trainer, learning_rate: float) -> float:
        norms.append([float(weight.grad.norm()) for weight in trainer._parameters if weight.grad is not None])
        return plain_step(trainer, learning_rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        assert toy.run("kto", folder / "out", **settings) == 0
    return Learnt(RECORDED[request.param], settings, folder / "out", norms)


def record(verdict: unpaired.Verdict) -> UnpairedRecord:
    prompt, response = judgements.text(verdict.prompt), judgements.text(verdict.response)
    return UnpairedRecord(prompt, conversation(("user", prompt)), response, verdict.desirable)


def test_the_record_holds_what_matters() -> None:
    """Every variant, figures that tell them apart, an estimate that is clamped and others that aren't, and a batch of
    one kind."""
    assert RECORDED.keys() == unpaired.VARIANTS.keys()
    assert len({tuple(step["loss"] for step in steps) for steps in RECORDED.values()}) == len(RECORDED)
    estimates = [step["kl"] for step in RECORDED["plain"]]
    assert min(estimates) == 0.0
    assert sum(estimate > 0.5 for estimate in estimates) == 3
    means = [sum(step["mismatched"]) - sum(step["mismatched_reference"]) for step in RECORDED["plain"]]
    assert min(means) < -0.1
    kinds = [(bool(step["desirable_rewards"]), bool(step["undesirable_rewards"])) for step in RECORDED["plain"]]
    assert set(kinds) == {(True, True), (True, False)}


def test_log_probabilities(learnt: Learnt) -> None:
    """The policy's before it learns, the reference's of all that it was asked about."""
    config = for_a_small_model(KtoConfig(**learnt.settings))
    policy = load_language_model(config.policy)
    schedule = schedule_of(config, load_verdicts(config.responses, policy, max_length=config.max_length))
    with torch.no_grad():
        for name, items in (("log_probabilities", schedule.batches[0]), ("mismatched", schedule.mismatched[0])):
            if items:
                found_B = whole_log_probabilities(policy, [schedule.items[item] for item in items], config.temperature)
                assert found_B.tolist() == pytest.approx(learnt.oracle[0][name], abs=TOLERANCE)
    (kept,) = (learnt.out / "reference").iterdir()
    reference = read_kept(kept.parent, kept.stem)
    assert reference is not None
    assert reference[ORDER].tolist() == pytest.approx(learnt.recorded("reference"), abs=TOLERANCE)
    if config.loss == "kto":
        mismatched = reference[len(ORDER) :].tolist()
        assert mismatched == pytest.approx(learnt.recorded("mismatched_reference"), abs=TOLERANCE)
    else:
        assert len(reference) == len(ORDER)


def test_losses_rewards_and_estimates_of_every_step(learnt: Learnt) -> None:
    assert learnt.means("loss") == pytest.approx([step["loss"] for step in learnt.oracle], abs=TOLERANCE)
    estimates = [step["kl"] for step in learnt.oracle]
    assert learnt.means("kl") == pytest.approx(estimates if any(estimates) else [], abs=TOLERANCE)
    for kind in ("desirable", "undesirable"):
        rewards = [step[f"{kind}_rewards"] for step in learnt.oracle if step[f"{kind}_rewards"]]
        expected = [sum(of_step) / len(of_step) for of_step in rewards]
        assert learnt.means(f"{kind}_reward") == pytest.approx(expected, abs=TOLERANCE)


def test_every_weights_gradient_in_every_step(learnt: Learnt) -> None:
    """The later ones are right only if every step before them was."""
    expected_rates = [unpaired.LEARNING_RATE * share for share in unpaired.RATES]
    assert learnt.means("learning_rate") == pytest.approx(expected_rates)
    for found, step in zip(learnt.gradient_norms, learnt.oracle, strict=True):
        assert found == pytest.approx(list(step["gradient_norms"].values()), abs=TOLERANCE, rel=TOLERANCE)
