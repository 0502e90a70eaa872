"""Proximal policy optimisation against a reward model, held near a reference policy."""

# B = batch, R = response tokens

from collections.abc import Mapping, Sequence

import torch

from training.algorithms.kl import adapt_coefficient, k3
from training.algorithms.losses import explained_variance
from training.algorithms.table import ALGORITHMS
from training.config import InputError, PpoConfig
from training.data.batches import draw
from training.data.examples import Example, Prompt
from training.hacking.watch import Judges, Watch
from training.ppo.best_policy import BestPolicy
from training.ppo.constraint import Constraint
from training.ppo.flop import ppo_flop, sequence_lengths
from training.ppo.learner import learner_of
from training.ppo.loop_values import LoopValues
from training.ppo.models import PpoModels
from training.ppo.objective import Minibatch
from training.ppo.rollout import Rollout, collect
from training.ppo.way_back import WayBack
from training.responses.sampler import STALE
from training.responses.texts import sample_texts
from training.runtime.checkpoint import Checkpoint
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import linear_schedule
from training.runtime.publishing import finish
from training.runtime.run import PhaseTimer, Run, State
from training.runtime.seeds import derived_seed
from training.runtime.steps import Steps
from training.runtime.throughput import Meter

PHASE = "ppo"
CHECKPOINT_LAYOUT = 4
"""Of what `PpoLoop` keeps in a checkpoint: one of another layout is refused."""


class PpoLoop:
    """Iterations of rollout and updates, and what the run goes back to when they lead astray."""

    def __init__(
        self,
        config: PpoConfig,
        models: PpoModels,
        prompts: Sequence[Prompt],
        run: Run,
        *,
        held_out: Sequence[Prompt] = (),
        demonstrations: Sequence[Example] = (),
        judges: Judges | None = None,
    ) -> None:
        self._config = config
        self._models = models
        self._prompts = prompts
        self._run = run
        self._demonstrations = demonstrations
        self._learner = learner_of(config, models)
        self._best = BestPolicy(config, models, held_out) if config.publish == "best" else None
        self._watch = (
            Watch(
                config,
                held_out or prompts,
                run.out,
                policy=models.policy,
                reference=models.reference,
                reward=models.reward,
                judges=judges or Judges(),
                sampler=models.sampler,
            )
            if config.detector_responses
            else None
        )
        self._meter = Meter(models.policy.model, batch_tokens=config.micro_batch_tokens)
        self._steps = Steps(run, self._meter, total=config.iterations, checkpoint_steps=config.checkpoint_steps)
        self._kl_coefficient = config.kl_coefficient
        self._constraint = Constraint(config)
        self._way_back = WayBack(config, self._learner, models.policy.model)
        self._published_row: int | None = None  # of the history, where it isn't the last within the bound
        self._history: list[dict[str, float]] = []

    def train(self) -> str | None:
        """All iterations, then the policy to publish is in its place. The reason if they ended early."""
        stopped_early = self._iterate_all()
        # Where the run was stopped, its last rollout is of a policy that isn't published.
        iterations = len(self._history) - (stopped_early is not None)
        # Nobody has looked at what the last updates made: no rollout followed them.
        if stopped_early is None and not self._watched(iterations)[0]:
            stopped_early = "alarm"
            self._way_back.distrust()
        if stopped_early == "alarm":
            self._published_row = iterations = self._way_back.quiet_iteration
        if stopped_early is not None:
            self._way_back.take()
            self._models.sampler.moved()
        if self._best is not None:
            self._best.measure(iterations)
            self._best.put_in_place()
        finish(self._models.policy, self._config, self._config.policy)
        return stopped_early

    def summary(self) -> dict[str, object]:
        """Figures of the last rollout within the bound, and the gain in reward since the first."""
        within = [row for row in self._history if self._within_bound(row["kl"])]
        first, last = self._history[0], within[-1] if within else self._history[0]
        if self._published_row is not None:
            last = self._history[self._published_row]
        return {
            "kl": last["kl"],
            "reward": last["score"],
            "reward_gain": last["score"] - first["score"],
            "eos_rate": last["eos_rate"],
            "length_ratio": last["length"] / first["length"],
            **{name: value for name, value in last.items() if name.startswith("rule_")},
            "iterations": len(self._history),
            "kl_coefficient": self._kl_coefficient,
            "roll_backs": self._way_back.roll_backs,
            **self._constraint.summary(last),
            **(self._best.summary() if self._best is not None else {}),
            **({"alarms": self._watch.alarms, "reward_hacking": self._watch.summary()} if self._watch else {}),
        }

    def _iterate_all(self) -> str | None:
        start = self._restore(self._run.resume())
        for iteration in self._steps.timed(start, self._config.iterations):
            left = self._iterate(iteration)
            if left is not None and not self._roll_back():
                return left
            self._steps.save(iteration, PHASE, self._state)
        return None

    def _iterate(self, iteration: int) -> str | None:
        """One rollout and the updates on it; else why the policy must not go on: `max_kl` or `alarm`.

        Figures, evaluations and snapshots of an iteration are all of the policy that wrote its rollout, the one before
        its updates: what those made of it shows in the next rollout.
        """
        timer = PhaseTimer()
        rollout = self._roll_out(iteration, timer)
        self._history.append(_figures(rollout) | self._constraint.figures(rollout))
        within_bound = self._within_bound(rollout.kl_per_response)
        measures = self._measures(rollout)
        quiet, evaluated = True, iteration % self._config.held_out_every == 0
        # Before training: an alarm is of the policy of this rollout, and so the snapshot below is of one that was found
        # quiet. After it the snapshot would be of another policy than the one that was looked at.
        if evaluated:
            with timer.measure("watch"):
                quiet, signs = self._watched(iteration)
                measures |= signs
        # Only of a quiet policy: the best is published, and one that hacks its reward would seem the best of all.
        if quiet and evaluated and self._best is not None:
            with timer.measure("held_out"):
                measures |= self._best.measure(iteration)
        if not quiet:
            self._way_back.distrust()
        elif within_bound:
            # Before the updates: the policy that wrote this rollout is known to be within the bound, and whether they
            # leave it is known from the next. One that is beyond it is left as it is, to be thrown away.
            self._way_back.keep(iteration, is_quiet=evaluated)
            with timer.measure("train"):
                measures = merge(measures, self._update(iteration, rollout))
            # After the updates: the rollout's advantages, and its divergence in the loss, are priced alike throughout.
            self._adapt(rollout)
            self._constraint.update(rollout)
        measures |= self._pace(rollout, measures, timer)
        measures["seconds"] = mean_of(self._steps.seconds)
        self._steps.write(iteration, PHASE, measures, samples=self._samples(iteration))
        # An alarm goes first: it says of a policy beyond the bound, too, how far back to go.
        if not quiet:
            return "alarm"
        return None if within_bound else "max_kl"

    def _roll_out(self, iteration: int, timer: PhaseTimer) -> Rollout:
        return collect(
            self._models,
            self._draw_prompts(iteration),
            self._config,
            kl_coefficient=self._kl_coefficient,
            multiplier=self._constraint.multiplier,
            seed=derived_seed(self._config.seed, "rollout", iteration),
            timer=timer,
        )

    def _measures(self, rollout: Rollout) -> Measures:
        of_critic = _critic_measures(rollout) if self._models.critic is not None else {}
        gap = None if self._models.sampler.exact else self._models.sampler.gap
        return {
            **_rollout_measures(rollout, self._kl_coefficient),
            **({} if gap is None else {"engine_gap": mean_of(gap)}),
            **of_critic,
            **self._constraint.measures(rollout),
        }

    def _watched(self, iteration: int) -> tuple[bool, Measures]:
        """Whether no alarm that acts was raised, and what the detectors found."""
        if self._watch is None:
            return True, {}
        measures = self._watch.evaluate(iteration)
        return not self._watch.acting, measures

    def _pace(self, rollout: Rollout, measures: Measures, timer: PhaseTimer) -> Measures:
        return {
            **{f"{phase}_seconds": mean_of(seconds) for phase, seconds in timer.seconds.items()},
            **self._meter.measures(
                tokens=sum(sequence_lengths(rollout)),
                flop=ppo_flop(self._models, rollout, measures, self._config),
                seconds=sum(timer.seconds.get(phase, 0.0) for phase in ("generate", "score", "train")),
            ),
        }

    def _roll_back(self) -> bool:
        """Return to the last good policy and hold it more tightly; false when that was done too often."""
        if not self._way_back.roll_back():
            return False
        self._models.sampler.moved()
        self._kl_coefficient *= 2
        return True

    def _update(self, iteration: int, rollout: Rollout) -> Measures:
        """The epochs of one iteration, ended early when the policy moves too far from the one that sampled."""
        config = self._config
        measures: Measures = {}
        rollout = rollout.on(self._models.policy.device)
        self._models.sampler.moved()
        for epoch in range(config.epochs):
            generator = torch.Generator().manual_seed(derived_seed(config.seed, "epoch", iteration, epoch))
            order = torch.randperm(len(rollout.prompts), generator=generator)
            if ALGORITHMS[config.algorithm].baseline == "best":
                order = order[rollout.advantage_BR[order, 0] > 0]
            minibatches = order.split(config.minibatch_size)
            for number, rows in enumerate(minibatches):
                place = (iteration * config.epochs + epoch) * len(minibatches) + number
                step = self._learner.step(
                    Minibatch(rollout, rows.tolist(), self._kl_coefficient, self._draw_demonstrations(place)),
                    actor_rate=self._rate(iteration, config.actor_learning_rate),
                    critic_rate=self._rate(iteration, config.critic_learning_rate),
                    critic_only=bool(self._models.critics) and iteration < config.critic_warmup_iterations,
                )
                # Of the first step alone: it begins at the policy that sampled, where every ratio has to be 1.
                ratio_error = step.measures.pop("ratio_error", None)
                if ratio_error is not None and "first_ratio_error" not in measures:
                    self._require_fresh(ratio_error)
                    measures["first_ratio_error"] = ratio_error
                measures = merge(measures, step.measures)
                if step.distant:
                    return merge(measures, {"epochs_cut": mean_of(1.0)})
        return measures

    def _require_fresh(self, ratio_error: tuple[float, float]) -> None:
        """Raises `InputError` where an engine that gives training's log-probabilities gave others: KL would go on
        reading about 0, as if the policy didn't move."""
        total, count = ratio_error
        sampler = self._models.sampler
        if not (sampler.copies and sampler.exact and self._config.precision == "float32"):
            return
        if not total / count <= STALE:
            raise InputError(
                f"engine: {self._config.engine} sampled from other weights than those that learn, or computes otherwise"
                f" (first_ratio_error {total / count:.6g}, at most {STALE:g}); choose own"
            )

    def _draw_prompts(self, iteration: int) -> list[Prompt]:
        """Each as often as it is answered, one after the other."""
        samples, seed = self._config.samples_per_prompt, self._config.seed
        count = self._config.batch_size // samples
        drawn = draw(self._prompts, start=iteration * count, count=count, seed=seed, purpose="prompts")
        return [prompt for prompt in drawn for _ in range(samples)]

    def _draw_demonstrations(self, place: int) -> list[Example]:
        """Those of one optimiser step, counted over the whole run."""
        if self._config.ptx_coefficient == 0:
            return []
        size, seed = self._config.ptx_batch_size, self._config.seed
        return draw(self._demonstrations, start=place * size, count=size, seed=seed, purpose="demonstrations")

    def _within_bound(self, kl: float) -> bool:
        return self._config.max_kl is None or kl <= self._config.max_kl

    def _rate(self, iteration: int, peak: float) -> float:
        return linear_schedule(iteration, self._config.iterations, peak=peak)

    def _adapt(self, rollout: Rollout) -> None:
        if self._config.kl_controller == "adaptive":
            self._kl_coefficient = adapt_coefficient(
                self._kl_coefficient,
                kl=rollout.kl_per_response,
                target=self._config.kl_target,
                episodes=len(rollout.prompts),
                horizon=self._config.kl_horizon,
            )

    def _samples(self, iteration: int) -> list[Mapping[str, object]]:
        """Texts of policy and reference for the same few prompts, now and then."""
        config = self._config
        last = iteration + 1 == config.iterations
        if config.sample_texts == 0 or not (last or iteration % config.sample_every == 0):
            return []
        prompts = self._prompts[: config.sample_texts]
        seed = derived_seed(config.seed, "samples")
        return sample_texts(
            {"policy": self._models.policy, "reference": self._models.reference},
            prompts,
            seed=seed,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
        )

    def _state(self) -> State:
        best = self._best.tensors() if self._best is not None else {}
        values = LoopValues(
            layout=CHECKPOINT_LAYOUT,
            kl_coefficient=self._kl_coefficient,
            constraint=self._constraint.state(),
            roll_backs=self._way_back.roll_backs,
            history=self._history,
            quiet_iteration=self._way_back.quiet_iteration,
            watch=self._watch.evaluations if self._watch is not None else (),
            best=self._best.found if self._best is not None else None,
        )
        return {**self._learner.tensors(), **self._way_back.tensors(), **best}, values.to_json()

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        if checkpoint is None:
            return 0
        checkpoint.require_layout(CHECKPOINT_LAYOUT)
        values = LoopValues.from_json(checkpoint.values)
        self._learner.restore(checkpoint.tensors)
        self._models.sampler.moved()
        self._way_back.restore(checkpoint.tensors, quiet_iteration=values.quiet_iteration, roll_backs=values.roll_backs)
        self._kl_coefficient = values.kl_coefficient
        self._constraint.restore(values.constraint)
        self._history = values.history
        if self._watch is not None:
            self._watch.restore(values.watch)
        if self._best is not None and values.best is not None:
            self._best.restore(checkpoint.tensors, values.best)
        return checkpoint.step


def _figures(rollout: Rollout) -> dict[str, float]:
    """Means over the responses of a rollout."""
    sampled = [response.sampled for response in rollout.responses]
    return {
        "kl": rollout.kl_per_response,
        "score": float(rollout.score_B.mean()),
        "eos_rate": sum(response.ended_with_eos for response in sampled) / len(sampled),
        "length": sum(len(response.token_ids) for response in sampled) / len(sampled),
        **{rule_figure(name): float(value_B.mean()) for name, value_B in rollout.rules_B.items()},
    }


def rule_figure(rule: str) -> str:
    """What the mean value of a rule is called among metrics and in the result."""
    return "rule_" + rule.replace(":", "_").replace(".", "_")


def _rollout_measures(rollout: Rollout, kl_coefficient: float) -> Measures:
    responses = len(rollout.responses)
    figures = _figures(rollout)
    mask_BR = rollout.mask_BR
    return {
        **{name: mean_of(value, responses) for name, value in figures.items()},
        "reward": mean_of(float(rollout.reward_B.mean()), responses),
        "kl_k3": (float(k3(rollout.log_probability_BR, rollout.reference_BR)[mask_BR].sum()), responses),
        "score_variance": mean_of(float(rollout.score_B.var(correction=0)), responses),
        "kl_coefficient": mean_of(kl_coefficient),
        "tokens": mean_of(float(mask_BR.sum())),
    }


def _critic_measures(rollout: Rollout) -> Measures:
    value_N, return_N = rollout.value_BR[rollout.mask_BR], rollout.return_BR[rollout.mask_BR]
    return {"explained_variance": mean_of(float(explained_variance(value_N, return_N)))}
