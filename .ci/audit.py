"""What both images are made of: known vulnerabilities, licences, and a bill of materials of each. `make audit` runs it.

Its tools are in build/audit, so that nothing of them is in the lock; what they say stays there as JSON. Exits 1 for a
known vulnerability or a licence that can't be shipped. Where no database of vulnerabilities answers it says so and goes
on: that is no answer, and certainly not a good one.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "audit"
TOOLS = OUT / "bin"
IMAGES = {"web": ("web",), "trainer": ("web", "docs", "train")}

SOURCES = ("osv", "pypi")
SECONDS = 300
# The copyleft of the (Affero) GPL would reach what is shipped with it; that of the Lesser GPL and of MPL does not.
COPYLEFT = re.compile(r"(?<![A-Z])A?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)
UNKNOWN = "UNKNOWN"


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    locks = {image: _write_lock(image) for image in IMAGES}
    mistakes = [
        *vulnerabilities(_look_up(locks["trainer"])),
        *licences(_licences(names_of(locks["trainer"].read_text()))),
    ]
    for image, lock in locks.items():
        _write_bill(image, lock)
    for mistake in mistakes:
        print(f"Not to be shipped: {mistake}")
    return 1 if mistakes else 0


def lock_of(image: str, lock: str) -> str:
    """The part of the lock that an image is made from, torch with it, which is installed before the lock."""
    sections = dict(re.findall(r"^# --- (\w+)\n(.*?)(?=^# --- |\Z)", lock, flags=re.MULTILINE | re.DOTALL))
    torch = f"torch=={version('torch').partition('+')[0]}\n" if "train" in IMAGES[image] else ""
    return "".join(sections[section] for section in IMAGES[image]) + torch


def names_of(lock: str) -> list[str]:
    """The packages of a part of the lock."""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, flags=re.MULTILINE)


def vulnerabilities(told: dict[str, Any] | None) -> list[str]:
    """What is known, of what `pip-audit` said; it passes over packages that it couldn't look up as if all were well."""
    packages = [] if told is None else told["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print("Vulnerabilities NOT looked up: neither api.osv.dev nor pypi.org answers here. Run this where they do.")
    else:
        print(f"Vulnerabilities looked up of {len(asked)} packages out of {len(packages)}.")
    return [
        f"{package['name']} {package['version']} has {known['id']}, mended in {', '.join(known['fix_versions']) or '-'}"
        for package in asked
        for known in package["vulns"]
    ]


def licences(told: list[dict[str, str]]) -> list[str]:
    """Packages whose licence can't be shipped with ours, or that say none."""
    print(f"Licences of {len(told)} packages: {', '.join(sorted({package['License'] for package in told}))}.")
    return [
        f"{package['Name']} {package['Version']} is under {package['License']}"
        for package in told
        if package["License"] == UNKNOWN or COPYLEFT.search(package["License"])
    ]


def _write_lock(image: str) -> Path:
    path = OUT / f"{image}.lock"
    path.write_text(lock_of(image, (ROOT / "requirements.lock").read_text()))
    return path


def _look_up(lock: Path) -> dict[str, Any] | None:
    """What the first database that knows of any package says; None where none does."""
    for source in SOURCES:
        command = [str(TOOLS / "pip-audit"), "-r", str(lock), "--disable-pip", "--no-deps", "-s", source, "-f", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            told = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            continue
        if any("skip_reason" not in package for package in told["dependencies"]):
            (OUT / "vulnerabilities.json").write_text(json.dumps(told, indent=1))
            return dict(told)
    return None


def _licences(names: list[str]) -> list[dict[str, str]]:
    """Of what is installed in .venv: of packages for other platforms only the lock tells."""
    command = [str(TOOLS / "pip-licenses"), f"--python={sys.executable}", "--format=json", "--with-system"]
    told = subprocess.run([*command, "--packages", *names], check=True, stdout=subprocess.PIPE, text=True).stdout
    (OUT / "licences.json").write_text(told)
    return list(json.loads(told))


def _write_bill(image: str, lock: Path) -> None:
    path = OUT / f"sbom-{image}.json"
    command = [
        str(TOOLS / "python"), "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(lock),
        f"--pyproject={ROOT / 'pyproject.toml'}", "--output-reproducible", f"--output-file={path}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    count = len(json.loads(path.read_text())["components"])
    print(f"{path.relative_to(ROOT)}: {count} packages of the {image} image, CycloneDX; its base is Debian's own.")


if __name__ == "__main__":
    sys.exit(main())
