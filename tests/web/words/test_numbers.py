"""Numbers and times as templates write them: no more digits than they carry, in the reader's language."""

from datetime import UTC, datetime

import pytest

from app.web.rendering.render import environment

# The signs of a language: between thousands, before decimals.
SIGNS = {"en": ",.", "de": ".,", "es": ".,", "fr": "\u202f,", "zh": ",.", "ar": ",."}


def written(value: object, form: str) -> str:
    """What a page shows of `value`; blanks that don't break are blanks."""
    return environment().from_string("{{ value|" + form + " }}").render(value=value).replace("\xa0", " ")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (0.0, "0"),
        (1234.5678, "1,235"),
        (123_456, "123,456"),
        (12.345, "12.3"),
        (9.999, "10"),
        (0.9996, "1"),
        (0.012345, "0.0123"),
        (-0.5, "-0.5"),
        (-1234.5, "-1,234"),
        (0.0001, "0.0001"),
        (0.00009, "9.00e-5"),
        (-0.000012, "-1.20e-5"),
        (2.0, "2"),
        (True, "1"),
    ],
)
def test_a_figure_has_three_digits_that_mean_something(value: float, said: str) -> None:
    assert written(value, "number") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(-0.4, "-0.40"), (12.346, "12.35"), (0.001, "0.00"), (-0.001, "0.00"), (1234, "1,234.00")],
)
def test_figures_beside_each_other_have_as_many_decimals(value: float, said: str) -> None:
    assert written(value, "fixed") == said


@pytest.mark.parametrize("form", ["number", "fixed", "share", "clock"])
def test_what_was_not_measured_is_a_dash_in_every_form(form: str) -> None:
    assert written(None, form) == "–"


@pytest.mark.parametrize("form", ["number", "fixed", "share"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_a_dash_and_breaks_no_page(form: str, value: float) -> None:
    assert written(value, form) == "–"


def test_times_that_are_not_there_are_nothing() -> None:
    assert [written(None, form) for form in ("duration", "moment", "ago")] == ["", "", ""]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0%"),
        (0.0004, "0.1%"),
        (0.0123, "1.2%"),
        (0.0199, "2%"),
        (0.02, "2%"),
        (0.0249, "2%"),
        (0.505, "50%"),
        (0.742, "74%"),
        (0.9799, "98%"),
        (0.98, "98%"),
        (0.985, "98.5%"),
        (0.9996, "99.9%"),
        (1, "100%"),
        (1.84, "184%"),
    ],
)
def test_a_share_has_a_decimal_only_near_its_ends(value: float, said: str) -> None:
    assert written(value, "share") == said


@pytest.mark.parametrize(
    ("value", "bound", "form", "said"),
    [
        (5.2, 5, "beside", "5.2 5"),
        (5.0004, 5, "beside", "5.0004 5"),
        (4.99996, 5, "beside", "4.99996 5"),
        (0.1, 0.05, "share_beside", "10% 5%"),
        (0.0504, 0.05, "share_beside", "5.04% 5%"),
        (0.050004, 0.05, "share_beside", "5.0004% 5%"),
        (None, 0.05, "share_beside", "– 5%"),
    ],
)
def test_a_figure_never_looks_like_the_bound_that_it_passed(
    value: float | None, bound: float, form: str, said: str
) -> None:
    assert written(value, f"{form}({bound})|join(' ')") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "1 second"),
        (0.2, "1 second"),
        (48, "48 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (170, "3 minutes"),
        (89 * 60, "89 minutes"),
        (5400, "2 hours"),
        (35 * 3600, "35 hours"),
        (36 * 3600, "2 days"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_that_tells_enough(seconds: float, said: str) -> None:
    assert written(seconds, "duration") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0:00"),
        (48, "0:48"),
        (59.6, "1:00"),
        (725, "12:05"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90061, "25:01:01"),
    ],
)
def test_a_clock_has_hours_once_there_is_one(seconds: float, said: str) -> None:
    assert written(seconds, "clock") == said


def test_numbers_have_the_signs_of_the_readers_language(language: str) -> None:
    thousands, decimals = SIGNS[language]
    assert written(1_234_567, "count") == f"1{thousands}234{thousands}567"
    assert written(12_345.6, "number") == f"12{thousands}346"
    assert written(0.375, "number") == f"0{decimals}375"
    assert written(0.985, "share") == f"98{decimals}5%"
    assert written(725, "clock") == "12:05"


@pytest.mark.parametrize(
    ("language", "seconds", "at", "ago"),
    [
        ("en", "48 seconds", "22 Nov 2026, 09:41 UTC", "ago"),
        ("de", "48 Sekunden", "22 Nov. 2026, 09:41 UTC", "vor"),
        ("es", "48 segundos", "22 nov 2026, 09:41 UTC", "hace"),
        ("fr", "48 secondes", "22 nov. 2026, 09:41 UTC", "il y a"),
        ("zh", "48秒钟", "09:41 UTC", "前"),
        ("ar", "48 ثانية", "22 نوفمبر 2026, 09:41 UTC", "قبل"),
    ],
    indirect=["language"],
)
def test_times_are_told_in_the_readers_language(language: str, seconds: str, at: str, ago: str) -> None:
    assert written(48, "duration") == seconds
    assert at in written(datetime(2026, 11, 22, 9, 41, tzinfo=UTC), "moment")
    assert ago in written(datetime(2026, 1, 1, tzinfo=UTC), "ago")


@pytest.mark.parametrize(
    ("title", "within"),
    [("Mean cost", "mean cost"), ("KL to the reference", "KL to the reference"), ("λ, the price", "λ, the price")],
)
def test_a_title_within_a_sentence_starts_small_unless_it_is_an_abbreviation(title: str, within: str) -> None:
    assert written(title, "lower_first") == within


@pytest.mark.parametrize(("value", "said"), [(0, "0"), (2.4, "2"), (2.6, "3"), (1234.5, "1,234"), (1235.5, "1,236")])
def test_a_count_is_whole(value: float, said: str) -> None:
    assert written(value, "count") == said
