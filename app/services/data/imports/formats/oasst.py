"""OASST message trees, nested as in its files or one message a row as in its tables: each turn of a person with several
replies is a comparison, ranked where people ranked them."""

from collections.abc import Iterator, Mapping, Sequence

from app.phrases import phrase
from app.services.data.imports.formats.comparisons import MOST_RESPONSES, different, ranked
from app.services.data.imports.formats.format import Columns, Field, Format
from app.services.data.imports.formats.values import (
    as_dict,
    prompt_of,
    response_of,
    short,
    text_of,
    turn_of,
    whole_number_of,
)
from app.services.data.imports.rows import ImportedRow, Raw, Response, RowError, Statement, Turn

DEEPEST = 200
Node = Mapping[str, object]


def parse_tree(raws: Sequence[Raw], columns: Columns, line: int) -> list[ImportedRow]:
    """Raises RowError with the reason when the row can't be used."""
    (raw,) = raws
    root = as_dict(raw.get(columns["prompt"]))
    return list(_below(root, (), line, root))


def parse_messages(raws: Sequence[Raw], columns: Columns, line: int) -> list[ImportedRow]:
    """Raises RowError with the reason when the messages are no tree."""
    root, replies = _linked(raws)
    return list(_below(_nested(root, replies, 0), (), line, root))


def claims_tree(raw: Raw, columns: Columns) -> bool:
    return "replies" in as_dict(raw.get(columns["prompt"]))


def claims_messages(raw: Raw, columns: Columns) -> bool:
    return "parent_id" in raw and isinstance(raw.get(columns["message_tree_id"]), str)


def _below(node: Node, before: tuple[Turn, ...], line: int, root: Node) -> Iterator[ImportedRow]:
    """The comparisons below a turn of a person."""
    if len(before) > DEEPEST:
        raise RowError("replies", f"has a conversation of more than {DEEPEST} turns")
    if node.get("deleted"):
        return
    role = _role(node)
    if role != "user":
        raise RowError("role", "has a reply to a person that is not the assistant's, or the other way round")
    (turn,) = prompt_of(text_of(node.get("text"), "text"), "text")
    prompt = (*before, turn)
    replies = [reply for reply in _replies(node) if not reply.get("deleted")]
    for reply in replies:
        if _role(reply) != "assistant":
            raise RowError("role", "has a reply to a person that is not the assistant's, or the other way round")
    yield _asked(prompt, replies, line, root)
    for reply in replies:
        for next_turn in _replies(reply):
            yield from _below(next_turn, (*prompt, ("assistant", response_of(reply.get("text"), "text"))), line, root)


def _asked(prompt: tuple[Turn, ...], replies: Sequence[Node], line: int, root: Node) -> ImportedRow:
    """A comparison; of fewer than two replies the prompt alone, of more than nine those that were ranked best."""
    language = root.get("lang")
    tags = (language,) if isinstance(language, str) and language else ()
    order = [
        (place, whole_number_of(reply["rank"], "rank"))
        for place, reply in enumerate(replies)
        if reply.get("rank") is not None
    ]
    if len(replies) > MOST_RESPONSES:
        kept = [place for place, _ in sorted(order, key=lambda pair: pair[1])][:MOST_RESPONSES]
        kept += [place for place in range(len(replies)) if place not in kept][: MOST_RESPONSES - len(kept)]
        replies = [replies[place] for place in sorted(kept)]
        order = [(sorted(kept).index(place), rank) for place, rank in order if place in kept]
    if len(replies) < 2:
        return ImportedRow(line, prompt, tags=tags)
    responses = tuple(Response(response_of(reply.get("text"), "text")) for reply in replies)
    different([response.text for response in responses], "text")
    statements = (Statement(ranked(order, len(replies))),) if len(order) > 1 else ()
    return ImportedRow(line, prompt, responses, statements, tags=tags)


def _linked(raws: Sequence[Raw]) -> tuple[Node, dict[str, list[Raw]]]:
    """The one first message, and the replies of each message by its id. Raises RowError for what is no tree."""
    replies: dict[str, list[Raw]] = {short(raw.get("message_id"), "message_id"): [] for raw in raws}
    if len(replies) < len(raws):
        raise RowError("message_id", "has two messages of one id")
    roots = []
    for raw in raws:
        parent = raw.get("parent_id")
        if parent is None or parent == "":
            roots.append(raw)
        elif (name := short(parent, "parent_id")) in replies:
            replies[name].append(raw)
        else:
            raise RowError("parent_id", "has a message whose parent isn't among those before and after it")
    if len(roots) != 1 or len(raws) != _size(roots[0], replies):
        raise RowError("parent_id", "has messages that don't follow from one first message")
    return roots[0], replies


def _size(root: Raw, replies: Mapping[str, Sequence[Raw]]) -> int:
    """How many messages follow from the first one, itself included."""
    count, found = 0, [root]
    while found:
        count += 1
        found += replies[short(found.pop().get("message_id"), "message_id")]
    return count


def _nested(raw: Raw, replies: Mapping[str, Sequence[Raw]], depth: int) -> Node:
    if depth > DEEPEST:
        raise RowError("parent_id", f"has a conversation of more than {DEEPEST} turns")
    own = replies[short(raw.get("message_id"), "message_id")]
    return {**raw, "replies": [_nested(reply, replies, depth + 1) for reply in own]}


def _replies(node: Node) -> list[Node]:
    replies = node.get("replies")
    return [as_dict(reply) for reply in replies] if isinstance(replies, list) else []


def _role(node: Node) -> str:
    return turn_of({"role": node.get("role"), "content": ""}, "role")[0]


_LOSES = phrase(
    "Deleted messages, labels, who wrote what, single replies that nothing continues, and the last of more than nine."
)
TREES = Format(
    name="oasst-trees",
    called=phrase("OASST message trees"),
    kind="judgements",
    fields=(Field("prompt", phrase("First message, with its replies"), "prompt", required=True),),
    claims=claims_tree,
    parse=parse_tree,
    loses=_LOSES,
)
MESSAGES = Format(
    name="oasst-messages",
    called=phrase("OASST messages, one a row"),
    kind="judgements",
    fields=(
        Field("message_tree_id", phrase("Tree"), "message_tree_id", required=True),
        Field("message_id", phrase("Message"), "message_id", required=True),
        Field("parent_id", phrase("Message before it"), "parent_id", required=True),
        Field("text", phrase("Text"), "text", required=True),
        Field("role", phrase("Role"), "role", required=True),
        Field("rank", phrase("Rank"), "rank"),
    ),
    claims=claims_messages,
    parse=parse_messages,
    group="message_tree_id",
    loses=_LOSES,
)
