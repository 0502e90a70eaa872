"""What others may have made of bytes: a valid text with something in it changed, and values that nobody expects."""

import json
import random
from collections.abc import Callable
from typing import Any

DEEP = "[" * 100_000
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**400, 2**63, "", "\0", "\ud800", "😀" * 3, "x" * 3_000, "../../etc/passwd",
    "1e999", [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, float("nan"), float("inf"),
)  # fmt: skip
ODD_BYTES = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n\r\n", b"--", b"%", b"%00", b"\xc0\x80", b"{", b"[", b'"',
    b"PK\3\4", DEEP.encode(),
    b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"'; DROP TABLE users; --", b"NaN", b"-1", b"9" * 5_000,
)  # fmt: skip

Draw = random.Random


def changed(value: Any, draw: Draw) -> Any:
    """The same JSON with one thing in it taken out, doubled, or put in place of by something odd."""
    paths = list(_paths(value))
    path = draw.choice(paths)
    if not path:
        return draw.choice(ODD)
    copied = json.loads(json.dumps(value))
    inside = copied
    for step in path[:-1]:
        inside = inside[step]
    what = draw.randrange(4)
    if what == 0:
        del inside[path[-1]]
    elif what == 1 and isinstance(inside, list):
        inside.append(inside[path[-1]])
    else:
        inside[path[-1]] = draw.choice(ODD)
    return copied


def damaged(content: bytes, draw: Draw) -> bytes:
    """The same bytes with a bit turned, a piece cut out, doubled or put in."""
    place = draw.randrange(len(content) + 1)
    end = min(len(content), place + draw.choice((1, 2, 8, 64, 1_000)))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :],
        lambda: content[:place],
        lambda: content[:place] + content[end:],
        lambda: content[:end] + content[place:],
        lambda: content[:place] + draw.choice(ODD_BYTES) + content[place:],
        lambda: content[:place] + draw.choice(ODD_BYTES) + content[end:],
        lambda: draw.choice(ODD_BYTES),
    )
    return draw.choice(ways)()


def written(value: Any) -> bytes:
    """JSON as it is read with what no standard allows: NaN, and halves of letters."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _paths(value: Any) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *path) for key, held in inner for path in _paths(held))]
