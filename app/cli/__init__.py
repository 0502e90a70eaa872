"""The `plumbline` command line. Each other file of this package is a group of commands that adds itself to `app`."""

import typer

SITE = "The site"
THINGS = "What is on it"

app = typer.Typer(
    name="plumbline",
    help="Aligns language models with what people prefer. More: docs/cli.md",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
