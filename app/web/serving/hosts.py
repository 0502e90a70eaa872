"""Requests for another name than the site's are refused: nothing that we say may be built from a foreign name.

Which names the site has follows from its settings. Where it listens on every address it has each of them as a name,
too, and where nothing else is said of how it is reached, the names that the machine has for itself.
"""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import Settings
from app.web.locales import gettext
from app.web.serving import errors

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared
ANY_ADDRESS = "*"
# Asked by machines that know the process by its address.
FOR_MACHINES = ("/healthz", "/readyz")


def names_of(settings: Settings) -> frozenset[str]:
    """The names that the site has; “*” stands for any address."""
    named = {name.strip().lower() for name in settings.trusted_hosts.split(",") if name.strip()}
    if settings.public_url:
        named.add(urlsplit(settings.public_url).hostname or "")
    if settings.host not in EVERY_ADDRESS:
        return frozenset(named | LOOPBACK | {settings.host.lower()})
    return frozenset(named | LOOPBACK | {ANY_ADDRESS} | (_of_the_machine() if not named else set()))


def _of_the_machine() -> set[str]:
    """As its neighbours call it: its own name, alone and where a home network announces it."""
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"} - {"", ".local"}


class OwnNamesOnly:
    def __init__(self, app: ASGIApp, *, names: frozenset[str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in FOR_MACHINES or self._is_ours(scope):
            await self.app(scope, receive, send)
            return
        said = gettext("This site has another name. Open it by the address that you were given.")
        await errors.respond(Request(scope), 400, "DomainError", said)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        name = _name(Headers(scope=scope).get("host", ""))
        return name in self.names or (ANY_ADDRESS in self.names and _is_address(name))


def _name(host: str) -> str:
    """The name in a Host header, without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
