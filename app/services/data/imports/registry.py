"""The formats that there are. A new one is a file beside this one and a row here: the command line offers what it
finds."""

from app.services.data.imports import hh_rlhf, trl_demonstrations
from app.services.data.imports.format import AnyFormat

FORMATS: tuple[AnyFormat, ...] = (hh_rlhf.FORMAT, trl_demonstrations.FORMAT)


def named(name: str) -> AnyFormat:
    return next(form for form in FORMATS if form.name == name)
