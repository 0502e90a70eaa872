"""A document's blocks as a reader would follow them: files are written, commands run one after the other."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest

from tests.client.served import served
from tests.command_line import Plumbline
from tests.documents.reasons import why_not_run
from tests.documents.shown import Block, words_of
from training.config.reading import config_from
from training.stages.registry import STAGES

CAUGHT = "=$("


@dataclass
class Walk:
    """Where a reader stands: a folder, a site with its database, and the variables that were set."""

    folder: Path
    database_url: str
    plumbline: Plumbline
    stack: ExitStack
    instead: Mapping[str, str]
    """What stands for addresses and numbers that a document can only make up."""
    variables: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def follow(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if block.title:
                self._write(block)
            elif block.is_shell:
                for command in block.commands():
                    self._do(block, command)

    def _write(self, block: Block) -> None:
        (self.folder / block.title).write_text(block.text)
        if block.title.endswith(".json"):
            json.loads(block.text)
        if block.title.endswith(".py"):
            compile(block.text, block.title, "exec")

    def _do(self, block: Block, command: str) -> None:
        if "python -m training" in command:
            self._read_configuration(command)
        if why_not_run(command) is not None:
            return
        name, caught, inner = command.partition(CAUGHT)
        said = self._run(block, inner.removesuffix(")") if caught else command)
        if caught:
            self.variables[name] = said.strip()
        self.ran.append(command)

    def _run(self, block: Block, command: str) -> str:
        for shown, real in self.instead.items():
            command = command.replace(shown, real)
        doing: dict[str, Callable[[list[str]], str]] = {
            "plumbline": self._command,
            "curl": self._call,
            "python": self._script,
        }
        if command.startswith("curl") and "PLUMBLINE" not in self.variables:
            site = self.stack.enter_context(served(self.database_url, self.home, works=False))
            self.variables["PLUMBLINE"] = site.url
        _, words = words_of(command)
        words = [Template(word).safe_substitute(self.variables) for word in words]  # as a shell does, quotes and all
        program = words[0].removeprefix(".venv/bin/")
        assert program in doing, f"{block.document}:{block.line}: nothing says how to run {command!r}, or why not"
        return doing[program](words[1:])

    def _command(self, words: list[str]) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO("y\n"))  # the one answer to what asks before it does something
            done = self.plumbline(*words, DATABASE_URL=self.database_url, PLUMBLINE_HOME=str(self.home))
        assert done.code == 0, (words, done.out, done.err)
        return done.out

    def _call(self, words: list[str]) -> str:
        return self._process(["curl", "--silent", "--show-error", *words])

    def _script(self, words: list[str]) -> str:
        return self._process([sys.executable, *words])

    def _process(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def _read_configuration(self, command: str) -> None:
        _, words = words_of(command)
        stage, file = words[words.index("training") + 1], words[words.index("--config") + 1]
        config_from(json.loads((self.folder / file).read_text()), STAGES[stage], self.folder)
