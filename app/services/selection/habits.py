"""How people answer: how often somebody says what is true, and on which side they press when in doubt.

Where the first response of a pair is truly better, a person with reliability eta = sigma(a) and side bias b says “the
first” with the probability sigma(a + b s), else with sigma(-a + b s); s = 1 where it was shown as A, -1 where as B, 0
where nobody knows. Below one half a person says the opposite of what is true, which tells as much. One coin for each
person, with a side: Chen et al. 2013 (Crowd-BT); Raykar et al. 2010.
"""

# V = votes, P = pairs, W = people

from dataclasses import dataclass, replace

import numpy as np

from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.posterior import sigmoid

SIDE_SPREAD = 1.0
"""b ~ N(0, 1): with 0.3 who always presses one side is half believed after sixty votes."""
STEPS = 20
LONGEST_STEP = 1.5
NEGLIGIBLE = 1e-8
Z = 1.959964


@dataclass(frozen=True)
class Prior:
    """Answers that a newcomer has to their credit: the log odds of being right have the density eta^right
    (1 - eta)^wrong."""

    right: float
    wrong: float


TRUSTING = Prior(2.0, 0.1)
"""To learn from: nearly all is right until a few answers say otherwise."""
CAUTIOUS = Prior(7.0, 1.0)
"""To tell of somebody: eta ~ Beta(8, 2), so that few answers make nobody perfect."""


@dataclass(frozen=True)
class Votes:
    """What people said of pairs, oldest first: `choice_V` is 1 for the first response, 0 for the second, ½ for a tie.

    `right_W` and `wrong_W` count answers to gold tasks: there the truth is known.
    """

    person_V: Whole
    pair_V: Whole
    choice_V: Floats
    side_V: Floats
    weight_V: Floats
    right_W: Floats
    wrong_W: Floats

    def __len__(self) -> int:
        return len(self.choice_V)

    @property
    def people(self) -> int:
        return len(self.right_W)

    def decided(self) -> Truths:
        """A tie says that two are alike, and nothing of which is better."""
        decided: Truths = self.choice_V != 0.5
        return decided

    def only(self, kept_V: Truths) -> "Votes":
        """A choice of the votes; people keep their numbers, and what they said of gold."""
        return replace(
            self,
            person_V=self.person_V[kept_V],
            pair_V=self.pair_V[kept_V],
            choice_V=self.choice_V[kept_V],
            side_V=self.side_V[kept_V],
            weight_V=self.weight_V[kept_V],
        )

    def without_gold(self) -> "Votes":
        """Votes of people of whom nothing else is known."""
        none = np.zeros(self.people)
        return replace(self, right_W=none, wrong_W=none)

    def halves(self) -> "Votes":
        """Each person as two, 2w before half of their votes and 2w + 1 after it; without gold, which has no place."""
        order = np.argsort(self.person_V, kind="stable")
        count_W = np.bincount(self.person_V, minlength=self.people)
        place_V = np.empty(len(self), dtype=np.int64)
        place_V[order] = np.arange(len(self)) - np.repeat(np.cumsum(count_W) - count_W, count_W)
        late_V = 2 * place_V >= count_W[self.person_V]
        none = np.zeros(2 * self.people)
        return Votes(
            2 * self.person_V + late_V, self.pair_V, self.choice_V, self.side_V, self.weight_V, none, none.copy()
        )


@dataclass(frozen=True)
class Habits:
    """Log odds of each person: `sure_W` of saying what is true, `side_W` of saying “A” beside that; and the standard
    deviation of each."""

    sure_W: Floats
    side_W: Floats
    sure_deviation_W: Floats
    side_deviation_W: Floats

    @classmethod
    def of_newcomers(cls, people: int, prior: Prior = TRUSTING) -> "Habits":
        usual = np.log(prior.right / prior.wrong)
        none = np.zeros(people)
        return cls(np.full(people, usual), none, none, none)

    def repeated(self, times: int) -> "Habits":
        """Each person so often in a row."""
        return Habits(*(np.repeat(column_W, times) for column_W in vars(self).values()))

    def every(self, step: int, *, start: int) -> "Habits":
        """Only each `step`-th person."""
        return Habits(*(column_W[start::step] for column_W in vars(self).values()))

    def reliability(self) -> Floats:
        """How often each person says what is true where no side draws them."""
        return sigmoid(self.sure_W)

    def bounds(self) -> tuple[Floats, Floats]:
        """The bounds of each person's reliability, 95 %."""
        return (
            sigmoid(self.sure_W - Z * self.sure_deviation_W),
            sigmoid(self.sure_W + Z * self.sure_deviation_W),
        )

    def side(self) -> Floats:
        """Each person's share of A where nothing else decides."""
        return sigmoid(self.side_W)

    def side_bounds(self) -> tuple[Floats, Floats]:
        """The bounds of each person's share of A, 95 %."""
        return (
            sigmoid(self.side_W - Z * self.side_deviation_W),
            sigmoid(self.side_W + Z * self.side_deviation_W),
        )

    def chances(self, votes: Votes) -> tuple[Floats, Floats]:
        """How likely each vote's person says “the first” at its sides: where it is better, and where it isn't."""
        sure_V, leaning_V = self.sure_W[votes.person_V], self.side_W[votes.person_V] * votes.side_V
        return sigmoid(sure_V + leaning_V), sigmoid(leaning_V - sure_V)


def learn_habits(votes: Votes, truth_V: Floats, start: Habits, *, others_V: Floats, prior: Prior = TRUSTING) -> Habits:
    """The likeliest habits given how likely each vote's first response is truly better, by Newton on both at once.

    `others_V` is the same without the vote itself: of what is not known for sure a vote tells less about its person.
    """
    weight_V = votes.weight_V * votes.decided()
    said_V = (votes.choice_V > 0.5).astype(np.float64)
    true_V, false_V = weight_V * truth_V, weight_V * (1 - truth_V)
    right_W, wrong_W = prior.right + votes.right_W, prior.wrong + votes.wrong_W
    habits = start
    for _ in range(STEPS):
        up_V, down_V = habits.chances(votes)
        known_W = habits.reliability()
        up_slope_V, down_slope_V = true_V * (said_V - up_V), false_V * (said_V - down_V)
        sure_slope_W = _by_person(votes, up_slope_V - down_slope_V) + right_W * (1 - known_W) - wrong_W * known_W
        side_slope_W = _by_person(votes, votes.side_V * (up_slope_V + down_slope_V)) - habits.side_W / SIDE_SPREAD**2
        bend_up_V, bend_down_V = true_V * up_V * (1 - up_V), false_V * down_V * (1 - down_V)
        information = _Information(
            _by_person(votes, bend_up_V + bend_down_V) + (right_W + wrong_W) * known_W * (1 - known_W),
            _by_person(votes, votes.side_V * (bend_up_V - bend_down_V)),
            _by_person(votes, votes.side_V**2 * (bend_up_V + bend_down_V)) + 1 / SIDE_SPREAD**2,
        )
        sure_step_W, side_step_W = information.step(sure_slope_W, side_slope_W)
        habits = replace(habits, sure_W=habits.sure_W + sure_step_W, side_W=habits.side_W + side_step_W)
        if max(np.abs(sure_step_W).max(initial=0), np.abs(side_step_W).max(initial=0)) < NEGLIGIBLE:
            break
    return _with_deviations(votes, habits, others_V, prior)


def _with_deviations(votes: Votes, habits: Habits, others_V: Floats, prior: Prior) -> Habits:
    """Fisher's information of what was said, the truth being unknown but for all other votes (chance q):
    P(first) = q sigma(a + b s) + (1 - q) sigma(-a + b s)."""
    up_V, down_V = habits.chances(votes)
    first_V = others_V * up_V + (1 - others_V) * down_V
    bend_up_V, bend_down_V = others_V * up_V * (1 - up_V), (1 - others_V) * down_V * (1 - down_V)
    by_sure_V, by_side_V = bend_up_V - bend_down_V, votes.side_V * (bend_up_V + bend_down_V)
    told_V = votes.weight_V * votes.decided() / (first_V * (1 - first_V))
    known_W, known = habits.reliability(), prior.right + prior.wrong + votes.right_W + votes.wrong_W
    information = _Information(
        _by_person(votes, told_V * by_sure_V**2) + known * known_W * (1 - known_W),
        _by_person(votes, told_V * by_sure_V * by_side_V),
        _by_person(votes, told_V * by_side_V**2) + 1 / SIDE_SPREAD**2,
    )
    sure_deviation_W, side_deviation_W = information.deviations()
    return replace(habits, sure_deviation_W=sure_deviation_W, side_deviation_W=side_deviation_W)


@dataclass(frozen=True)
class _Information:
    """Of each person about both of their habits, and about the two together."""

    sure_W: Floats
    both_W: Floats
    side_W: Floats

    def _determinant(self) -> Floats:
        return np.maximum(self.sure_W * self.side_W - self.both_W**2, NEGLIGIBLE)

    def step(self, sure_slope_W: Floats, side_slope_W: Floats) -> tuple[Floats, Floats]:
        """Newton's, of no more than may be trusted."""
        sure_W = (self.side_W * sure_slope_W - self.both_W * side_slope_W) / self._determinant()
        side_W = (self.sure_W * side_slope_W - self.both_W * sure_slope_W) / self._determinant()
        return np.clip(sure_W, -LONGEST_STEP, LONGEST_STEP), np.clip(side_W, -LONGEST_STEP, LONGEST_STEP)

    def deviations(self) -> tuple[Floats, Floats]:
        return np.sqrt(self.side_W / self._determinant()), np.sqrt(self.sure_W / self._determinant())


def _by_person(votes: Votes, value_V: Floats) -> Floats:
    summed: Floats = np.bincount(votes.person_V, value_V, minlength=votes.people).astype(np.float64)
    return summed
