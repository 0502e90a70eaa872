"""Collects what is said to people away from pages.

Of services: domain errors, written where they are raised without a mark, and phrases. Of training, which knows of no
catalogue: what each setting means, and why settings are refused.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

from babel.messages.extract import extract_python

from app import errors
from app.services.loop.settings import settable

Found = tuple[int, str | None, str, list[str]]
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DomainError)}


def domain_messages(file: IO[bytes], keywords: object, comment_tags: object, options: object) -> Iterator[Found]:
    """A Babel extractor: docstrings of domain errors, arguments of `raise`, constants that are raised, phrases."""
    tree = ast.parse(file.read())
    raised = {name for node in ast.walk(tree) for name in _raised_constants(node)}
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name, bases=[ast.Name(id=base)]) if {name, base} & KINDS:
                message = ast.get_docstring(node) or ""
            case ast.Raise(exc=ast.Call(args=[ast.Constant(value=str(message)), *_])):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(message))) if name in raised:
                pass
            case ast.Call(func=ast.Name(id="phrase"), args=[ast.Constant(value=str(message))]):
                yield node.lineno, None, message, []
                continue
            case _:
                continue
        if message.endswith(".") and "\n" not in message:
            yield node.lineno, None, message, []


def web_messages(
    file: IO[bytes], keywords: Mapping[str, Any], comment_tags: Collection[str], options: Any
) -> Iterator[tuple[Any, ...]]:
    """A Babel extractor: what the web marks for translation, and the domain errors that it raises itself."""
    yield from extract_python(file, keywords, comment_tags, options)
    file.seek(0)
    yield from domain_messages(file, keywords, comment_tags, options)


def setting_meanings(file: object, keywords: object, comment_tags: object, options: object) -> Iterator[Found]:
    """A Babel extractor for the one file that reads them: what each setting of rounds, gates and stages means."""
    for group in settable.groups():
        for setting in group.settings:
            if setting.meaning:
                yield 0, None, setting.meaning, []


def setting_refusals(file: IO[bytes], keywords: object, comment_tags: object, options: object) -> Iterator[Found]:
    """A Babel extractor: reasons of `raise ConfigError(settings, reason)`, as `settable.change` says them."""
    for node in ast.walk(ast.parse(file.read())):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id="ConfigError"), args=[_, ast.Constant(value=str(reason))])):
                yield node.lineno, None, f"%(settings)s: {reason}.", []


def _raised_constants(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Raise(exc=ast.Call(args=[ast.Name(id=name), *_])):
            yield name
