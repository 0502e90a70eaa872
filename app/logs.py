"""What a process of ours says of itself: one line per event on stderr, for people and grep, or as JSON for programs.

A line holds ids, numbers and names, and never what people or models wrote. Where errors come from code of others their
messages may quote it, so that of an error the log holds its kind and its stack. Nobody but the program begins a line of
text: control characters are escaped, and what has several lines (a stack) is set in.
"""

import logging
import sys
from collections.abc import MutableMapping
from traceback import StackSummary, walk_tb
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.typing import ExcInfo, Processor

from app.acting import current

Form = Literal["text", "json"]

SET_IN = "    "

# PostgreSQL's message may quote a value, its DETAIL whole rows; these are names that we gave.
TOLD_BY_POSTGRES = ("severity_nonlocalized", "sqlstate", "schema_name", "table_name", "column_name", "constraint_name")


def configure(level: str, form: Form = "text") -> None:
    """For the life of the process: our own lines, and those of libraries that log by themselves."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_STAMPS, *_render(form)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(form))
        root.addHandler(handler)


def formatter(form: Form) -> logging.Formatter:
    """Lines of the standard library's loggers (the web server's, say) in the form of ours."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_STAMPS,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_render(form)],
    )


def escaped(text: str) -> str:
    """`text` on one line, without a character that moves anything."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _named(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say who acts, once that is known."""
    actor = current()
    if actor is not None and actor.user_id is not None:
        line.setdefault("user_id", actor.user_id)
    return line


_STAMPS: tuple[Processor, ...] = (
    _named,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _render(form: Form) -> tuple[Processor, ...]:
    stack = structlog.processors.ExceptionRenderer(_stack_of)
    if form == "json":  # which escapes by itself
        return (stack, structlog.processors.JSONRenderer(default=repr))
    return (_escape_values, stack, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))


class _Written:
    """Is written as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _escape_values(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line["event"] = escaped(str(line.get("event", "")))
    for name, value in line.items():
        if name not in ("event", "exc_info") and not (isinstance(value, str) and value.isprintable()):
            line[name] = _Written(escaped(repr(value)))
    return line


def _stack_of(exc_info: ExcInfo) -> str:
    _, error, trace = exc_info
    return "" if error is None else "\n".join(SET_IN + escaped(line) for line in _lines(error, trace))


def _lines(error: BaseException, trace: TracebackType | None) -> list[str]:
    """The kind of the error and where it came from, outermost first, then what had caused it."""
    stack = "".join(StackSummary.extract(walk_tb(trace)).format())
    lines = [kind_of(error), *stack.splitlines()]
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            lines += ["with", *_lines(one, one.__traceback__)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [*lines, "because of", *_lines(cause, cause.__traceback__)] if cause is not None else lines


def kind_of(error: BaseException) -> str:
    """The class of an error, with what PostgreSQL says of it by names alone."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    said = getattr(error, "diag", None)
    names = [str(getattr(said, field)) for field in TOLD_BY_POSTGRES if getattr(said, field, None)]
    return f"{name}: {' '.join(names)}" if names else name
