"""What people set, checked against a model: what is wrong is said in one line that names the place."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import Invalid

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], what: str) -> Model:
    """Raises Invalid. `what` begins the line: “Round setting seed: Input should be …”."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{what} {'.'.join(map(str, first['loc']))}".rstrip()
        raise Invalid(f"{place}: {first['msg'].removeprefix('Value error, ')}.") from None
