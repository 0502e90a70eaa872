"""`plumbline config`: what the environment sets."""

from urllib.parse import urlsplit

import typer

from app.cli import SITE, app
from app.settings import settings, variables

config = typer.Typer(help="What environment variables set (docs/settings.md).", no_args_is_help=True)
app.add_typer(config, name="config", rich_help_panel=SITE)


@config.command()
def check() -> None:
    """Print every setting as it is understood here; refuse unknown and unusable ones."""
    found = settings()
    for name, field in variables().items():
        value = getattr(found, field)
        print(f"{name}={'' if value is None else without_password(str(value))}")


def without_password(value: str) -> str:
    password = urlsplit(value).password if "://" in value else None
    return value.replace(f":{password}@", ":***@") if password else value
