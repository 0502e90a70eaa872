"""How a reward model comes to be: its phases, step by step, each to be taken up again where it was left."""

# B = responses, N = response tokens of all in turn, H = heads, P = pairs

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from models.backbone import LanguageModel
from models.reward import RewardModel
from training.config import RewardConfig
from training.config.reward import Method
from training.data.examples import Example, Pair, Prompt
from training.preferences.agreement import by_people
from training.preferences.comparisons import Preferences, comparisons
from training.reward.held_out import score_differences
from training.reward.kept_teacher import KeptTeacher
from training.reward.normalisation import Demonstrations, centre, normalise
from training.reward.phases import DISTIL, sampling
from training.reward.policy_samples import PolicySamples
from training.reward.scoring import shared_scores
from training.reward.student import Judgements, Student, Taught
from training.reward.trials import PHASES, Fold, Trials
from training.runtime.checkpoint import Checkpoint
from training.runtime.metrics import Measures, mean_of
from training.runtime.optimisation import optimise
from training.runtime.publishing import finish
from training.runtime.run import Run, State
from training.runtime.steps import Steps, Stretch, Take, Work
from training.runtime.throughput import Meter


@dataclass(frozen=True, slots=True)
class _Values:
    """What a checkpoint holds beside tensors."""

    teacher: dict[str, float]
    trials: dict[str, list[float]]


class RewardBuilder:
    """Puts the phases in order: sample the policy, try out ways to learn if that is asked for, learn.

    Steps count through all phases, and a checkpoint holds whatever the phases before it made.
    """

    def __init__(
        self,
        config: RewardConfig,
        run: Run,
        policy: LanguageModel,
        reward_model: RewardModel,
        preferences: Preferences,
        prompts: Sequence[Prompt],
        demonstrations: Demonstrations | None = None,
        *,
        examined: int = 0,
    ) -> None:
        """`examined` pieces of work follow once the model is built, and count as steps."""
        self._examined = examined
        self._config = config
        self._run = run
        self._policy = policy
        self._reward_model = reward_model
        self._preferences = preferences
        self._demonstrations = demonstrations
        self._samples = PolicySamples(config, policy, prompts)
        self._taught = Taught(config, policy, reward_model, self._samples, preferences.validation)
        self._student = Student(config, policy, reward_model, self._samples, self._taught)
        judged = [pair for comparison in comparisons(preferences.train) for pair in comparison.pairs]
        untied = sum(by_people(pair) and pair.preference != 0.5 for pair in preferences.validation)
        self._trials = Trials(config, judged, validation_pairs=untied, can_distil=reward_model.reads_ids_of(policy))
        self.method: Method = self._trials.usual
        meter = Meter(reward_model.model, batch_tokens=config.batch_tokens)
        self._steps = Steps(run, meter, total=0, checkpoint_steps=config.checkpoint_steps)

    def build(self) -> None:
        """Do all that is not done yet; `method` is then the way that was taken."""
        trials, train = self._trials, self._preferences.train
        done = self._restore(self._run.resume())
        sample_steps = self._samples.steps if self._needs_samples() else 0
        tried = sum(self._steps_of(method, fold.train) for fold in trials.folds for method in trials.followed)
        steps = sample_steps + tried + self._examined
        # Which way follows the trials is not known before they end: the longest counts till then.
        self._steps.total = steps + max(self._steps_of(method, train) for method in (self.method, *trials.methods))
        # The samples come before anything that learns: teachers, mismatch and the scores' mean are of all of them.
        if done < sample_steps:
            self._sample(Stretch("sample", 0, done, sample_steps))
        # The teacher stands in for `distil` in all folds, so it is asked before them, and of all labels, not of a
        # fold's: it holds each fold out by itself.
        if trials.wait_for_teacher:
            trials.hear_teacher(self._taught.ask(self._judgements(train)).held_out_P.tolist())
        first = sample_steps
        for fold in trials.folds:
            for method in trials.followed:
                first = self._follow(method, fold.train, first, done, fold)
        if trials.folds:
            self.method = trials.choose()
        # A teacher whom the published model doesn't learn from has no figures in its result.
        if DISTIL not in PHASES[self.method]:
            self._taught.forget()
        self._steps.total = steps + self._steps_of(self.method, train)
        self._follow(self.method, train, first, done)
        if self._examined:  # what takes long, and saves nothing
            last = PHASES[self.method][-1].name
            self._run.keep(self._steps.total - self._examined, last, lambda: self._state(last))
        finish(self._reward_model, self._config, self._config.base or self._config.policy)
        # Last: the mean and deviation are of the weights that are published.
        self._normalise()

    def examining(self) -> Callable[[], None]:
        """To be called after each piece of what follows once the model is built: tells how far it is. Raises
        `Cancelled` if the run was asked to stop."""
        steps = self._steps.timed(self._steps.total - self._examined, self._steps.total + 1)
        step = next(steps)

        def done() -> None:
            nonlocal step
            self._steps.write(step, "examine", {"seconds": mean_of(self._steps.seconds)})
            self._run.stop_if_asked()
            step = next(steps)

        return done

    @property
    def samples(self) -> Sequence[Example]:
        """What the policy wrote, as it reads it; none where nothing took any."""
        return self._samples.drawn

    @property
    def teacher(self) -> KeptTeacher | None:
        """Whom the published model learnt from, if from one alone."""
        return self._taught.kept

    def statistics(self) -> dict[str, object]:
        """Mean and deviation of the raw scores, over what and how many, and what the teacher reached."""
        demonstrated = self._demonstrations
        return {
            "score_mean": self._reward_model.score_mean,
            "score_std": self._reward_model.score_std,
            "normalised_over": self._config.normalise_over,
            "normalised_over_responses": len(self._reference),
            **({"demonstrations_dropped": demonstrated.dropped} if demonstrated else {}),
            "reference_samples": len(self._samples.drawn),
            **self._trials.figures_of(self.method),
            **self._taught.figures,
            **self._trials.to_json(),
        }

    def _follow(self, method: Method, train: Sequence[Pair], first: int, done: int, fold: Fold | None = None) -> int:
        """Learn by the phases of a method from the base's own trunk on, as far as they are not done; returns the step
        after them. In a trial the model is measured where a method ends."""
        # A checkpoint of the very last step was saved before the model was measured: that is made up for below.
        if done > first + self._steps_of(method, train):
            return first + self._steps_of(method, train)
        judgements = self._judgements(train)
        # What a checkpoint within the method restored is half of it already; any other is of a method before.
        if done <= first:
            self._start_over()
        for place, phase in enumerate(PHASES[method], start=1):
            # The optimiser's state, too, is restored within a phase and new at its beginning.
            if done <= first:
                self._student.learner.renew()
            end = first + phase.steps(self._config, judgements.comparisons)
            if done < end:
                name = "trial" if fold else phase.name
                take = optimise(phase.plan(self._student, judgements), self._student.learner)
                self._take(take, Stretch(name, first, max(done, first), end))
            first = end
            # Further on it was measured before the checkpoint, which holds that too, and the model has learnt more.
            if fold is not None and done <= first:
                self._trials.measure(PHASES[method][:place], fold, self._centred_differences)
        return first

    def _start_over(self) -> None:
        self._student.start_over()
        if not self._trials.by_teacher:  # whose teacher heard all labels before the trials
            self._taught.forget()

    def _sample(self, stretch: Stretch) -> None:
        take = sampling(self._policy, self._samples)
        self._steps.take_made(
            stretch,
            self._samples.draw,
            lambda step, drawn: self._told(step, *take(step, drawn)),
            lambda: self._state(stretch.phase),
        )

    def _take(self, take: Take, stretch: Stretch) -> None:
        self._steps.take(stretch, lambda step: self._told(step, *take(step)), lambda: self._state(stretch.phase))

    def _told(self, step: int, measures: Measures, work: Work) -> tuple[Measures, Work]:
        chosen = self._trials.measures() if step == 0 else {}
        return {**measures, **self._taught.measures(), **chosen}, work

    def _normalise(self) -> None:
        raw_B = normalise(
            self._reward_model,
            self._reference,
            keep_zero=self._student.objective.of_cost,
            unit_deviation=self._config.unit_deviation,
        )
        if self._taught.target_NH is None:
            return
        if self._demonstrations:
            raw_B = shared_scores(self._reward_model, [sample.token_ids for sample in self._samples.drawn])
        self._taught.compare(raw_B)

    def _judgements(self, train: Sequence[Pair]) -> Judgements:
        return Judgements.of(self._config, self._reward_model.read_out, train)

    def _centred_differences(self, pairs: Sequence[Pair]) -> list[float]:
        if self._reward_model.read_out.heads > 1:
            centre(self._reward_model, self._reference)
        return score_differences(self._reward_model, pairs, of_cost=self._student.objective.of_cost)

    def _steps_of(self, method: Method, train: Sequence[Pair]) -> int:
        return sum(phase.steps(self._config, comparisons(train)) for phase in PHASES[method])

    def _needs_samples(self) -> bool:
        """Whether anything is learnt from samples of the policy, or normalised over them."""
        phases = {phase for method in (self.method, *self._trials.followed) for phase in PHASES[method]}
        return self._demonstrations is None or any(phase.uses_samples for phase in phases)

    @property
    def _reference(self) -> Sequence[Example]:
        """What scores are normalised over."""
        return self._demonstrations.examples if self._demonstrations else self._student.read_samples

    def _state(self, phase: str) -> State:
        tensors = self._samples.tensors()
        if phase != "sample":
            tensors |= self._student.learner.tensors()
        return tensors | self._taught.tensors(), asdict(_Values(self._taught.figures, self._trials.differences))

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        """How many steps are done."""
        if checkpoint is None:
            return 0
        self._samples.restore(checkpoint.tensors)
        if checkpoint.phase != "sample":
            self._student.learner.restore(checkpoint.tensors)
        values = checkpoint.values_as(_Values)
        self._taught.restore(checkpoint.tensors, values.teacher)
        self._trials.differences = values.trials
        return checkpoint.step
