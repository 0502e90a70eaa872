"""The page of the command line, made from the typer application."""

from collections.abc import Iterator
from typing import Any

from app.cli.main import whole
from docs.made.markdown import entries, page

PROGRAM = "plumbline"
LEAD = (
    "Every command says the same with `--help`. Commands work on the database and the home of the environment "
    "([settings](../settings.md)), on the machine of the site. What holds for all of them, exit codes and JSON: "
    "[the command line](../cli.md)."
)


def application() -> Any:
    """The command of everything. Its groups have `commands`, and all have `params`."""
    return whole()


def markdown() -> str:
    return page("Command line", LEAD, [line for command in _sections(application()) for line in command])


def _sections(root: Any) -> Iterator[list[str]]:
    """Single commands first, as `--help` has them, then groups."""
    shown = {name: command for name, command in root.commands.items() if not command.hidden}
    single = [name for name, command in shown.items() if not hasattr(command, "commands")]
    for name in sorted(single):
        yield _command(f"{PROGRAM} {name}", shown[name], "##")
    for name in sorted(set(shown) - set(single)):
        yield [f"## {PROGRAM} {name}", "", shown[name].help or "", ""]
        for below, command in shown[name].commands.items():
            if not command.hidden:
                yield _command(f"{PROGRAM} {name} {below}", command, "###")


def _command(name: str, command: Any, heading: str) -> list[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *(_argument(param) for param in arguments)])
    rows = [(f"`{_argument(param)}`", param.help or "") for param in arguments]
    rows += [(_option(param), _meaning(param)) for param in options]
    return [f"{heading} {name}", "", command.help or "", "", "```text", usage, "```", "", *entries(("", ""), rows)]


def _argument(param: Any) -> str:
    name: str = param.metavar or param.name.upper().replace("_", "-")
    if name.startswith("[") or "..." in name:
        return name
    name += "..." if param.nargs == -1 else ""
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))


def _meaning(param: Any) -> str:
    said = [param.help or ""]
    if param.required:
        said.append("Required.")
    elif param.default not in (None, False, "", (), []) and not callable(param.default):
        said.append(f"Default: `{getattr(param.default, 'value', param.default)}`.")
    if param.multiple:
        said.append("May come several times.")
    return " ".join(said).strip()
