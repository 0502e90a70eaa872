"""Languages. English is the source; every other language is a gettext catalogue in this folder.

Catalogues are read as text (`de/LC_MESSAGES/messages.po`), so that there is nothing to compile and nothing to forget.
"""

import gettext as gettext_module
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import cast

from babel import Locale, negotiate_locale
from babel.dates import format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import LazyProxy
from starlette.requests import Request

from app.errors import DomainError
from app.phrases import Sentence

FOLDER = Path(__file__).parent
SOURCE = "en"

_current: ContextVar[str] = ContextVar("locale", default=SOURCE)


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """Codes of the languages that pages can be in, English first."""
    return (SOURCE, *sorted(path.parents[1].name for path in FOLDER.glob("*/LC_MESSAGES/messages.po")))


def names() -> dict[str, str]:
    """Locale → its name in its own language, for the menu."""
    return {code: (Locale.parse(code).get_display_name() or code).capitalize() for code in available()}


def of_request(request: Request) -> str:
    """The person's choice, else the best match of what the browser asks for, else English."""
    chosen = request.cookies.get("locale")
    if chosen in available():
        return chosen
    return _negotiated(request.headers.get("accept-language", ""))


def use(locale: str) -> None:
    """Set the language of all that this request says from here on."""
    _current.set(locale)


def current() -> Locale:
    """The language in use, with its rules for numbers, dates and plurals."""
    return Locale.parse(_current.get())


def gettext(message: str) -> str:
    """`message` in the language in use; itself where the catalogue lacks it."""
    return _catalogue(_current.get()).gettext(message)


def translated(error: DomainError) -> str:
    """What went wrong, for a person."""
    said = gettext(error.template)
    return said % error.named if error.named else said


def said(sentence: Sentence) -> str:
    """A sentence in the language in use, its counts with that language's separators."""
    named = {name: format_decimal(value, locale=current()) for name, value in sentence.named.items()}
    return gettext(sentence.template) % named


def lazy(message: str) -> str:
    """`message` for a table of words: looked up each time it is shown. Extracted like gettext's argument."""
    return cast(str, LazyProxy(gettext, message, enable_cache=False))


def ngettext(singular: str, plural: str, number: int) -> str:
    """The form for `number` in the language in use, which may have more than two."""
    return _catalogue(_current.get()).ngettext(singular, plural, number)


def format_ago(age: timedelta) -> str:
    """How long ago, in the language in use: “3 minutes ago”."""
    return format_timedelta(-age, add_direction=True, locale=current())


@lru_cache(maxsize=256)  # browsers differ little, and matching took a tenth of a request
def _negotiated(accepted: str) -> str:
    wanted = [part.split(";")[0].strip() for part in accepted.split(",")[:10]]
    return negotiate_locale([code for code in wanted if code], available(), sep="-") or SOURCE


@lru_cache
def _catalogue(locale: str) -> gettext_module.NullTranslations:
    file = FOLDER / locale / "LC_MESSAGES" / "messages.po"
    if not file.exists():
        return gettext_module.NullTranslations()
    compiled = BytesIO()
    with file.open("rb") as text:
        write_mo(compiled, read_po(text, locale=locale))
    compiled.seek(0)
    return gettext_module.GNUTranslations(compiled)
