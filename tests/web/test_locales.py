"""Languages: what the catalogue holds is what people read."""

import re
from io import BytesIO

import httpx
import pytest
from babel.messages.pofile import read_po
from fastapi import FastAPI

from app.settings import Settings
from app.web import choices, locales
from app.web.locales.extraction import domain_messages
from app.web.main import create_app
from app.web.render import TEMPLATES
from tests.web.conftest import client_of

# The pages that every annotator sees are whole in every language; others may still fall back to English.
WHOLE = ["base.html", "_menu.html", "_toast.html", "error.html", "home.html", "auth/*.html", "annotate/*.html"]
LANGUAGES = [code for code in locales.available() if code != locales.SOURCE]


@pytest.fixture
def client() -> httpx.AsyncClient:
    app: FastAPI = create_app(Settings())
    return client_of(app)


def test_german_is_there() -> None:
    assert "de" in LANGUAGES


@pytest.mark.parametrize(("asked", "found"), [("de-CH, en;q=0.5", "de"), ("fr, en", "en"), ("", "en"), ("*;;=,", "en")])
async def test_the_browser_chooses_the_language(client: httpx.AsyncClient, asked: str, found: str) -> None:
    page = await client.get("/sign-in", headers={"Accept-Language": asked})
    assert f'<html lang="{found}"' in page.text


async def test_the_person_chooses_over_the_browser(client: httpx.AsyncClient) -> None:
    client.cookies.set("locale", "de")
    page = await client.get("/sign-in", headers={"Accept-Language": "en"})
    assert "Anmelden" in page.text
    assert "Sign in" not in page.text


async def test_errors_are_told_in_the_same_language(client: httpx.AsyncClient) -> None:
    page = await client.get("/nowhere", headers={"Accept-Language": "de"})
    assert "Hier ist nichts, oder du hast keinen Zugriff darauf." in page.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_string_of_the_annotators_pages_is_translated(language: str) -> None:
    catalogue = _catalogue(language)
    pattern = re.compile(r'\b(?:_|ngettext)\(\s*(["\'])(.+?)\1')
    pages = [page for glob in WHOLE for page in TEMPLATES.glob(glob)]
    messages = {message for page in pages for _, message in pattern.findall(page.read_text())}
    assert len(messages) > 50
    assert {message for message in messages if not catalogue.get(message)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_scale_is_translated(language: str) -> None:
    try:
        locales.use(language)
        translated = [str(choice.word) for choice in choices.SCALES["seven"]]
    finally:
        locales.use(locales.SOURCE)
    assert translated != [str(choice.word) for choice in choices.SCALES["seven"]]
    assert str(choices.SCALES["seven"][0].word) == "A much better"


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_the_places_of_what_is_filled_in(language: str) -> None:
    places = re.compile(r"%\(\w+\)s")
    for message, translated in _catalogue(language).items():
        assert set(places.findall(translated)) <= set(places.findall(message)), message


def test_messages_of_errors_are_collected_where_they_are_raised() -> None:
    source = b'''
WRONG = "That was wrong."
KIND = "policy"
class Lost(NotFound):
    """It is lost."""
def look():
    """Raises Lost."""
    raise Lost("Gone for good.")
'''
    found = [message for _, _, message, _ in domain_messages(BytesIO(source), [], [], {})]
    assert sorted(found) == ["Gone for good.", "It is lost.", "That was wrong."]


def _catalogue(language: str) -> dict[str, str]:
    file = locales.FOLDER / language / "LC_MESSAGES" / "messages.po"
    catalogue: dict[str, str] = {}
    for message in read_po(BytesIO(file.read_bytes()), locale=language):
        singular = message.id if isinstance(message.id, str) else message.id[0]
        translated = message.string if isinstance(message.string, str) else (message.string or [""])[0]
        catalogue[singular] = translated
    catalogue.pop("", None)
    return catalogue
