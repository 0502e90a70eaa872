"""Coming in by link or password, and going out."""

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.services import accounts
from tests.factories import make_member, make_project, make_user, principal
from tests.web.conftest import HOST, SITE, SignIn


@pytest.fixture
async def ada(db: AsyncSession) -> User:
    user = await accounts.create_user(db, name="Ada", email="ada@example.org", password="correct horse")
    await db.commit()
    return user


async def test_a_link_shows_a_page_with_one_button_and_is_not_used_up_by_looking(
    client: httpx.AsyncClient, db: AsyncSession, ada: User
) -> None:
    link = await accounts.create_sign_in_link(db, ada.id)
    await db.commit()
    for _ in range(2):
        shown = await client.get(f"/sign-in/link/{link}")
        assert "Sign in as Ada" in shown.text
        assert "set-cookie" not in shown.headers
    signed_in = await client.post(f"/sign-in/link/{link}")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    assert "in no project yet" in (await client.get("/", follow_redirects=True)).text


async def test_a_link_works_once(client: httpx.AsyncClient, db: AsyncSession, ada: User) -> None:
    link = await accounts.create_sign_in_link(db, ada.id)
    await db.commit()
    await client.post(f"/sign-in/link/{link}")
    client.cookies.clear()
    assert (await client.get(f"/sign-in/link/{link}")).status_code == 404
    assert (await client.post(f"/sign-in/link/{link}")).status_code == 404
    assert (await client.get("/")).headers["location"] == "/sign-in"


async def test_a_password_signs_in_and_leads_where_the_person_was_going(client: httpx.AsyncClient, ada: User) -> None:
    asked = await client.get("/projects/bread/annotate?assignment=3")
    assert asked.headers["location"] == "/sign-in?next=/projects/bread/annotate%3Fassignment%3D3"
    form = await client.get(asked.headers["location"])
    assert 'value="/projects/bread/annotate?assignment=3"' in form.text
    data = {"email": "ADA@example.org", "password": "correct horse", "next": "/projects/bread/annotate?assignment=3"}
    answer = await client.post("/sign-in", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, "/projects/bread/annotate?assignment=3")
    assert "HttpOnly" in answer.headers["set-cookie"]


async def test_a_wrong_password_and_an_unknown_address_read_the_same(client: httpx.AsyncClient, ada: User) -> None:
    wrong = await client.post("/sign-in", data={"email": "ada@example.org", "password": "wrong"})
    unknown = await client.post("/sign-in", data={"email": "eve@example.org", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("ada@", "") == unknown.text.replace("eve@", "")
    assert 'value="ada@example.org"' in wrong.text


async def test_the_eleventh_try_is_refused_even_with_the_right_password(client: httpx.AsyncClient, ada: User) -> None:
    for _ in range(10):
        await client.post("/sign-in", data={"email": "ada@example.org", "password": "wrong"})
    answer = await client.post("/sign-in", data={"email": "ada@example.org", "password": "correct horse"})
    assert answer.status_code == 429
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.test/", "//elsewhere.test", "/\\elsewhere.test", "/\n/x"])
async def test_signing_in_never_leads_to_another_site(client: httpx.AsyncClient, ada: User, elsewhere: str) -> None:
    data = {"email": "ada@example.org", "password": "correct horse", "next": elsewhere}
    assert (await client.post("/sign-in", data=data)).headers["location"] == "/"


async def test_signing_out_ends_the_session_on_the_server(sign_in: SignIn, db: AsyncSession) -> None:
    client = await sign_in(principal(await make_user(db)))
    stolen = client.cookies["session"]
    answer = await client.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert "session" not in client.cookies
    client.cookies.set("session", stolen, domain=HOST)
    assert (await client.get("/")).headers["location"] == "/sign-in"


async def test_a_form_sent_after_the_session_ended_says_so(client: httpx.AsyncClient) -> None:
    plain = await client.post("/projects/bread/assignments/1/judgement", data={"choice": "1"})
    assert plain.status_code == 401
    assert "Sign in" in plain.text
    headers = {"HX-Request": "true", "HX-Current-URL": f"{SITE}/projects/bread/annotate"}
    scripted = await client.post("/projects/bread/assignments/1/judgement", headers=headers)
    assert scripted.status_code == 401
    assert scripted.headers["hx-redirect"] == "/sign-in?next=/projects/bread/annotate"


async def test_home_leads_an_annotator_of_one_project_to_work(sign_in: SignIn, db: AsyncSession) -> None:
    project = await make_project(db)
    client = await sign_in(await make_member(db, project))
    assert (await client.get("/")).headers["location"] == f"/projects/{project.slug}/annotate"


async def test_home_leads_an_admin_to_the_projects(sign_in: SignIn, db: AsyncSession) -> None:
    client = await sign_in(principal(await make_user(db, is_admin=True)))
    assert (await client.get("/")).headers["location"] == "/projects"


async def test_home_tells_whoever_is_in_no_project_what_will_happen(sign_in: SignIn, db: AsyncSession) -> None:
    client = await sign_in(principal(await make_user(db)))
    assert "You are in no project yet" in (await client.get("/", follow_redirects=True)).text


async def test_preferences_are_kept_in_this_browser(client: httpx.AsyncClient) -> None:
    answer = await client.post("/preferences", data={"theme": "dark", "back": "/sign-in"})
    assert answer.headers["location"] == "/sign-in"
    assert 'data-theme="dark"' in (await client.get("/sign-in")).text
    await client.post("/preferences", data={"theme": "auto"})
    assert "data-theme" not in (await client.get("/sign-in")).text
