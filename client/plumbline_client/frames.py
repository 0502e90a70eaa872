"""A dataset version that was fetched, as the library has it that a program works with."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from plumbline_client.errors import Missing

Into = Literal["datasets", "pandas"]


def opened(file: Path, into: Into, cache: Path | None) -> Any:
    """A Parquet file as a `datasets.Dataset` or a `pandas.DataFrame`; without a `cache`, all of it in memory."""
    library = _library(into)
    if into == "pandas":
        return library.read_parquet(file)
    where = {"keep_in_memory": True, "cache_dir": str(file.parent)} if cache is None else {"cache_dir": str(cache)}
    return library.Dataset.from_parquet(str(file), **where)


def require(into: Into) -> None:
    """Raises Missing for a library that isn't installed, before anything is fetched for it."""
    _library(into)


def _library(into: Into) -> Any:
    try:
        return import_module(into)
    except ImportError as error:
        raise Missing(f"This needs {into}: pip install 'plumbline-client[{into}]'.") from error
