"""A reader of one language, as templates know one."""

from collections.abc import Iterator

import pytest

from app.web import locales


@pytest.fixture(params=locales.available())
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each language in turn, that of whoever reads meanwhile."""
    locales.use(request.param)
    yield request.param
    locales.use(locales.SOURCE)
