"""Rules that templates, style sheets and scripts keep, so that the strict policy and both themes hold everywhere."""

import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from app.web.rendering.render import STATIC, TEMPLATES, environment
from app.web.serving import vendor

TESTS = Path(__file__).parents[1]
PAGES = sorted(TEMPLATES.rglob("*.html"))
STYLES = sorted((STATIC / "css").glob("*.css"))
SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
TOKENS = (STATIC / "css" / "tokens.css").read_text()

FORBIDDEN_IN_TEMPLATES = {
    "an inline script": r"<script(?![^>]*\bsrc=)",
    "an inline style sheet": r"<style\b",
    "a style attribute": r"\sstyle\s*=",
    "an event handler": r"\son[a-z]+\s*=",
    "hx-on, which needs eval": r"\bhx-on\b",
    "a trigger filter, which needs eval": r"hx-trigger=\"[^\"]*\[",
    "a js: value, which needs eval": r"=[\"']js(avascript)?:",
    "unescaped output": r"\|\s*safe\b|autoescape\s+false",
    "an address of another site": r"(src|href|action)=[\"'](https?:)?//",
}
LENGTH = re.compile(r"(?<![\w.-])-?\d*\.?\d+(px|rem|em|ch|ex|pt|cm|mm|ms|s)\b")
COLOUR = re.compile(
    r"#[0-9a-fA-F]{3,8}\b|\b(rgba?|hsla?|oklch|oklab|lab|lch|hwb)\(|:\s*(white|black|red|green|blue|gr[ae]y)\b"
)
# Relative to the text they stand in, so no token can hold them: tracking, underline distance, the width of a key.
RELATIVE = re.compile(r"^\s*(letter-spacing|text-underline-offset|min-width): -?[\d.]+em;$")


def test_templates_hold_nothing_that_the_policy_forbids() -> None:
    found = [
        f"{page.relative_to(TEMPLATES)}: {what}: {match.group()}"
        for page, (what, pattern) in product(PAGES, FORBIDDEN_IN_TEMPLATES.items())
        for match in re.finditer(pattern, _without_comments(page.read_text()))
    ]
    assert found == []


def test_every_template_compiles() -> None:
    for page in PAGES:
        environment().get_template(page.relative_to(TEMPLATES).as_posix())


def test_every_form_works_without_script() -> None:
    """A form that htmx sends has the same method and address of its own."""
    found = [
        f"{page.relative_to(TEMPLATES)}: {tag}"
        for page in PAGES
        for tag in re.findall(r"<form\b[^>]*>", _without_comments(page.read_text()))
        if 'method="dialog"' not in tag and not re.search(r'\baction="', tag)
    ]
    assert found == []


def test_a_fragment_is_named_as_one() -> None:
    whole = [page for page in PAGES if not page.name.startswith("_") and page.name != "base.html"]
    assert whole
    for page in whole:
        assert "{% extends" in page.read_text(), page


def test_htmxs_own_checker_finds_nothing_of_version_2() -> None:
    checker = STATIC / "vendor" / "htmx" / "upgrade-check.py"
    done = subprocess.run(
        [sys.executable, str(checker), str(TEMPLATES), str(STATIC / "js")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", [vendor.VENDOR, TESTS / "browser" / "vendor"], ids=["site", "tests"])
def test_vendored_files_are_those_of_the_lock(folder: Path) -> None:
    vendor.check(folder)
    for package in vendor.locked(folder):
        assert package.integrity.startswith("sha512-"), package.name
        assert any(path.endswith("LICENSE") for path in package.files), package.name


def test_a_changed_vendored_file_is_noticed(tmp_path: Path) -> None:
    folder = shutil.copytree(vendor.VENDOR, tmp_path / "vendor")
    vendor.check(folder)
    with (folder / "htmx" / "htmx.min.js").open("ab") as file:
        file.write(b" ")
    with pytest.raises(vendor.Tampered, match=r"htmx/htmx\.min\.js"):
        vendor.check(folder)


@pytest.mark.parametrize("style", [style for style in STYLES if style.name != "tokens.css"], ids=lambda path: path.name)
def test_colours_and_sizes_come_from_the_tokens(style: Path) -> None:
    text = re.sub(r"/\*.*?\*/", lambda match: "\n" * match.group().count("\n"), style.read_text(), flags=re.DOTALL)
    literal = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith(("@media", "@container"))
        and not RELATIVE.match(line)
        and (LENGTH.search(line) or COLOUR.search(line))
    ]
    assert literal == []


def test_every_token_that_is_used_exists() -> None:
    known = set(re.findall(r"(--[\w-]+)\s*:", "\n".join(style.read_text() for style in STYLES)))
    used = {name for style in STYLES for name in re.findall(r"var\((--[\w-]+)", style.read_text())}
    assert used - known == set()


def test_scripts_load_nothing_from_elsewhere_and_evaluate_nothing() -> None:
    for script in SCRIPTS:
        text = re.sub(r"^\s*//.*$", "", script.read_text(), flags=re.MULTILINE)
        assert not re.search(r"https?://|\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", text), (
            script
        )


# Text needs 4.5, controls and the signs of a state 3 (WCAG 1.4.3, 1.4.11).
TEXT = [
    *product(["ink", "ink-soft", "ink-faint"], ["paper", "raised", "sunken"]),
    *product(["ink", "ink-soft"], ["hover", "accent-wash", "side-a-wash", "side-b-wash"]),
    *product(["accent", "accent-hover"], ["paper", "raised", "sunken"]),
    *product(["side-a", "side-b"], ["paper", "raised"]),
    *(("ink", fill) for fill in ["side-a-fill", "side-b-fill", "side-none-fill"]),
    *product(["good", "bad", "busy"], ["paper", "raised"]),
    ("good", "good-wash"),
    ("bad", "bad-wash"),
    ("busy", "busy-wash"),
    ("accent", "accent-wash"),
    *((f"code-{kind}", "sunken") for kind in ["comment", "keyword", "name", "number", "string"]),
    ("accent-ink", "accent"),
    ("accent-ink", "accent-hover"),
]
CONTROLS = [
    *product(["line-control", "side-none", "side-a", "side-b", "accent"], ["paper", "raised", "sunken"]),
]
PAIRS = [(*pair, 4.5) for pair in TEXT] + [(*pair, 3.0) for pair in CONTROLS]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_that_meet_differ_enough(theme: str) -> None:
    colours = _colours(theme)
    too_close = [
        f"{front} on {back}: {ratio:.2f} < {needed}"
        for front, back, needed in PAIRS
        if (ratio := _contrast(colours[front], colours[back])) < needed
    ]
    assert too_close == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_neither_side_weighs_more_than_the_other(theme: str) -> None:
    """Equal within a fifth of a just noticeable step: a side that stands out more would be chosen more."""
    colours = _colours(theme)
    for role in ("", "-fill", "-wash"):
        assert _contrast(colours[f"side-a{role}"], colours[f"side-b{role}"]) < 1.2, role


def _colours(theme: str) -> dict[str, str]:
    pattern = r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);"
    return {name: light if theme == "light" else dark for name, light, dark in re.findall(pattern, TOKENS)}


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _without_comments(template: str) -> str:
    return re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)
