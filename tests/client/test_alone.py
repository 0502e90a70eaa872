"""The client by itself: it is made of what it says it needs, and follows from the API as it is."""

import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from shutil import which

import plumbline_client
import pytest

from tests.client.conftest import PROJECT
from tests.client.served import ServedSite

ROOT = Path(__file__).parents[2]
NEEDED = {"httpx", "pydantic"}

# What pip installs beside it.
WITH_THEIRS = (
    "httpx httpcore h11 certifi idna anyio sniffio pydantic pydantic_core annotated_types typing_extensions"
    " typing_inspection"
)

IMPORTS_ALONE = """
import sys

allowed = {"plumbline_client", *sys.argv[1:]}

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed and not top.startswith("_sysconfigdata"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Nothing())
from plumbline_client import AsyncClient, Client
with Client("http://127.0.0.1:9", "plumb_x") as client:
    try:
        client.datasets.load("tea", 1)
    except Exception as missing:
        print(missing)
"""


def test_it_needs_httpx_and_pydantic_alone() -> None:
    said = subprocess.run(
        [sys.executable, "-c", IMPORTS_ALONE, *WITH_THEIRS.split()], cwd=ROOT / "client", capture_output=True, text=True
    )

    assert said.stdout == "This needs datasets: pip install 'plumbline-client[datasets]'.\n", said.stderr
    described = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=]", requirement)[0] for requirement in described["dependencies"]} == NEEDED


def test_it_has_the_version_of_the_site() -> None:
    described = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]

    assert described["version"] == plumbline_client.VERSION == version("plumbline")


def test_what_follows_from_the_api_and_from_asynchronous_code_is_up_to_date() -> None:
    stale = runpy.run_path(str(ROOT / ".ci" / "client.py"))["out_of_date"]()

    assert not stale, f"Run `make client`: {', '.join(str(file.relative_to(ROOT)) for file in stale)}"


@pytest.mark.slow
def test_it_installs_alone_in_a_fresh_environment_of_the_oldest_python_here_and_judges_by_that(
    site: ServedSite, tmp_path: Path
) -> None:
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run([_oldest_python(), "-m", "venv", tmp_path / "fresh"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-compile", ROOT / "client"], check=True)

    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    said = subprocess.run(
        [python, ROOT / "client" / "examples" / "label_by_script.py", PROJECT],
        env={"PLUMBLINE_URL": site.url, "PLUMBLINE_TOKEN": site.tokens["annotator"]},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert said.stdout == "Judged 3 tasks.\n"
    assert f"plumbline-client=={plumbline_client.VERSION}" in listed.stdout
    assert not re.search(r"^(torch|sqlalchemy|fastapi|numpy)", listed.stdout, re.MULTILINE | re.IGNORECASE)


def _oldest_python() -> str:
    """3.10 where there is one: a name on the path may be a shim of what isn't there."""
    for name in ("python3.10", sys.executable):
        if which(name) and subprocess.run([name, "-c", ""], capture_output=True).returncode == 0:
            return name
    raise AssertionError("this very Python does not run")
