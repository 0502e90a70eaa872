"""What a process of ours says of itself: one line per event on stderr, readable by people and by grep.

Nobody but the program begins a line: what people send is written with its control characters escaped, and what has
several lines (a stack) is set in.
"""

import logging
import sys
from collections.abc import MutableMapping
from io import StringIO
from typing import Any, TextIO

import structlog
from structlog.typing import ExcInfo

SET_IN = "    "
# Servers write lines by handlers of their own, which are there before us.
_OF_SERVERS = ("uvicorn", "uvicorn.error")


def configure(level: str) -> None:
    """For the life of the process. Stacks are plain: variables can hold secrets, and drawing them takes long."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _escape_values,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_stack),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _have_libraries_escaped()


def escaped(text: str) -> str:
    """`text` on one line, without a character that moves anything."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def set_in(text: str) -> str:
    """Lines of which all but the first can't be taken for the program's own."""
    first, *others = text.split("\n")
    return "\n".join([escaped(first), *(SET_IN + escaped(line) for line in others)])


class SetIn(logging.Formatter):
    """What another formatter makes of a record, set in."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return set_in(self._inner.format(record))


class _Written:
    """Is written as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _escape_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = escaped(str(event.get("event", "")))
    for name, value in event.items():
        if name not in ("event", "exc_info") and not (isinstance(value, str) and value.isprintable()):
            event[name] = _Written(escaped(repr(value)))
    return event


def _write_stack(out: TextIO, stack: ExcInfo) -> None:
    plain = StringIO()
    structlog.dev.plain_traceback(plain, stack)
    out.write("\n" + "\n".join(SET_IN + escaped(line) for line in plain.getvalue().strip("\n").split("\n")))


def _have_libraries_escaped() -> None:
    if not logging.root.handlers:
        ours = logging.StreamHandler(sys.stderr)
        ours.setLevel(logging.WARNING)
        logging.root.addHandler(ours)
    for handler in (each for name in (None, *_OF_SERVERS) for each in logging.getLogger(name).handlers):
        if not isinstance(handler.formatter, SetIn):
            handler.setFormatter(SetIn(handler.formatter or logging.Formatter()))
