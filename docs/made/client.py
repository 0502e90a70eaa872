"""The page of the Python client, read from its source in `client/`: what its package offers by name, with docstrings.

Nothing is imported: whoever builds the site needn't have installed it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.made.markdown import page

LEAD = (
    "What `plumbline-client` offers, as its source has it. `AsyncClient` has the same methods to be awaited, and so "
    "have the other classes whose names begin with `Async`."
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


def markdown(folder: Path) -> str:
    """`folder` holds the package and what belongs to its distribution."""
    (package, *_) = sorted(folder.glob("*/__init__.py"))
    lines = [line for name, module in _imported(package, folder) for line in _told(name, module, folder)]
    return page("Python client", LEAD, lines)


def _imported(file: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """The names that a file takes from its own package, but for the asynchronous twins, and where each is defined."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            module = folder / (node.module.replace(".", "/") + ".py")
            for alias in node.names:
                if module.is_file() and not alias.name.startswith("Async"):
                    yield alias.name, module


def _told(name: str, module: Path, folder: Path, called: str | None = None) -> Iterator[str]:
    """A class or function, and below a class the parts of it that are classes of their own."""
    definitions = [node for node in ast.parse(module.read_text()).body if isinstance(node, Definition)]
    defined = next((node for node in definitions if node.name == name), None)
    if isinstance(defined, Function):
        yield from _function(defined, "##", name)
    if not isinstance(defined, ast.ClassDef):
        return
    yield from [f"## {called or name}", "", ast.get_docstring(defined) or "", ""]
    for method in defined.body:
        if isinstance(method, Function) and not method.name.startswith("_"):
            yield from _function(method, "###", f"{called or name}.{method.name}")
    beside = dict(_imported(module, folder))
    for attribute, kind in _parts(defined):
        if kind in beside:
            yield from _told(kind, beside[kind], folder, f"{called or name}.{attribute}")


def _parts(defined: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """`self.runs = Runs(…)` is the part `runs`, a `Runs`."""
    for node in ast.walk(defined):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            target = node.targets[0]
            if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                yield target.attr, node.value.func.id


def _function(node: Function, heading: str, name: str) -> list[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    signature = f"{name.rpartition('.')[2]}({arguments}){returns}"
    return [f"{heading} {name}", "", "```python", signature, "```", "", ast.get_docstring(node) or "", ""]
