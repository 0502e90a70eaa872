"""Languages: what the catalogue holds is what people read."""

import re
from collections.abc import Iterable
from io import BytesIO, TextIOWrapper
from typing import cast

import httpx
import pytest
from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from fastapi import FastAPI

from app.errors import Invalid, NotFound
from app.services.judging.answers import Answer
from app.settings import Settings
from app.web import locales
from app.web.locales.extraction import domain_messages, setting_refusals
from app.web.rendering.render import ROOT
from app.web.words import choices
from tests.sites import new_site
from tests.web.conftest import HOST, client_of

Message = str | tuple[str, ...]
LANGUAGES = [code for code in locales.available() if code != locales.SOURCE]


@pytest.fixture
def client() -> httpx.AsyncClient:
    app: FastAPI = new_site(Settings(trusted_hosts=HOST))
    return client_of(app)


def test_six_languages_are_there() -> None:
    assert sorted(locales.available()) == ["ar", "de", "en", "es", "fr", "zh"]


async def test_every_language_is_offered_by_its_own_name(client: httpx.AsyncClient) -> None:
    page = await client.get("/sign-in")
    offered = re.findall(r'name="locale" value="\w+" lang="(\w+)" aria-pressed="\w+">([^<]+)<', page.text)
    assert sorted(name for _, name in offered) == ["Deutsch", "English", "Español", "Français", "العربية", "中文"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("de-CH, en;q=0.5", "de"),
        ("es-MX, en;q=0.5", "es"),
        ("fr-CA", "fr"),
        ("zh-CN, zh;q=0.9, en;q=0.8", "zh"),
        ("zh-Hans-SG", "zh"),
        ("ar-EG, en;q=0.5", "ar"),
        ("pt, en", "en"),
        ("", "en"),
        ("*;;=,", "en"),
    ],
)
async def test_the_browser_chooses_the_language(client: httpx.AsyncClient, asked: str, found: str) -> None:
    page = await client.get("/sign-in", headers={"Accept-Language": asked})
    assert f'<html lang="{found}"' in page.text


@pytest.mark.parametrize("language", locales.available())
async def test_a_page_runs_as_its_language_does(client: httpx.AsyncClient, language: str) -> None:
    page = await client.get("/sign-in", headers={"Accept-Language": language})
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}"' in page.text


async def test_the_person_chooses_over_the_browser(client: httpx.AsyncClient) -> None:
    client.cookies.set("locale", "de")
    page = await client.get("/sign-in", headers={"Accept-Language": "en"})
    assert "Anmelden" in page.text
    assert "Sign in" not in page.text


@pytest.mark.parametrize("language", LANGUAGES)
async def test_errors_are_told_in_the_same_language(client: httpx.AsyncClient, language: str) -> None:
    page = await client.get("/nowhere", headers={"Accept-Language": language})
    assert _translations(language)[str(NotFound())] in page.text
    assert _translations(language)["Go to the start page"] in page.text


@pytest.fixture(scope="module")
def marked() -> set[Message]:
    """What templates and code mark for translation, found as `make catalogues` finds it."""
    mapping = BytesIO((locales.FOLDER / "babel.cfg").read_bytes())
    methods, options = parse_mapping_cfg(TextIOWrapper(mapping))
    keywords = {**DEFAULT_KEYWORDS, "lazy": None}
    found = extract_from_dir(ROOT, methods, options, keywords=keywords)
    messages = {message for _, _, message, _, _ in found}
    assert len(messages) > 600
    return messages


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_string_for_people_is_translated(language: str, marked: set[Message]) -> None:
    whole = [ids for ids, strings in _entries(language) if all(strings)]
    translated = {_key(ids) for ids in whole} | {ids[0] for ids in whole}  # a plural's entry has its singular too
    assert marked - translated == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_catalogue_holds_what_nobody_says(language: str, marked: set[Message]) -> None:
    assert {_key(ids) for ids, _ in _entries(language)} - marked == set()


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "A choice is a whole number from 1 to 7."), ("de", "Eine Wahl ist eine ganze Zahl von 1 bis 7.")],
)
def test_an_error_with_a_number_in_it_is_told_in_the_readers_language(language: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        Answer(choice=8)
    assert str(refused.value) == "A choice is a whole number from 1 to 7."
    try:
        locales.use(language)
        assert locales.translated(refused.value) == said
    finally:
        locales.use(locales.SOURCE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_scales_are_translated(language: str) -> None:
    scale = [choice for name in ("seven", "eight") for choice in choices.SCALES[name]]
    words = {str(said) for choice in scale for said in (choice.word, choice.sentence)}
    assert "A much better" in words
    assert words - _translations(language).keys() == set()


@pytest.mark.parametrize(("language", "forms"), [("ar", 6), ("de", 2), ("es", 2), ("fr", 2), ("zh", 1)])
def test_plurals_have_the_forms_of_the_language(language: str, forms: int) -> None:
    assert _catalogue(language).num_plurals == forms
    plurals = [strings for ids, strings in _entries(language) if len(ids) == 2]
    assert plurals
    assert all(len(strings) == forms and all(strings) for strings in plurals)


@pytest.mark.parametrize(
    ("language", "turns"),
    [
        ("ar", {1: "مداخلة سابقة واحدة", 2: "مداخلتان سابقتان", 3: "3 مداخلات سابقة", 11: "11 مداخلة سابقة"}),
        ("es", {0: "0 intervenciones anteriores", 1: "1 intervención anterior", 2: "2 intervenciones anteriores"}),
        ("fr", {0: "0 tour précédent", 1: "1 tour précédent", 2: "2 tours précédents"}),
        ("zh", {1: "之前的 1 轮对话", 2: "之前的 2 轮对话"}),
    ],
)
def test_numbers_choose_their_form(language: str, turns: dict[int, str]) -> None:
    earlier = ("%(num)s earlier turn", "%(num)s earlier turns")
    try:
        locales.use(language)
        said = {number: locales.ngettext(*earlier, number) % {"num": number} for number in turns}
    finally:
        locales.use(locales.SOURCE)
    assert said == turns


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_the_places_of_what_is_filled_in(language: str) -> None:
    places = re.compile(r"%\(\w+\)s")
    for ids, strings in _entries(language):
        wanted = set(places.findall(ids[-1]))
        # A form for one or two may say the number in words; the last form holds for every number.
        assert set(places.findall(strings[-1])) == wanted, ids
        assert all(set(places.findall(string)) <= wanted for string in strings), ids


def test_messages_of_errors_are_collected_where_they_are_raised() -> None:
    source = b'''
WRONG = "That was wrong."
KIND = "policy"
DESCRIPTION = "What a project says of itself."
class Lost(NotFound):
    """It is lost."""
def look():
    """Raises Lost."""
    raise Lost("Gone for good.", name=KIND)
def sign_in():
    raise NotSignedIn(WRONG)
class LeaseLost(Exception):
    """For programs."""
'''
    found = [message for _, _, message, _ in domain_messages(BytesIO(source), [], [], {})]
    assert sorted(found) == ["Gone for good.", "It is lost.", "That was wrong."]


def test_every_reason_why_a_stage_refuses_settings_is_collected() -> None:
    sources = [file.read_bytes() for file in sorted((ROOT / "training" / "config").glob("*.py"))]
    raised = sum(source.count(b"raise ConfigError(") for source in sources)
    assert sum(len(list(setting_refusals(BytesIO(source), [], [], {}))) for source in sources) == raised > 30


def _catalogue(language: str) -> Catalog:
    file = locales.FOLDER / language / "LC_MESSAGES" / "messages.po"
    return read_po(BytesIO(file.read_bytes()), locale=language)


def _entries(language: str) -> list[tuple[list[str], list[str]]]:
    """The message (of plurals: singular and plural) and its translation (of plurals: every form)."""
    return [(_listed(message.id), _listed(message.string)) for message in _catalogue(language) if message.id]


def _key(ids: list[str]) -> Message:
    """As an extractor gives it."""
    return ids[0] if len(ids) == 1 else tuple(ids)


def _listed(text: object) -> list[str]:
    return [text] if isinstance(text, str) else [str(form) for form in cast(Iterable[object], text)]


def _translations(language: str) -> dict[str, str]:
    return {ids[0]: strings[0] for ids, strings in _entries(language) if strings[0]}
