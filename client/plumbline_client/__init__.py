"""Plumbline for programs: `Client(url, token)`, and `AsyncClient` with the same methods."""

from plumbline_client._async.client import AsyncClient
from plumbline_client._async.download import AsyncDownload
from plumbline_client._async.pages import AsyncPages
from plumbline_client._async.tasks import AsyncProject, AsyncTask
from plumbline_client._sync.client import Client
from plumbline_client._sync.download import Download
from plumbline_client._sync.pages import Pages
from plumbline_client._sync.tasks import Project, Task
from plumbline_client.calls import Progress
from plumbline_client.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    Missing,
    NotFound,
    NotSignedIn,
    PlumblineError,
    RunFailed,
    ServerFailed,
    TooMany,
    Unreachable,
)
from plumbline_client.retries import Retries
from plumbline_client.versions import VERSION, VersionMismatch

__version__ = VERSION

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncDownload",
    "AsyncPages",
    "AsyncProject",
    "AsyncTask",
    "Client",
    "Conflict",
    "Download",
    "Forbidden",
    "Invalid",
    "Missing",
    "NotFound",
    "NotSignedIn",
    "Pages",
    "PlumblineError",
    "Progress",
    "Project",
    "Retries",
    "RunFailed",
    "ServerFailed",
    "Task",
    "TooMany",
    "Unreachable",
    "VersionMismatch",
]
