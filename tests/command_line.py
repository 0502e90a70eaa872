"""`plumbline` as the shell runs it, but for the new process."""

import sys
from dataclasses import dataclass
from typing import Protocol

import pytest

from app.cli.main import main
from app.settings import settings


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a refusal."""
        assert self.code in (1, 2, 3, 4, 5), self
        (line,) = self.err.splitlines()
        return line


def usage_error(done: Done) -> str:
    """What is said of words that no command takes, in one line whatever box is drawn around it."""
    assert done.code == 2, done
    assert not done.out, done
    return " ".join(done.err.replace("│", " ").split())


class Plumbline(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> Done: ...


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plumbline:
    def run(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["plumbline", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            settings.cache_clear()
            code = 0
            try:
                main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        settings.cache_clear()
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run
