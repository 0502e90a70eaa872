"""`plumbline mcp`: the site's API as tools for an assistant, over standard input and output."""

import asyncio
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from app.cli import SITE, app
from app.errors import Invalid

TOKEN = "PLUMBLINE_TOKEN"  # noqa: S105 - the variable's name


@app.command(rich_help_panel=SITE, short_help="Serve a site to an assistant that speaks MCP.")
def mcp(
    url: Annotated[
        str, typer.Option(envvar="PLUMBLINE_URL", help="Where the site is; also by PLUMBLINE_URL.")
    ] = "http://localhost:8400",
    token_file: Annotated[
        str | None, typer.Option(help="File with an API token; without it, PLUMBLINE_TOKEN holds one.")
    ] = None,
) -> None:
    """Serve a site to an assistant that speaks the Model Context Protocol, with the rights of one API token."""
    token = _token(token_file)
    if find_spec("mcp") is None:
        raise Invalid("An MCP server needs more packages: pip install 'plumbline[mcp]'.")
    # Only now: they are no part of what every installation has.
    from app.assistants.site import Site
    from app.assistants.tools import server

    async def serve() -> None:
        async with Site(url, token) as site:
            await server(site, version("plumbline")).run_stdio_async()

    asyncio.run(serve())


def _token(file: str | None) -> str:
    token = (os.environ.get(TOKEN, "") if file is None else Path(file).read_text(encoding="utf-8")).strip()
    if not token:
        raise Invalid(f"Name a file with an API token by --token-file, or put one into {TOKEN}.")
    return token
