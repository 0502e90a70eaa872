"""Ways to learn from few labels, and which of them suits the labels at hand.

Every way is measured on training pairs whose prompts it did not learn from. The pairs that judge the published model
take no part, or its accuracy would be that of the luckiest.
"""

# P = pairs

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from training.config import InputError, RewardConfig
from training.config.reward import Method
from training.data.examples import Pair
from training.preferences.agreement import Agreement, accuracy_difference, agreement, cross_validated_figures
from training.preferences.folds import prompt_folds
from training.preferences.intervals import Z_95
from training.reward.phases import DISTIL, FINETUNE, GENTLE, MISMATCH, Phase
from training.reward.teacher import FOLDS, teacher_seed
from training.runtime.metrics import Measures, mean_of
from training.runtime.seeds import derived_seed

PHASES: Mapping[Method, tuple[Phase, ...]] = {
    "distil": (DISTIL,),
    "distil_finetune": (DISTIL, GENTLE),
    "finetune": (FINETUNE,),
    "mismatch_finetune": (MISMATCH, FINETUNE),
}
# What cross-validation follows: `distil` is measured on the way of `distil_finetune`.
TRIALS: tuple[Method, ...] = ("distil_finetune", "finetune", "mismatch_finetune")
# What `auto` does: `distil` is measured by its teacher, which holds every pair out as it is.
BRIEF_TRIALS: tuple[Method, ...] = ("finetune",)


@dataclass(frozen=True, slots=True)
class Fold:
    """Pairs to learn from and pairs to measure on, of different prompts."""

    number: int
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    held_out_rows: tuple[int, ...]
    """Where those stand among all pairs."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way's accuracy on the held-out pairs of all folds, and its lead over the usual way."""

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    lead: float
    lead_standard_error: float


def usual_method(config: RewardConfig, train_pairs: int, *, can_distil: bool = True) -> Method:
    """The way to learn that is kept unless another is clearly better."""
    if config.method != "auto" and config.method != "cross_validated":
        return config.method
    return "distil" if can_distil and train_pairs < config.distil_below_pairs else "finetune"


def folds_of(pairs: Sequence[Pair], folds: int, seed: int) -> list[Fold]:
    """The pairs in `folds` parts, each held out once; those of one prompt stay together."""
    fold_P = prompt_folds([pair.a for pair in pairs], folds, seed).tolist()
    return [
        Fold(
            number,
            tuple(pair for pair, fold in zip(pairs, fold_P, strict=True) if fold != number),
            tuple(pair for pair, fold in zip(pairs, fold_P, strict=True) if fold == number),
            tuple(row for row, fold in enumerate(fold_P) if fold == number),
        )
        for number in range(folds)
    ]


class Trials:
    """How well each way did on the folds, as far as it was tried; without folds there is nothing to try.

    `cross_validated` tries all ways. `auto` tries fine-tuning where it would distil, on the teacher's own folds; where
    those need more prompts than were judged it doesn't. A way that no teacher stands in for is tried alone where
    `cross_validate_below_pairs` asks for its figures.
    """

    def __init__(
        self, config: RewardConfig, pairs: Sequence[Pair], *, validation_pairs: int = 0, can_distil: bool = True
    ) -> None:
        """`validation_pairs` are those without ties. Raises `InputError` where all ways are to be tried on too few
        prompts."""
        self.usual = usual_method(config, len(pairs), can_distil=can_distil)
        self.folds: list[Fold] = []
        self.methods: list[Method] = []
        self.followed: list[Method] = []
        self.candidates: dict[Method, Candidate] = {}
        self._measured: dict[Method, Agreement] = {}
        self.differences: dict[str, list[float]] = {}
        """Of the held-out pairs' scores, by method and fold: all that a checkpoint has to hold."""
        prompts = len({pair.a.prompt_id for pair in pairs})
        self.by_teacher = config.method == "auto" and self.usual == "distil" and prompts >= FOLDS
        """Whether the teacher stands in for `distil`."""
        if config.method == "cross_validated":
            if prompts < config.folds:
                raise InputError(
                    f"cross_validated: {config.folds} folds need as many prompts, and {prompts} were judged"
                )
            self.folds = folds_of(pairs, config.folds, derived_seed(config.seed, "trials"))
            self.methods = [method for method, phases in PHASES.items() if can_distil or DISTIL not in phases]
            self.followed = [method for method in TRIALS if method in self.methods]
        elif self.by_teacher:
            self.folds = folds_of(pairs, FOLDS, teacher_seed(config))
            self.methods = ["distil", *BRIEF_TRIALS]
            self.followed = list(BRIEF_TRIALS)
        elif validation_pairs < config.cross_validate_below_pairs and DISTIL not in PHASES[self.usual] and prompts > 1:
            self.folds = folds_of(pairs, min(config.folds, prompts), derived_seed(config.seed, "trials"))
            if len(pairs) >= config.distil_below_pairs:
                del self.folds[1:]  # of so many pairs one fold tells enough
            self.methods = self.followed = [self.usual]

    @property
    def wait_for_teacher(self) -> bool:
        """Whether `hear_teacher` is due."""
        return self.by_teacher and _key("distil", self.folds[0]) not in self.differences

    def hear_teacher(self, differences: Sequence[float]) -> None:
        """Take score differences of all pairs in turn, each by a teacher that had not seen its fold."""
        for fold in self.folds:
            self.differences[_key("distil", fold)] = [differences[row] for row in fold.held_out_rows]

    def measure(self, phases: tuple[Phase, ...], fold: Fold, score: Callable[[Sequence[Pair]], list[float]]) -> None:
        """Have the fold's held-out pairs scored, if these phases are a way and not measured yet."""
        for method, those in PHASES.items():
            if those == phases and _key(method, fold) not in self.differences:
                self.differences[_key(method, fold)] = score(fold.held_out)

    def choose(self) -> Method:
        """The most accurate among the ways that lead the usual one by more than a standard error, else the usual one:
        after the one-standard-error rule of Breiman et al. 1984, section 3.4.3."""
        held_out = [pair for fold in self.folds for pair in fold.held_out]
        self._measured = {method: agreement(held_out, self._held_out_differences(method)) for method in self.methods}
        usual = self._measured[self.usual]
        if usual.accuracy is None:  # of training pairs with a side all are machines'
            return self.usual
        self.candidates = {method: _candidate(agreed, usual) for method, agreed in self._measured.items()}
        better = [method for method, found in self.candidates.items() if found.lead > found.lead_standard_error]
        return max(better, key=lambda method: self.candidates[method].accuracy, default=self.usual)

    def measures(self) -> Measures:
        """Each way's accuracy, once one is chosen."""
        return {f"{method}_accuracy": mean_of(found.accuracy) for method, found in self.candidates.items()}

    def to_json(self) -> dict[str, object]:
        if not self.candidates:
            return {}
        methods = {method: asdict(candidate) for method, candidate in self.candidates.items()}
        return {"cross_validation": {"folds": len(self.folds), "usual": self.usual, "methods": methods}}

    def figures_of(self, method: Method) -> dict[str, float]:
        """What held-out training pairs said of the way, if it was tried."""
        measured = self._measured.get(method)
        return cross_validated_figures(measured) if measured else {}

    def _held_out_differences(self, method: Method) -> list[float]:
        return [difference for fold in self.folds for difference in self.differences[_key(method, fold)]]


def _key(method: Method, fold: Fold) -> str:
    return f"{method} {fold.number}"


def _candidate(agreed: Agreement, usual: Agreement) -> Candidate:
    lead = accuracy_difference(agreed, usual)
    assert agreed.accuracy is not None
    assert lead is not None  # some training pair is judged, and every pair is held out once
    error = (lead.high - lead.low) / (2 * Z_95)
    return Candidate(agreed.accuracy.mean, agreed.accuracy.low, agreed.accuracy.high, lead.mean, error)
