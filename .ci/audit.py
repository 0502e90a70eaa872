"""What both images are made of: known vulnerabilities, licences, and a bill of materials of each. `make audit` runs it.

Its tools are in build/audit, so that nothing of them is in the lock; what they say stays there as JSON. Exits 1 for a
known vulnerability or a licence that can't be shipped. Where no database of vulnerabilities answers it says so and goes
on: that is no answer, and certainly not a good one. A folder of advisories in OSV's form does in its place.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from advisories import look_up

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "audit"
TOOLS = OUT / "bin"
IMAGES = {"web": ("web",), "trainer": ("web", "docs", "train")}

SOURCES = ("osv", "pypi")
SECONDS = 300
SHOWN = 200  # characters of what went wrong
# The copyleft of the (Affero) GPL would reach what is shipped with it; that of the Lesser GPL and of MPL does not.
COPYLEFT = re.compile(r"(?<![A-Z])A?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)
UNKNOWN = "UNKNOWN"


def main(advisories: str = "") -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    locks = {image: _write_lock(image) for image in IMAGES}
    everything = locks["trainer"].read_text()
    told = look_up(pins_of(everything), Path(advisories)) if advisories else _look_up(everything)
    mistakes = [*vulnerabilities(told), *licences(_licences(names_of(everything)))]
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


def pins_of(lock: str) -> list[tuple[str, str]]:
    """Names and versions of the packages of a part of the lock; some have one version for older Pythons, too."""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", lock, flags=re.MULTILINE)


def names_of(lock: str) -> list[str]:
    """The packages of a part of the lock."""
    return [name for name, _ in pins_of(lock)]


def vulnerabilities(told: dict[str, Any] | None) -> list[str]:
    """What is known, of what `pip-audit` said; it passes over packages that it couldn't look up as if all were well."""
    packages = [] if told is None else told["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        print("Vulnerabilities NOT looked up: neither api.osv.dev nor pypi.org answers here. Run this where they do,")
        print("or with ADVISORIES=FOLDER, a checkout of PyPA's advisory database.")
    else:
        of_day = f", in advisories up to {told['modified'][:10]}" if told and "modified" in told else ""
        print(f"Vulnerabilities looked up of {len(asked)} packages out of {len(packages)}{of_day}.")
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


def _write_pins(lock: str) -> list[Path]:
    """As pip-audit reads it: without hashes, as torch has none, and each package once in what it is asked at once."""
    files, left = [], pins_of(lock)
    while left:
        of_this = dict(left)
        files.append(OUT / f"pins-{len(files)}.txt")
        files[-1].write_text("".join(f"{name}=={version}\n" for name, version in of_this.items()))
        left = [pin for pin in left if pin not in of_this.items()]
    return files


def _look_up(lock: str) -> dict[str, Any] | None:
    """What the first database that knows of any package says; None where none does."""
    files = _write_pins(lock)
    for source in SOURCES:
        try:
            packages = [package for file in files for package in _ask(source, file)]
        except subprocess.TimeoutExpired:
            print(f"{source}: no answer in {SECONDS} s.")
            continue
        except ChildProcessError as wrong:
            print(f"{source}: {wrong}")
            continue
        if any("skip_reason" not in package for package in packages):
            told = {"dependencies": packages}
            (OUT / "vulnerabilities.json").write_text(json.dumps(told, indent=1))
            return told
    return None


def _ask(source: str, file: Path) -> list[dict[str, Any]]:
    """Raises TimeoutExpired, and ChildProcessError with the last of what pip-audit said."""
    command = [str(TOOLS / "pip-audit"), "-r", str(file), "--disable-pip", "--no-deps", "-s", source, "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except json.JSONDecodeError:
        raise ChildProcessError(done.stderr.strip().rpartition("\n")[2][:SHOWN]) from None


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
    sys.exit(main(*sys.argv[1:]))
