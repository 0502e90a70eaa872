"""Writes requirements.lock: every package but torch, with hashes, in sections of which any prefix can be installed.

One resolution for all platforms and Pythons; a package stands in the first section that needs it. `make lock` runs it.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
SECTIONS = ("install", "web", "docs", "train", "dev")

# torch is installed before the lock, since its wheel and its hash differ by platform; what it needs itself is locked.
NEEDED_BY_TORCH = ("filelock", "fsspec", "jinja2", "networkx", "setuptools>=77", "sympy", "typing-extensions")
# Settings of the images and of `make run` may ask for any of these; who installs the package by pip chooses.
EXTRAS_OF_WEB = ("mcp", "oidc", "storage", "traces")
# The application itself is installed from its folder, without fetching anything to build it with.
NEEDED_TO_BUILD = ("setuptools>=77",)

HEADER = """\
# Made by `make lock`. A prefix of the sections can be installed: install (the installer), web, docs, train, dev.
# torch is not here: `pip install 'torch==2.13.*'` comes first, then `--no-deps --require-hashes -r` this.
"""


def main() -> None:
    everything = _packages(_resolve(SECTIONS))
    left = dict(everything)
    text = HEADER
    for number, section in enumerate(SECTIONS, start=1):
        needed = _packages(_resolve(SECTIONS[:number], constraints=list(everything)))
        text += f"\n# --- {section}\n" + "".join(left.pop(name) for name in needed if name in left)
    assert not left, f"in no section: {sorted(left)}"
    LOCK.write_text(text)
    print(f"{LOCK.name}: {len(everything)} packages")


def _resolve(sections: tuple[str, ...], constraints: list[str] | None = None) -> str:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "needed.in").write_text("\n".join(line for section in sections for line in _needed(section)))
        (folder / "override.txt").write_text("torch; python_version < '3'")
        (folder / "constraints.txt").write_text("\n".join(constraints or []))
        command = [
            sys.executable, "-m", "uv", "pip", "compile", str(folder / "needed.in"),
            f"--override={folder / 'override.txt'}", f"--constraint={folder / 'constraints.txt'}",
            "--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet",
        ]  # fmt: skip
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _needed(section: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if section == "web":
        extras = [needed for extra in EXTRAS_OF_WEB for needed in project["optional-dependencies"][extra]]
        return [*project["dependencies"], *extras, *NEEDED_TO_BUILD]
    added = NEEDED_BY_TORCH if section == "train" else ()
    return [*project["optional-dependencies"][section], *added]


def _packages(resolved: str) -> dict[str, str]:
    """`name==version ; marker` → its lines in the lock, hashes included."""
    blocks = re.findall(r"^[^\s#].*\n(?:^[ \t].*\n)*", resolved, flags=re.MULTILINE)
    return {block.split(" \\")[0]: block for block in blocks}


if __name__ == "__main__":
    main()
