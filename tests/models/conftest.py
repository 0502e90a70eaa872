from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models.directories import FAMILIES, write_directory


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads on tiny matrices wait for each other more than they work, above all beside other tests."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a model family, written once."""
    root = tmp_path_factory.mktemp("families")
    written: dict[str, Path] = {}

    def directory(family: str) -> Path:
        if family not in written:
            written[family] = write_directory(family, root / family)
        return written[family]

    return directory


@pytest.fixture(params=FAMILIES)
def model_directory(request: pytest.FixtureRequest, directory_of: Callable[[str], Path]) -> Path:
    return directory_of(request.param)
