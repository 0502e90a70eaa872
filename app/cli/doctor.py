"""`plumbline doctor`: what this machine has, what is wrong, and how to mend it."""

import os
import platform
import shutil
import textwrap
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import psycopg
import typer

from app.cli import SITE, app
from app.cli.database import connect, database_url
from app.cli.database_findings import of_database
from app.cli.findings import Finding, of_machine
from app.errors import DomainError
from app.services.disk import existing
from app.settings import Settings, settings

WIDTH = 110
INDENT = " " * 12


@app.command(short_help="Say what is wrong, and how to mend it.", rich_help_panel=SITE)
def doctor(
    all_files: Annotated[
        bool, typer.Option("--all-files", help="Read every file of every model in use, which takes minutes.")
    ] = False,
) -> None:
    """Print versions, what is wrong, and how to mend it. Exits 1 if there is a problem; warnings alone leave 0."""
    found = settings()
    print(f"Plumbline   {version('plumbline')}")
    print(f"Python      {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
    print(f"Home        {found.home}, {shutil.disk_usage(existing(found.home)).free // 10**9} GB free")
    print(f"Site        {found.site_url}")
    print(f"torch       {_installed('torch')}, transformers {_installed('transformers')}")
    findings = [*of_machine(found), *_of_database(found, all_files=all_files)]
    for finding in sorted(findings, key=lambda one: one.level):
        _print(finding)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)
    print("Nothing keeps Plumbline from its work." if findings else "Everything is as it should be.")


def _of_database(found: Settings, *, all_files: bool) -> Iterator[Finding]:
    try:
        with database_url() as url, connect(url) as connection:
            connection.autocommit = True
            kind = "from DATABASE_URL" if found.database_url else "embedded: for one machine and a small team"
            print(f"PostgreSQL  {connection.info.parameter_status('server_version')}, {kind}")
            yield from of_database(connection, url, found, all_files=all_files)
    except (DomainError, psycopg.OperationalError) as problem:
        mend = "Start it, or look at DATABASE_URL; of the embedded one the log is in the home, logs/postgres.log."
        yield Finding("problem", f"The database: {str(problem).strip().splitlines()[0]}", mend)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not here"


def _print(finding: Finding) -> None:
    print(_wrapped(finding.level.capitalize().ljust(12), finding.what))
    print(_wrapped(INDENT, finding.mend))


def _wrapped(start: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=INDENT, break_on_hyphens=False)
