"""Every setting of the application, read once from the environment. docs/settings.md is the same list for people.

A leaf: imports nothing of the application, so that the first thing a command does is to refuse a bad environment.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "PLUMBLINE_"
# By which programs find a site: whoever works with one may have them in every shell.
OF_CLIENTS = frozenset({"PLUMBLINE_URL", "PLUMBLINE_TOKEN"})
_ON_THIS_MACHINE = {("http", "127.0.0.1"), ("http", "localhost")}

ProjectCreation = Literal["admins", "everybody"]


class SettingsError(ValueError):
    """The environment holds a setting that can't be used; the message is one line."""


class Settings(BaseModel):
    """Made by `load_settings`, which turns every mistake into one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Annotated[Path, Field(description="The one folder of all data: database, models, datasets, runs, logs.")] = (
        Path(".plumbline")
    )
    host: Annotated[str, Field(description="Address that the web server listens on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port that the web server listens on.")] = 8400
    web_processes: Annotated[
        int,
        Field(
            ge=1,
            le=4,
            description="Processes that serve the site, each some 120 MB and up to 21 connections to the database.",
        ),
    ] = 1
    public_url: Annotated[
        str | None,
        Field(
            description="How people reach the site, `https://example.org`; unset: `http://HOST:PORT`. Passkeys are "
            "bound to its name."
        ),
    ] = None
    database_url: Annotated[
        str | None,
        Field(
            description="A PostgreSQL 15 or newer, `postgresql://user:password@host/name`; unset: the embedded server.",
        ),
    ] = None
    pooler_url: Annotated[
        str | None,
        Field(
            description="A pooler of connections in front of that PostgreSQL, in transaction mode, which web processes "
            "ask by: docs/scaling.md; unset: they ask by DATABASE_URL, as all else does."
        ),
    ] = None
    secure_cookies: Annotated[
        bool | None,
        Field(description="Cookies only over HTTPS; unset: where the public URL begins with `https://`."),
    ] = None
    oidc_issuer: Annotated[
        str | None,
        Field(
            description="An OpenID Connect provider by which people may sign in, `https://id.example.org`; unset: "
            "none. Needs `pip install 'plumbline[oidc]'`."
        ),
    ] = None
    oidc_client_id: Annotated[
        str, Field(description="What the provider calls this site; its address there is `…/sign-in/oidc/callback`.")
    ] = "plumbline"
    oidc_client_secret_file: Annotated[
        Path | None,
        Field(description="File with the secret that the provider gave; unset: a public client, by PKCE alone."),
    ] = None
    oidc_name: Annotated[
        str, Field(description="What people call the provider, on the sign-in page; empty: the name of its host.")
    ] = ""
    oidc_scopes: Annotated[str, Field(description="What is asked of the provider.")] = "openid profile email"
    oidc_groups_claim: Annotated[
        str,
        Field(
            description="Claim with the names of somebody's groups: they are in groups of this site that have the same "
            "name, and in the roles that these give."
        ),
    ] = "groups"
    oidc_admin_group: Annotated[
        str,
        Field(description="Group of the claim whose people are admins, and those of the provider outside it are none."),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Field(description="Addresses, separated by commas, whose X-Forwarded headers are believed; empty: nobody's."),
    ] = ""
    private_addresses: Annotated[
        str,
        Field(
            description="Networks, separated by commas, in which served models and receivers of webhooks may be "
            "although they aren't public, `127.0.0.0/8,10.0.0.0/8`; there alone HTTP without TLS is allowed; empty: "
            "none."
        ),
    ] = ""
    secret_key_file: Annotated[
        Path | None,
        Field(
            description="File with the key that keys of served models and secrets of webhooks are encrypted by; "
            "unset: `secret.key` in the home, made at first need."
        ),
    ] = None
    trusted_hosts: Annotated[
        str,
        Field(
            description="Names, separated by commas, by which the site may be reached besides that of its public URL, "
            "`localhost` and its own address; requests for any other name are refused. Where it listens on every "
            "address, any of them will do, and with neither a public URL nor this the machine's own name."
        ),
    ] = ""
    header_kilobytes: Annotated[
        int,
        Field(ge=4, le=1024, description="How long the head of a request may be, its address and cookies included."),
    ] = 32
    header_seconds: Annotated[
        float, Field(gt=0, description="How long a client may take to send the head of a request.")
    ] = 20
    body_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="How long a client may be slow to send the rest of a request: in each such time it has to "
            "bring 1 kB a second.",
        ),
    ] = 30
    client_connections: Annotated[
        int,
        Field(
            ge=8,
            description="Connections that one address may have to each process of the site; those of trusted proxies, "
            "which are many people's, aren't counted. Idle ones make room first.",
        ),
    ] = 512
    requests_per_minute: Annotated[
        int,
        Field(
            ge=0,
            description="Requests that one person may make, by pages and tokens together, and one address without a "
            "sign-in; half of them may come at once. Each process of the site serves its share. 0: no limit.",
        ),
    ] = 1_200
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="How much the site's server says in its log.")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="Lines of logs for people, `text`, or for programs, `json`.")
    ] = "text"
    starter: Annotated[bool, Field(description="Create the starter project on the first start.")] = True
    starter_model: Annotated[
        str | None,
        Field(
            description="A Hugging Face causal language model, directory or hub id, that is the starter's first policy "
            "as it is, without training; unset: a small one is trained from scratch."
        ),
    ] = None
    starter_seed: Annotated[
        int, Field(ge=0, description="Seed of the starter project: its texts, its tasks and every run of its rounds.")
    ] = 0
    upload_megabytes: Annotated[
        int, Field(ge=1, description="The largest file that may be uploaded, in MB; the command line knows no limit.")
    ] = 2_000
    project_creation: Annotated[
        ProjectCreation,
        Field(description="Who may make projects: `admins` of the site, or `everybody` who is signed in."),
    ] = "admins"
    model_folders: Annotated[
        str,
        Field(
            description="Folders, separated by `:`, from which owners of projects may take models by path; empty: "
            "admins alone name paths. Models of the Hugging Face cache may be named by everybody."
        ),
    ] = ""
    reward_functions: Annotated[
        str,
        Field(
            description="Functions of Python, `module:function` separated by commas, that projects may name as rules "
            "of PPO's reward; empty: none. The training process has to find the module."
        ),
    ] = ""
    assignment_lease_seconds: Annotated[
        int, Field(ge=30, description="How long a task is reserved for the person who has it on screen.")
    ] = 600
    queues: Annotated[
        Literal["training,steps", "training", "steps"],
        Field(description="What this worker works on: `training` needs torch and most of a machine, `steps` neither."),
    ] = "training,steps"
    run_lease_seconds: Annotated[
        float, Field(ge=2, description="How long a worker may be silent before its run is given to another.")
    ] = 30
    run_attempts: Annotated[
        int, Field(ge=1, description="How many times a run is taken up again before it counts as failed.")
    ] = 3
    run_retry_seconds: Annotated[
        float,
        Field(
            ge=0,
            description="How long a run that broke waits for its second attempt; twice that for its third, and at most "
            "32 times that.",
        ),
    ] = 10
    run_hang_minutes: Annotated[
        float,
        Field(
            ge=0,
            description="How long a training run may tell no step before its process is ended as one that hangs, which "
            "counts as an attempt: well above the longest step, loading included; 0: as long as it likes.",
        ),
    ] = 0
    disk_reserve_megabytes: Annotated[
        int,
        Field(
            ge=0,
            description="Room on the disk of the home, in MB, that is kept free: with less, training and imports wait.",
        ),
    ] = 1_000
    cancel_grace_seconds: Annotated[
        float, Field(ge=1, description="How long a cancelled training process may take to write its checkpoint.")
    ] = 20
    training_threads: Annotated[
        int | None, Field(ge=1, description="CPU threads of a training process; unset: the number of cores.")
    ] = None
    training_processes: Annotated[
        int,
        Field(
            ge=1,
            description="Processes that share the work of a training run on this machine, which must have as many "
            "cores (with a GPU: as many GPUs); a stage's setting `processes` goes before it. Each holds the models.",
        ),
    ] = 1
    push_to: Annotated[
        str,
        Field(
            description="Where owners may push models to, separated by commas: folders, storages "
            "(`s3://BUCKET/FOLDER`) and owners on a hub (`hf://OWNER`). Credentials are those of the worker's "
            "environment."
        ),
    ] = ""
    hub_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$", description="The hub that `hf://` names.")] = (
        "https://huggingface.co"
    )
    backup_to: Annotated[
        str | None,
        Field(
            description="A folder or storage (`s3://BUCKET/FOLDER`) that the worker backs everything up to; unset: "
            "nobody does unless by `plumbline backup`."
        ),
    ] = None
    backup_hours: Annotated[float, Field(ge=1, description="How old the last backup gets before the next is made.")] = (
        24
    )
    backups_kept: Annotated[
        int, Field(ge=1, description="How many backups stay in the folder or storage; older ones are removed.")
    ] = 14
    storage_url: Annotated[
        str | None,
        Field(
            pattern=r"^(s3|gs|az)://[^\s]+$",
            description="A storage (`s3://BUCKET/FOLDER`) that holds published models and dataset versions; the home "
            "has copies of them. Every process of the site needs its credentials; unset: the home alone.",
        ),
    ] = None
    storage_cache_megabytes: Annotated[
        int,
        Field(
            ge=0,
            description="How much room the copies in a home take, in MB; those used longest ago make room, those in "
            "use stay.",
        ),
    ] = 50_000
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|cuda(:[0-9]+)?|mps)$",
            description="Where training processes compute: `cpu`, `cuda`, `cuda:1` or `mps`; `auto`: the first device "
            "of CUDA where there is one, else the CPU.",
        ),
    ] = "auto"
    memory_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            description="Memory that a training process may take: one that can't fit is refused, and one that takes "
            "more on the CPU all the same ends, once; unset: what is free.",
        ),
    ] = None
    training_python: Annotated[
        str | None,
        Field(description="Python interpreter with torch that runs `python -m training`; unset: the worker's own."),
    ] = None
    training_environment: Annotated[
        str,
        Field(
            description="Variables, separated by commas, that training processes get of the worker's environment "
            "besides what computing needs, `HF_TOKEN`; what opens the database or holds a secret they don't get by "
            "themselves."
        ),
    ] = ""
    ray_url: Annotated[
        str | None,
        Field(
            description="A Ray cluster that training stages run on, `https://ray.example.org:8265`, which has to ask "
            "for a token; unset: they run beside their worker."
        ),
    ] = None
    ray_token_file: Annotated[
        Path | None,
        Field(description="File with the cluster's token, which no other account may read."),
    ] = None
    ray_stages: Annotated[
        str,
        Field(
            description="The stages that run on the cluster, separated by commas, `ppo,dpo`; empty: all that train, "
            "write or measure by a model."
        ),
    ] = ""
    ray_runs: Annotated[
        int,
        Field(ge=1, description="Runs that a worker has on the cluster at once; one where some stages run beside it."),
    ] = 4
    ray_cpus: Annotated[
        int,
        Field(
            ge=1,
            description="Cores that a run asks the cluster for, as many at least as it has processes; threads are as "
            "many as this, unless told, and its processes share them.",
        ),
    ] = 1
    ray_gpus: Annotated[
        int,
        Field(
            ge=0,
            description="GPUs that a run asks the cluster for, if any, as many at least as it has processes.",
        ),
    ] = 0
    cluster_patience_seconds: Annotated[
        float,
        Field(
            ge=1,
            description="How long a cluster that doesn't answer is waited for before a run goes back to the queue.",
        ),
    ] = 300
    metrics_port: Annotated[
        int | None,
        Field(
            ge=1,
            le=65531,
            description="Port of the worker's figures for Prometheus, `/metrics`; web processes take the four ports "
            "after it; unset: none are told.",
        ),
    ] = None
    metrics_host: Annotated[
        str, Field(description="Address that figures for Prometheus are told at; nothing asks for a password there.")
    ] = "127.0.0.1"
    traces_endpoint: Annotated[
        str | None,
        Field(
            description="Where traces of requests and runs are sent by OTLP over HTTP, `http://localhost:4318`; needs "
            "`plumbline[traces]`; unset: nowhere."
        ),
    ] = None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("starter_model")
    @classmethod
    def _absolute_where_it_is_a_folder(cls, location: str | None) -> str | None:
        folder = Path(location or "").expanduser()
        return str(folder.absolute()) if location and folder.is_dir() else location

    @field_validator("push_to")
    @classmethod
    def _places(cls, text: str) -> str:
        for address in _listed(text):
            if "://" not in address and not address.startswith("/"):
                raise ValueError(f"{address} is neither an address nor a folder from / on")
        return text

    @field_validator("backup_to")
    @classmethod
    def _absolute_unless_a_storage(cls, address: str | None) -> str | None:
        return address if address is None or "://" in address else str(Path(address).expanduser().absolute())

    @field_validator("public_url", "traces_endpoint", "ray_url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url.rstrip("/") if url else None

    @field_validator("oidc_issuer")
    @classmethod
    def _over_https(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://")
        if parts.scheme != "https" and (parts.scheme, parts.hostname) not in _ON_THIS_MACHINE:
            raise ValueError("must start with https://")
        return url

    @field_validator("private_addresses")
    @classmethod
    def _networks(cls, listed: str) -> str:
        _parsed(listed)
        return listed

    @property
    def private_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `private_addresses`."""
        return _parsed(self.private_addresses)

    @property
    def training_variables(self) -> tuple[str, ...]:
        """Names of the variables that training processes get besides what computing needs."""
        return tuple(name.strip() for name in self.training_environment.split(",") if name.strip())

    @property
    def ray_stage_names(self) -> tuple[str, ...]:
        """The stages that are to run on the cluster; none: all that can."""
        return _listed(self.ray_stages)

    @property
    def upload_bytes(self) -> int:
        """The largest file that may be uploaded."""
        return self.upload_megabytes * 1_000_000

    @property
    def disk_reserve_bytes(self) -> int:
        """What is kept free on the disk of the home."""
        return self.disk_reserve_megabytes * 1_000_000

    @property
    def storage_cache_bytes(self) -> int:
        """How much room copies of what is in the storage take."""
        return self.storage_cache_megabytes * 1_000_000

    @property
    def push_places(self) -> tuple[str, ...]:
        """Where models may be pushed to."""
        return _listed(self.push_to)

    @property
    def allowed_model_folders(self) -> tuple[str, ...]:
        """Folders from which people who are no admins may take models by path."""
        return tuple(folder for folder in self.model_folders.split(":") if folder.strip())

    @property
    def has_secure_cookies(self) -> bool:
        """Whether browsers send our cookies over HTTPS alone, and remember that the site is reached by nothing else."""
        if self.secure_cookies is None:
            return self.site_url.startswith("https://")
        return self.secure_cookies

    @property
    def site_url(self) -> str:
        """The address that people are told, without a slash at the end."""
        host = "localhost" if self.host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else self.host  # noqa: S104 - compared
        return self.public_url or f"http://{host}:{self.port}"


def _parsed(listed: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network.strip()) for network in listed.split(",") if network.strip())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment. Raises SettingsError, naming every unknown or unusable variable."""
    fields = variables()
    foreign = {name for name in environment if name.startswith(PREFIX)} - fields.keys() - OF_CLIENTS
    unknown = [_unknown(name) for name in sorted(foreign)]
    if unknown:
        raise SettingsError("; ".join(unknown))
    # Compose files and shells write "unset" as an empty value.
    given = {field: environment[name] for name, field in fields.items() if environment.get(name, "").strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("; ".join(_unusable(mistake) for mistake in error.errors())) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read at first use."""
    return load_settings()


def variables() -> dict[str, str]:
    """Environment variable → field of Settings, in the order of the class."""
    return {_variable(field): field for field in Settings.model_fields}


def _variable(field: str) -> str:
    return "DATABASE_URL" if field == "database_url" else PREFIX + field.upper()


def _unknown(name: str) -> str:
    nearest = get_close_matches(name, variables(), n=1, cutoff=0.0)[0]
    return f"{name} is not a setting of Plumbline; the nearest is {nearest}"


def _unusable(mistake: "ErrorDetails") -> str:
    return f"{_variable(str(mistake['loc'][0]))}={mistake['input']!r} can't be used: {mistake['msg']}"
