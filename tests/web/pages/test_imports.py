"""A file that isn't recognised, read as its owner says."""

import re
from secrets import token_hex

import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Conflict
from app.services.data.storing import uploads
from app.services.loop.chores import importing
from tests.factories import make_member, make_project
from tests.web.conftest import SignIn

TABLE = "Nr;Frage;Antwort alt;Antwort neu\n1;How do I dry sage?;Hang it.;Boil it.\n"


async def test_a_table_of_unknown_columns_is_read_by_choosing_them_and_no_choice_is_lost(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project = await make_project(db)
    browser = await sign_in(await make_member(db, project, "owner"))
    await db.commit()
    page = f"/projects/{project.slug}/imports"
    place = (await browser.post(page, files={"file": ("fragen.csv", TABLE)})).headers["location"]
    assert "The columns of the file: Nr, Frage, Antwort alt, Antwort neu." in (await browser.get(place)).text
    named = await browser.post(f"{place}/reading", data={"format": "responses"})
    assert named.status_code == 422
    assert "needs a column for prompt" in named.text
    assert 'name="column-response_2"' in named.text, "the fields of the format are there to be chosen"
    chosen = {"format": "responses", "shown": "responses", "column-response_1": "Antwort alt"}
    partly = await browser.post(f"{place}/reading", data=chosen)
    assert partly.status_code == 422
    assert re.search(r'id="column-response_1".*?<option selected>Antwort alt<', partly.text, re.DOTALL)
    whole = {**chosen, "column-prompt": "Frage", "column-response_2": "Antwort neu"}
    assert (await browser.post(f"{place}/reading", data=whole)).headers["location"] == place
    shown = (await browser.get(place)).text
    assert "Hang it." in shown
    assert "Not read: Nr." in shown
    nothing = (await browser.post(page, data={"text": "hello there\nthis is no row"})).headers["location"]
    shown = (await browser.get(nothing)).text
    assert "No row of it can be read." in shown
    assert 'name="format"' not in shown
    refused = await browser.post(f"{nothing}/reading", data={"format": "prompts"})
    assert (refused.status_code, "pasted.txt holds no row." in refused.text) == (422, True)


async def test_of_a_file_that_no_row_tells_of_nothing_stays(
    app: FastAPI, db: AsyncSession, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Conflict("Not now.")

    project = await make_project(db)
    browser = await sign_in(await make_member(db, project, "owner"))
    folder = f"imports/{token_hex(8)}"
    monkeypatch.setattr(uploads, "new_folder", lambda: folder)
    monkeypatch.setattr(importing, "start", refuse)
    answer = await browser.post(f"/projects/{project.slug}/imports", files={"file": ("a.csv", "prompt\nWhich?\n")})
    assert answer.status_code == 409
    assert not (app.state.settings.home / folder).exists()
