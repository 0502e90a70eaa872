"""`plumbline doctor`: what this machine has, what is missing, and what to do about it."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import psycopg
import typer

from app.cli import app
from app.cli.database import connect, database_url
from app.db import migrate
from app.errors import DomainError
from app.settings import settings


@app.command()
def doctor() -> None:
    """Print versions and whether everything that Plumbline needs is here. Exits 1 if something is missing."""
    found = settings()
    print(f"Plumbline   {version('plumbline')}")
    print(f"Python      {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
    print(f"Home        {found.home}, {_free_gigabytes()} GB free")
    print(f"Site        {found.site_url}")
    missing = [problem for problem in (_torch(), _database()) if problem]
    for problem in missing:
        print(f"Missing     {problem}")
    if missing:
        raise typer.Exit(1)
    print("Everything is here.")


def _torch() -> str | None:
    try:
        print(f"torch       {version('torch')}, transformers {version('transformers')}")
    except PackageNotFoundError as absent:
        return f"{absent.name}, which the worker's training processes need: run `make run`."
    return None


def _database() -> str | None:
    kind = "from DATABASE_URL" if settings().database_url else "embedded"
    try:
        with database_url() as url, connect(url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
            assert row is not None
            print(f"PostgreSQL  {row[0]}, {kind}")
            migrate.require_head(url)
    except (DomainError, psycopg.OperationalError) as problem:
        return str(problem).strip().splitlines()[0]
    if kind == "embedded":
        print("            (for one machine and a small team; its security fixes come with the wheel: give a server")
        print("            of your own by DATABASE_URL where that is not enough)")
    return None


def _free_gigabytes() -> int:
    place = next(folder for folder in (settings().home, *settings().home.parents) if folder.exists())
    return shutil.disk_usage(place).free // 10**9
