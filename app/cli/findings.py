"""What `plumbline doctor` finds on this machine: the settings, the disk, and who may read what."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from app.figures_server import WEB_PROCESSES
from app.services import cluster
from app.services.disk import existing
from app.services.places.storage import SCHEMES
from app.services.published import standing
from app.services.served.keys import FILE as KEY_FILE
from app.settings import Settings

NO_SPACE_BYTES = 1 << 30
LITTLE_SPACE_BYTES = 5 << 30
OTHERS = 0o077
WRITTEN_BY_OTHERS = 0o022


@dataclass(frozen=True)
class Finding:
    """Something that isn't as it should be, and how to mend it. A problem keeps Plumbline from its work or its
    promises; a warning may be meant.
    """

    level: Literal["problem", "warning"]
    what: str
    mend: str


def of_machine(settings: Settings) -> Iterator[Finding]:
    """Everything that can be seen without the database."""
    yield from _libraries(settings)
    yield from _storage(settings)
    yield from _disk(settings.home, settings.disk_reserve_bytes)
    yield from _permissions(settings)
    yield from _addresses(settings)
    yield from _ports(settings)
    if settings.ray_url is not None:
        yield from _cluster(settings.ray_url, settings.ray_token_file)


def _libraries(settings: Settings) -> Iterator[Finding]:
    if settings.training_python is not None:
        if shutil.which(settings.training_python) is None:
            what = f"PLUMBLINE_TRAINING_PYTHON is {settings.training_python}, and no program is there."
            yield Finding("problem", what, "Name the interpreter of an environment with torch.")
    elif "training" in settings.queues:
        for package in ("torch", "transformers"):
            try:
                version(package)
            except PackageNotFoundError:
                mend = "Run `make run`, or let this worker do short steps alone by PLUMBLINE_QUEUES=steps."
                yield Finding("problem", f"{package} is missing, which training processes need.", mend)
    if (settings.backup_to or "").startswith(SCHEMES) and find_spec("obstore") is None:
        what = "PLUMBLINE_BACKUP_TO is a storage and obstore isn't installed."
        yield Finding("problem", what, "pip install 'plumbline[storage]', or name a folder.")
    if settings.storage_url is not None and find_spec("obstore") is None:
        what = "PLUMBLINE_STORAGE_URL is set and obstore isn't installed."
        yield Finding("problem", what, "pip install 'plumbline[storage]', or unset it.")
    if settings.traces_endpoint is not None and find_spec("opentelemetry.sdk") is None:
        what = "PLUMBLINE_TRACES_ENDPOINT is set and OpenTelemetry isn't installed."
        yield Finding("problem", what, "pip install 'plumbline[traces]', or unset it.")


def _storage(settings: Settings) -> Iterator[Finding]:
    found = standing.look() if find_spec("obstore") else None
    if found is not None and found.state == "away":
        what = f"The storage {found.called} can't be used: {found.reason}."
        mend = "Look after the storage, its credentials and PLUMBLINE_STORAGE_URL; runs that need it wait."
        yield Finding("problem", what, mend)
    elif found is not None and found.state == "disobedient":
        what = f"The storage {found.called} doesn't obey If-None-Match: it would let a model be overwritten."
        yield Finding("problem", what, "Take another one, or unset PLUMBLINE_STORAGE_URL. Nothing is put into it.")


def _disk(home: Path, reserve_bytes: int) -> Iterator[Finding]:
    free = shutil.disk_usage(existing(home)).free
    mend = "Make room, or remove runs and archived models that nobody needs: training and imports write here."
    if free < reserve_bytes:
        what = f"{free / 1e9:.1f} GB are free where {home} is, and PLUMBLINE_DISK_RESERVE_MEGABYTES keeps "
        yield Finding("problem", f"{what}{reserve_bytes / 1e9:g} GB: training and imports wait.", mend)
    elif free < NO_SPACE_BYTES:
        yield Finding("problem", f"{free / 1e9:.1f} GB are free where {home} is.", mend)
    elif free < LITTLE_SPACE_BYTES:
        yield Finding("warning", f"{free / 1e9:.1f} GB are free where {home} is.", mend)


def _permissions(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    place = existing(home)
    if not os.access(place, os.W_OK | os.X_OK):
        mend = f"Give it to the account that Plumbline runs as: chown -R ACCOUNT {home}."
        yield Finding("problem", f"{place} can't be written to by this account.", mend)
    if home.exists() and home.stat().st_mode & WRITTEN_BY_OTHERS:
        mend = f"chmod go-w {home}: whoever can write there can put models and files of their own in."
        yield Finding("problem", f"Others can write to {home}.", mend)
    key = settings.secret_key_file or home / KEY_FILE
    if settings.secret_key_file is not None and not key.exists():
        mend = "Put the key there, or unset it. Without it keys of served models can't be read."
        yield Finding("problem", f"PLUMBLINE_SECRET_KEY_FILE is {key}, and no file is there.", mend)
    if key.exists() and key.stat().st_mode & OTHERS:
        yield Finding(
            "problem", f"Others can read {key}.", f"chmod 600 {key}, and give the keys of served models anew."
        )
    for folder in settings.allowed_model_folders:
        if not Path(folder).is_dir():
            mend = "Make it, or take it out of PLUMBLINE_MODEL_FOLDERS."
            yield Finding("warning", f"{folder} of PLUMBLINE_MODEL_FOLDERS isn't there.", mend)


def _addresses(settings: Settings) -> Iterator[Finding]:
    url = urlsplit(settings.site_url)
    secure, local = url.scheme == "https", _is_local(url.hostname or "")
    listens_to_all = not _is_local(settings.host)
    proxy = "Put a proxy with TLS in front (docs/operations.md) and set PLUMBLINE_PUBLIC_URL=https://… by it."
    if not secure and not local:
        what = f"People reach the site at {settings.site_url}: their passwords and sessions go in clear."
        yield Finding("problem", what, proxy)
    elif not secure and listens_to_all:
        what = f"The site listens on {settings.host} without TLS: from another machine passwords would go in clear."
        mend = f"PLUMBLINE_HOST=127.0.0.1, unless something else keeps others out (a container's port). {proxy}"
        yield Finding("warning", what, mend)
    if secure and not settings.trusted_proxies:
        what = "The site is reached by HTTPS and no proxy is trusted: everybody has the proxy's address."
        mend = "PLUMBLINE_TRUSTED_PROXIES=127.0.0.1, or the address that the proxy comes from."
        yield Finding("warning", what, mend)
    if "*" in settings.trusted_proxies and listens_to_all:
        what = "Anybody's X-Forwarded headers are believed: who counts tries to sign in can be told any address."
        yield Finding("problem", what, "Name the proxy's address in PLUMBLINE_TRUSTED_PROXIES.")
    if settings.metrics_port is not None and not _is_local(settings.metrics_host):
        what = f"Figures are told on {settings.metrics_host} to whoever asks, without a password."
        yield Finding("warning", what, "PLUMBLINE_METRICS_HOST=127.0.0.1, or keep others out by a firewall.")
    for variable, address in (("DATABASE_URL", settings.database_url), ("PLUMBLINE_POOLER_URL", settings.pooler_url)):
        if address is not None:
            yield from _database_address(address, variable)


def _database_address(address: str, variable: str = "DATABASE_URL") -> Iterator[Finding]:
    url = urlsplit(address)
    if url.hostname and "." in url.hostname and not _is_local(url.hostname) and "sslmode=" not in url.query:
        what = f"The database is on {url.hostname}, and nothing says that the connection has to be encrypted."
        yield Finding("warning", what, f"Add ?sslmode=verify-full (or require) to {variable}.")


def _ports(settings: Settings) -> Iterator[Finding]:
    first = settings.metrics_port
    if first is not None and first <= settings.port <= first + WEB_PROCESSES:
        what = f"Port {settings.port} of the site is among those of its figures, {first} to {first + WEB_PROCESSES}."
        yield Finding("problem", what, "Choose another PLUMBLINE_METRICS_PORT.")


def _cluster(url: str, token_file: Path | None) -> Iterator[Finding]:
    found = asyncio.run(cluster.standing(url))
    if found == "open":
        what = "The Ray cluster answers without a token: anybody who reaches it can run programs there."
        yield Finding("problem", what, "Start it with token authentication (docs/operations.md); runs wait until then.")
    elif found == "away":
        what = f"No Ray cluster answers at {url}."
        yield Finding("problem", what, "Start its head, or unset PLUMBLINE_RAY_URL: runs wait for it.")
    address = urlsplit(url)
    if address.scheme == "http" and not _is_local(address.hostname or ""):
        what = f"The token of the Ray cluster goes to {address.hostname} in clear."
        yield Finding("warning", what, "Put TLS in front of its head, or keep others off the network between.")
    if token_file is None or not token_file.is_file():
        what = "PLUMBLINE_RAY_URL is set, and PLUMBLINE_RAY_TOKEN_FILE names no file."
        yield Finding("problem", what, "Put the cluster's token into a file that this account alone can read.")
    elif token_file.stat().st_mode & OTHERS:
        mend = f"chmod 600 {token_file}, and have the cluster make another token."
        yield Finding("problem", f"Others can read {token_file}.", mend)


def _is_local(host: str) -> bool:
    if host in {"localhost", ""}:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
