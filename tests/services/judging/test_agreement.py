"""Coefficients of agreement against published examples, values worked out by hand, and their definitions."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from app.services.judging.agreement import bootstrap, coefficients
from app.services.judging.agreement.units import NOBODY, Meetings, Said

# Fleiss, Psychological Bulletin 76 (1971): here the usual worked example of 14 raters, 10 subjects, 5 categories.
FLEISS = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: 4 observers, 12 units, 0 is missing.
KRIPPENDORFF = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)


def test_published_examples_come_out() -> None:
    rows = [
        (unit, 0, person, category)
        for unit, counts in enumerate(FLEISS)
        for person, category in enumerate(itertools.chain.from_iterable([c] * n for c, n in enumerate(counts)))
    ]
    sums = coefficients.unit_sums(Said.of(rows, 5).comparable()).sum(axis=0)
    assert float(coefficients.per_cent(sums)) == pytest.approx(0.378, abs=5e-4)
    assert float(coefficients.fleiss(sums)) == pytest.approx(0.210, abs=5e-4)

    rows = [
        (unit, 0, person, value - 1)
        for person, values in enumerate(KRIPPENDORFF)
        for unit, value in enumerate(values)
        if value
    ]
    together = coefficients.coincidences(Said.of(rows, 5).comparable()).sum(axis=0)
    assert float(coefficients.alpha_nominal(together)) == pytest.approx(0.743, abs=5e-4)
    assert float(coefficients.alpha_ordinal(together)) == pytest.approx(0.815, abs=5e-4)

    # 50 proposals, read by two: Cohen's kappa by hand is (0.7 - 0.5) / (1 - 0.5).
    assert float(coefficients.cohen(np.array([[20.0, 5.0], [10.0, 15.0]]))) == pytest.approx(0.4)


def test_any_number_of_people_and_of_units_in_a_task_follow_the_definitions() -> None:
    random = np.random.default_rng(5)
    rows = [
        (task, unit, person, int(random.integers(0, 4)))
        for task in range(30)
        for unit in range(int(random.integers(1, 4)))
        for person in random.permutation(6)[: random.integers(1, 6)].tolist()
    ]
    said = Said.of(rows, 4).comparable()
    by_unit = defaultdict(dict)
    for task, unit, person, category in rows:
        by_unit[task, unit][person] = category
    units = [values for values in by_unit.values() if len(values) > 1]

    agreement = [
        np.mean([one == other for one, other in itertools.permutations(values.values(), 2)]) for values in units
    ]
    shares = np.mean([[list(v.values()).count(c) / len(v) for c in range(4)] for v in units], axis=0)
    sums = coefficients.unit_sums(said).sum(axis=0)
    assert float(coefficients.per_cent(sums)) == pytest.approx(np.mean(agreement))
    expected = (np.mean(agreement) - (shares**2).sum()) / (1 - (shares**2).sum())
    assert float(coefficients.fleiss(sums)) == pytest.approx(expected)

    values = [list(v.values()) for v in units]
    pooled = Counter(itertools.chain.from_iterable(values))
    n = sum(pooled.values())

    def ordinal(c: int, k: int) -> float:
        c, k = sorted((c, k))
        return (sum(pooled[g] for g in range(c, k + 1)) - (pooled[c] + pooled[k]) / 2) ** 2 if c != k else 0.0

    together = coefficients.coincidences(said).sum(axis=0)
    for distance, found in (
        (lambda c, k: float(c != k), coefficients.alpha_nominal(together)),
        (ordinal, coefficients.alpha_ordinal(together)),
    ):
        observed = sum(sum(distance(a, b) for a, b in itertools.permutations(v, 2)) / (len(v) - 1) for v in values) / n
        by_chance = sum(pooled[a] * pooled[b] * distance(a, b) for a in range(4) for b in range(4)) / (n * (n - 1))
        assert float(found) == pytest.approx(1 - observed / by_chance)

    meetings = Meetings.of(said)
    tables = defaultdict(lambda: np.zeros((4, 4)))
    for v in units:
        for one, other in itertools.combinations(sorted(v), 2):
            tables[one, other][v[one], v[other]] += 1
    assert set(meetings.people) == set(tables)
    kappas = {pair: (float(coefficients.cohen(table)), table.sum()) for pair, table in tables.items()}
    mean = sum(k * w for k, w in kappas.values() if not math.isnan(k)) / sum(
        w for k, w in kappas.values() if not math.isnan(k)
    )
    assert bootstrap.mean_cohen(meetings, 1).value == pytest.approx(mean)


def test_what_can_t_be_said_is_not_said() -> None:
    same = [(task, 0, person, 1) for task in range(20) for person in range(2)]
    sums = coefficients.unit_sums(Said.of(same, 3).comparable())
    cent, kappa = bootstrap.estimates(sums, [coefficients.per_cent, coefficients.fleiss], 1)
    assert (cent.value, cent.low, cent.high) == (1, 1, 1)
    assert (kappa.value, kappa.low) == (None, None), "chance alone would agree as well"
    assert bootstrap.mean_cohen(Meetings.of(Said.of(same, 3).comparable()), 1).value is None

    few = [(task, 0, person, (task + person) % 2) for task in range(9) for person in range(2)]
    cent = bootstrap.estimates(coefficients.unit_sums(Said.of(few, 2).comparable()), [coefficients.per_cent], 1)[0]
    assert (cent.value, cent.low, cent.high) == (0, None, None), "of nine tasks there is no interval"

    nothing = Said.of([(1, 0, 1, 0), (2, 0, 2, 1)], 2).comparable()
    assert bootstrap.estimates(coefficients.unit_sums(nothing), [coefficients.per_cent], 1)[0].value is None
    assert bootstrap.mean_cohen(Meetings.of(nothing), 1).value is None
    alpha = bootstrap.estimates(coefficients.coincidences(nothing), [coefficients.alpha_nominal], 1)[0]
    assert (alpha.value, alpha.low, alpha.high) == (None, None, None)
    unnamed = Said.of([(1, 0, NOBODY, 0), (1, 0, NOBODY, 1)], 2).comparable()
    assert Meetings.of(unnamed).people == ()


def test_intervals_are_as_wide_as_tasks_and_not_judgements_make_them() -> None:
    """Each task said over three times tells no more than once, and the same seed draws the same."""
    random = np.random.default_rng(2)
    agrees = random.random(200) < 0.7
    once = [(task, 0, person, int(person and not agrees[task])) for task in range(200) for person in range(2)]
    thrice = [(task, unit, person, category) for task, _, person, category in once for unit in range(3)]
    one, three, again = (
        bootstrap.estimates(coefficients.unit_sums(Said.of(rows, 2).comparable()), [coefficients.per_cent], 7)[0]
        for rows in (once, thrice, once)
    )
    assert one == again
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=0.02)
    share, width = agrees.mean(), 1.96 * (0.7 * 0.3 / 200) ** 0.5  # of a proportion, by the normal distribution
    assert (one.low, one.high) == pytest.approx((share - width, share + width), abs=0.015)
    kappa = bootstrap.mean_cohen(Meetings.of(Said.of(once, 2).comparable()), 7)
    assert None not in (kappa.value, kappa.low, kappa.high)
    assert sorted((kappa.low, kappa.value, kappa.high)) == [kappa.low, kappa.value, kappa.high]  # type: ignore[type-var]
