"""The site answers by its own names alone, which follow from its settings."""

import socket

import httpx
import pytest

from app.settings import Settings
from tests.sites import new_site

PUBLIC = {"public_url": "https://plumbline.example.org:8443"}
EVERYWHERE = {"host": "0.0.0.0"}  # noqa: S104 - said, not listened on


async def asked(name: str, path: str = "/sign-in", **settings: str) -> httpx.Response:
    app = new_site(Settings.model_validate(settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get(path, headers={"Host": name})


@pytest.mark.parametrize(
    ("settings", "host", "answered"),
    [
        ({}, "localhost:8400", True),
        ({}, "127.0.0.1:9000", True),
        ({}, "[::1]:8400", True),
        ({}, "LocalHost", True),
        ({}, "evil.test", False),
        ({}, "192.0.2.1", False),
        ({}, "", False),
        ({}, "[", False),
        (PUBLIC, "plumbline.example.org", True),
        (PUBLIC, "plumbline.example.org.evil.test", False),
        (PUBLIC, "localhost", True),
        (PUBLIC | EVERYWHERE, "evil.test", False),
        (PUBLIC | EVERYWHERE, "192.0.2.1:8400", True),
        (PUBLIC | EVERYWHERE, "[2001:db8::1]:8400", True),
        (EVERYWHERE, "evil.test", False),
        (EVERYWHERE, "localhost:8400", True),
        (EVERYWHERE, "192.0.2.1:8400", True),
        (EVERYWHERE, f"{socket.gethostname().upper()}:8400", True),
        (EVERYWHERE, f"{socket.gethostname().partition('.')[0]}.local", True),
        (EVERYWHERE | {"trusted_hosts": "plumbline.lan, judge.lan"}, "judge.lan", True),
        (EVERYWHERE | {"trusted_hosts": "plumbline.lan, judge.lan"}, "evil.test", False),
        ({"host": "plumbline.lan"}, "plumbline.lan:8400", True),
    ],
)
async def test_what_is_asked_of_another_name_is_refused(settings: dict[str, str], host: str, answered: bool) -> None:
    answer = await asked(host, **settings)
    assert answer.status_code == (200 if answered else 400)
    assert "evil" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/projects/x", "/projects/x/", "/projects/"])
async def test_nobody_is_sent_to_a_name_that_the_site_does_not_have(path: str) -> None:
    refused = await asked("evil.test", path)
    assert (refused.status_code, refused.headers.get("location")) == (400, None)
    for host in ("localhost", "192.0.2.7"):
        answer = await asked(host, path, **EVERYWHERE)
        assert "://" not in answer.headers.get("location", "")


async def test_who_looks_after_the_process_asks_it_by_any_name() -> None:
    assert (await asked("10.1.2.3:8400", "/healthz")).text == "ok"
