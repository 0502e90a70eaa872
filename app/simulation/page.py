"""What an annotator sees: the annotate page, read by its elements as a browser reads it."""

from dataclasses import dataclass
from html.parser import HTMLParser


@dataclass(frozen=True)
class SeenTask:
    """The last turn of the conversation, the panes as plain text, and the form that answers."""

    prompt: str
    responses: tuple[str, ...]
    action: str
    fields: dict[str, str]
    asks_harm: bool = False

    @property
    def answer_type(self) -> str:
        return self.fields.get("answer_type", "seven")


def read_task(html: str) -> SeenTask | None:
    """The task on the page, or None when it shows that there is nothing to compare."""
    reader = _PageReader()
    reader.feed(html)
    reader.close()
    if reader.action is None or len(reader.panes) < 2 or not reader.turns:
        return None
    return SeenTask(reader.turns[-1], tuple(reader.panes), reader.action, reader.fields, reader.asks_harm)


class _PageReader(HTMLParser):
    """Collects raw texts of turns and panes, and the judgement form's action and hidden fields."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.turns: list[str] = []
        self.panes: list[str] = []
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.asks_harm = False
        self._in_pane = False
        self._in_form = False
        self._raw: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        classes = attributes.get("class", "").split()
        if tag == "article" and "pane" in classes:
            self._in_pane = True
        elif tag == "pre" and "raw" in classes:
            self._raw = []
        elif tag == "form" and attributes.get("id") == "judgement":
            self._in_form = True
            self.action = attributes["action"]
        elif tag == "input" and self._in_form and attributes.get("type") == "hidden":
            self.fields[attributes["name"]] = attributes.get("value", "")

        elif tag == "input" and attributes.get("name") == "safe_a":
            self.asks_harm = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._in_pane = False
        elif tag == "form":
            self._in_form = False
        elif tag == "pre" and self._raw is not None:
            (self.panes if self._in_pane else self.turns).append("".join(self._raw))
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is not None:
            self._raw.append(data)
