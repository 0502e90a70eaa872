"""A hub of models that speaks as Hugging Face's does, by huggingface_hub, which comes with transformers.

The token is the environment's, `HF_TOKEN` or the file that `HF_TOKEN_PATH` names, as for other programs.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.errors import Conflict, Invalid

SCHEME = "hf://"


class Repository:
    """One of the hub's repositories: made where it isn't there, closed to others, and changed by one commit."""

    def __init__(self, endpoint: str, name: str) -> None:
        """Raises Invalid where huggingface_hub isn't installed."""
        if find_spec("huggingface_hub") is None:
            raise Invalid(
                "%(name)s needs huggingface_hub, which isn't installed: pip install plumbline[train]", name=name
            )
        self._library: Any = import_module("huggingface_hub")
        self._api = self._library.HfApi(endpoint=endpoint, token=self._library.get_token(), library_name="plumbline")
        self._name = name
        self._files: list[Any] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Have the repository there; within it files are put. Raises Conflict, with what the hub says."""
        with self._in_words():
            self._api.create_repo(self._name, private=True, exist_ok=True)
        with ExitStack() as self._open:
            yield

    def put(self, name: str, path: Path) -> None:
        """Send a file, which is in the repository once `commit` has said so."""
        # Open, it is sent as every hub takes it; by its path, in the pieces of one hub's own storage.
        content = self._open.enter_context(path.open("rb"))
        with self._in_words():
            file = self._library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            self._api.preupload_lfs_files(self._name, additions=[file], free_memory=False)
        self._files.append(file)

    def commit(self, message: str) -> str:
        """Where it can be seen."""
        with self._in_words():
            made = self._api.create_commit(self._name, self._files, commit_message=message)
        return str(made.commit_url)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError, self._library.errors.HfHubHTTPError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Conflict("The hub refuses %(name)s: %(reason)s", name=self._name, reason=reason) from error
