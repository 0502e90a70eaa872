"""Collects the messages of domain errors for the catalogues: they are written where they are raised, without a mark."""

import ast
from collections.abc import Iterator
from typing import IO

Found = tuple[int, str | None, str, list[str]]


def domain_messages(file: IO[bytes], keywords: object, comment_tags: object, options: object) -> Iterator[Found]:
    """A Babel extractor: docstrings of error classes, literal arguments of `raise`, and sentences kept as constants."""
    for node in ast.walk(ast.parse(file.read())):
        match node:
            case ast.ClassDef(bases=[ast.Name(id=base)]) if base != "object" and (text := ast.get_docstring(node)):
                message = text
            case ast.Raise(exc=ast.Call(args=[ast.Constant(value=str(message)), *_])):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(message))) if name.isupper():
                pass
            case _:
                continue
        if message.endswith(".") and "\n" not in message:
            yield node.lineno, None, message, []
