"""The page of the Python client, read from its source in `client/`: what is public there, with its docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.made.markdown import page

LEAD = "`plumbline-client` is a distribution of its own, without torch: `pip install ./client`."
Function = ast.FunctionDef | ast.AsyncFunctionDef


def markdown(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*.py")) if _is_public(path.relative_to(folder))]
    lines = [line for path in files for line in _file(ast.parse(path.read_text()))]
    return page("Python client", LEAD, lines)


def _is_public(path: Path) -> bool:
    return "tests" not in path.parts and not any(part.startswith("_") for part in path.parts)


def _file(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from [f"## {node.name}", "", ast.get_docstring(node) or "", ""]
            for method in node.body:
                if isinstance(method, Function) and not method.name.startswith("_"):
                    yield from _function(method, "###", f"{node.name}.{method.name}")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield from _function(node, "##", node.name)


def _function(node: Function, heading: str, name: str) -> list[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    signature = f"{kind} {node.name}({ast.unparse(node.args)}){returns}"
    return [f"{heading} {name}", "", "```python", signature, "```", "", ast.get_docstring(node) or "", ""]
