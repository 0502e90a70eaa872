"""What documents show as commands, calls and files: fenced blocks, indented lines and what stands in backticks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("client/**/*.md")])
PROGRAMS = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(?:plumbline|make|curl|python(?: -W \w+)? -m)\b")
FENCE = re.compile(r"^```(.*)$")
TITLE = re.compile(r'title="([^"]+)"')
SHELL = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A fenced block. `title` is the name of the file that it shows, empty where it shows none."""

    document: str
    line: int
    language: str
    title: str
    text: str

    @property
    def is_shell(self) -> bool:
        return self.language in SHELL

    def commands(self) -> list[str]:
        """One for each line, as far as lines go; comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


@dataclass(frozen=True)
class Mention:
    """A command that a document names in passing, maybe by a part of it."""

    document: str
    text: str


@cache
def blocks() -> tuple[Block, ...]:
    return tuple(block for document in DOCUMENTS for block in _blocks(document))


def mentions() -> Iterator[Mention]:
    """Commands in backticks, and those of lines that are indented or in a block of another language."""
    for document in DOCUMENTS:
        name, text = str(document.relative_to(ROOT)), document.read_text()
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        indented = re.findall(r"^ {4,}(\S.*)$", prose, flags=re.MULTILINE)
        plain = [line for block in _blocks(document) if not block.is_shell for line in block.text.splitlines()]
        for found in (*re.findall(r"`([^`\n]+)`", prose), *indented, *plain):
            if PROGRAMS.match(found.strip()):
                yield Mention(name, found.strip())


def words_of(command: str) -> tuple[dict[str, str], list[str]]:
    """Variables that are set for a command, and its words; what stands behind ` #` is a comment."""
    words = shlex.split(command, comments=True)
    variables = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, variables[name] = words.pop(0).partition("=")
    return variables, words


def _blocks(document: Path) -> Iterator[Block]:
    start, head = 0, ""
    lines: list[str] = []
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        fence = FENCE.match(line)
        if fence and start:
            language = head.split(" ")[0]
            titles = TITLE.findall(head)
            name = str(document.relative_to(ROOT))
            yield Block(name, start, language, titles[0] if titles else "", "\n".join(lines) + "\n")
            start = 0
        elif fence:
            start, lines, head = number, [], fence.group(1)
        elif start:
            lines.append(line)
