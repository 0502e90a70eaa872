"""Where a served model may be: nothing that only this machine can reach, in whatever words it is written."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.certificates import trusted
from app.errors import Invalid
from app.services.served import addresses
from app.services.served.addresses import Unreachable
from app.services.served.client import Client, Endpoint
from app.services.served.protocol import NoAnswer, Refused
from app.services.served.settings import Limits, Sampling
from tests.served_endpoint import Reply, ServedEndpoint, endpoint
from training.records import Message

__all__ = ["endpoint"]

LOOPBACK = (ip_network("127.0.0.0/8"),)
PROMPT = [Message("user", "How do I boil an egg?")]


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> list[str]:
    """A resolver that gives these answers in turn, the last one for ever; the names that it was asked for."""
    asked: list[str] = []

    async def look_up(_: object, host: str, port: int, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "0.0.0.0",  # noqa: S104 - asked for, not bound to
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
async def test_what_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(Invalid, match="isn't a public address"):
        await addresses.resolve(addresses.tidy(f"https://{host}/v1"), allowed=())


async def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["10.0.0.7"])
    with pytest.raises(Invalid, match=r"models\.example isn't a public address"):
        await addresses.resolve("https://models.example/v1", allowed=())


async def test_of_several_addresses_only_a_public_one_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["127.0.0.1", "93.184.215.14"])
    place = await addresses.resolve("https://models.example/v1", allowed=())
    assert place.path("/chat/completions") == "https://93.184.215.14:443/v1/chat/completions"
    assert (place.host, place.host_header) == ("models.example", "models.example")


async def test_a_name_that_nobody_knows_is_said_to_be_unknown() -> None:
    with pytest.raises(Unreachable, match="isn't known"):
        await addresses.resolve("https://nowhere.invalid/v1", allowed=())


@pytest.mark.parametrize("typed", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://example.org", "example.org/v1",
                                   "https://", "https:///v1", "https://a b/", "https://exa\nmple.org", "http://[::1",
                                   "https://example.org\\@127.0.0.1/", "https://example.org:99999/v1"])  # fmt: skip
def test_only_addresses_of_the_web_are_addresses(typed: str) -> None:
    with pytest.raises(Invalid, match="looks like https://"):
        addresses.tidy(typed)


@pytest.mark.parametrize(
    "typed", ["https://me:secret@example.org/v1", "https://example.org/v1?key=1", "https://e.org/#x"]
)
def test_nothing_secret_or_odd_hides_in_an_address(typed: str) -> None:
    with pytest.raises(Invalid):
        addresses.tidy(typed)


def test_what_manuals_show_behind_an_address_is_left_out() -> None:
    kept = "https://example.org/v1"
    assert {addresses.tidy(kept + more) for more in ("", "/", "/chat/completions", "/completions/")} == {kept}


async def test_http_is_for_networks_that_the_installation_allows() -> None:
    with pytest.raises(Invalid, match="by https"):
        await addresses.resolve("http://93.184.215.14/v1", allowed=LOOPBACK)
    assert (await addresses.resolve("http://127.0.0.1:8000/v1", allowed=LOOPBACK)).port == 8000


async def test_an_allowed_network_lets_in_what_is_in_it_and_nothing_else() -> None:
    await addresses.resolve("https://[::ffff:127.0.0.1]/v1", allowed=LOOPBACK)
    for host in ("10.0.0.1", "169.254.169.254", "[::1]"):
        with pytest.raises(Invalid, match="isn't a public address"):
            await addresses.resolve(f"https://{host}/v1", allowed=LOOPBACK)


async def test_a_redirect_is_not_followed(endpoint: ServedEndpoint) -> None:
    endpoint.reply = lambda _: Reply(302, headers={"Location": f"http://127.0.0.1:{endpoint.port}/admin"})
    async with client(endpoint.address) as asking:
        with pytest.raises(Refused, match="sends to another address"):
            await asking.ask(PROMPT)
    assert [asked.path for asked in endpoint.asked] == ["/v1/chat/completions"]


async def test_a_name_is_resolved_once_and_what_it_leads_to_later_changes_nothing(
    endpoint: ServedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    async with client(f"http://models.example:{endpoint.port}/v1") as asking:
        for _ in range(3):
            await asking.ask(PROMPT)
    assert asked == ["models.example"]
    assert {request.headers["host"] for request in endpoint.asked} == {f"models.example:{endpoint.port}"}


async def test_a_name_that_is_resolved_anew_after_a_failure_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.served.client.BACK_OFF_SECONDS", 0.0)
    nobody = closed_port()
    resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    async with client(f"http://models.example:{nobody}/v1", retries=3) as asking:
        with pytest.raises(Invalid, match="isn't a public address"):
            await asking.ask(PROMPT)


async def test_no_proxy_of_the_environment_gets_between(
    endpoint: ServedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    async with client(endpoint.address) as asking:
        assert (await asking.ask(PROMPT)).text


@pytest.mark.parametrize(("name", "is_believed"), [("models.example", True), ("other.example", False)])
async def test_the_certificate_has_to_be_for_the_name_although_a_number_is_connected_to(
    name: str, is_believed: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = ServedEndpoint()
    endpoint.speak_tls(certificate)
    resolving(monkeypatch, ["127.0.0.1"])
    with endpoint.serving():
        async with client(f"https://{name}:{endpoint.port}/v1") as asking:
            if is_believed:
                assert (await asking.ask(PROMPT)).text
            else:
                with pytest.raises(NoAnswer, match=r"not valid for 'other\.example'"):
                    await asking.ask(PROMPT)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Certificate and key for models.example, by an authority that this machine believes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "models.example")])
    names = [x509.DNSName(host) for host in ("models.example", "localhost")]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "models.example.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    trusted.cache_clear()
    yield file
    trusted.cache_clear()


def client(address: str, *, retries: int = 0) -> Client:
    limits = Limits(retries=retries, timeout_seconds=30)
    return Client(Endpoint(address, "m", "chat", None, Sampling(), limits, LOOPBACK))


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
