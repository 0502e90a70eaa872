"""The `plumbline` command line. Each other file of this package is a group of commands that adds itself to `app`."""

import typer

app = typer.Typer(
    name="plumbline",
    help="Aligns language models with what people prefer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
