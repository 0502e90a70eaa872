"""Numbers in the sentences of gates: never written so that they seem to lie on another side of their bound."""

from decimal import Context, Decimal, localcontext

MOST_DECIMALS = 20
# Room for every digit of the largest float and those after its point.
EVERY_DIGIT = Context(prec=400)


def beside(figure: float, bound: float, *, decimals: int, percent: bool = False) -> str:
    """The figure with so many decimals, or with more where it would else be read as equal to the bound or beyond it."""
    with localcontext(EVERY_DIGIT):
        exact, limit = _decimal(figure, percent), _decimal(bound, percent)
        for places in range(decimals, MOST_DECIMALS):
            shown = round(exact, places)
            if (shown > limit, shown < limit) == (exact > limit, exact < limit):
                return _text(shown, percent)
        return _text(exact, percent)


def exactly(bound: float, *, percent: bool = False) -> str:
    """A bound with all of its digits and no more."""
    return _text(_decimal(bound, percent).normalize(), percent)


def _decimal(value: float, percent: bool) -> Decimal:
    # By its shortest text: 0.29 is meant, not the binary number next to it.
    return Decimal(repr(float(value))) * (100 if percent else 1)


def _text(value: Decimal, percent: bool) -> str:
    return f"{value:f}%" if percent else f"{value:f}"
