"""`python -m tests.security.mutate_guards` writes who is refused where, then takes away every guard of every route."""

import os
import sys
from pathlib import Path

import pytest

from tests.security.test_guards import WRITE

if __name__ == "__main__":
    os.environ[WRITE] = "1"
    sys.exit(pytest.main(["-q", "-m", "slow or not slow", str(Path(__file__).with_name("test_guards.py"))]))
