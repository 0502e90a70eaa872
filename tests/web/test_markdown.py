"""What a model writes becomes text that looks right and can do nothing."""

import re
import time
from html.parser import HTMLParser

import pytest

from app.web.markdown import ATTRIBUTES, LONGEST_RENDERED, TAGS, render_markdown
from tests.web.payloads import BOMBS, SCRIPTS

BOMB_SECONDS = 5  # a guard against minutes; 0.8 s is the most that was measured


class Tags(HTMLParser):
    """Collects what a browser would take for tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", SCRIPTS)
def test_5_1_3_3_no_text_becomes_a_tag_that_acts(text: str) -> None:
    for tag, attributes in Tags(render_markdown(text)).found:
        assert tag in TAGS
        allowed = ATTRIBUTES.get(tag, set()) | ({"rel", "target"} if tag == "a" else set())
        assert set(attributes) <= allowed
        assert re.match(r"https?://|mailto:", attributes.get("href") or "mailto:")
        if tag == "a":
            assert attributes["rel"] == "noopener noreferrer nofollow"


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_takes_long(name: str) -> None:
    text = BOMBS[name][:LONGEST_RENDERED]
    started = time.process_time()
    render_markdown(text)
    assert time.process_time() - started < BOMB_SECONDS


def test_ordinary_markdown_looks_as_meant() -> None:
    html = render_markdown(
        "# Bread\n\nUse **flour** and `salt`.\n\n1. Mix\n2. Wait\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert "<h3>Bread</h3>" in html
    assert "<strong>flour</strong>" in html
    assert "<code>salt</code>" in html
    assert "<ol>\n<li>Mix</li>" in html
    assert "<td>2</td>" in html


def test_a_code_block_keeps_its_language_and_its_signs() -> None:
    html = render_markdown("```c++\nif (a < b && c) {}\n```")
    assert '<code class="language-c++">if (a &lt; b &amp;&amp; c) {}' in html


def test_headings_stand_below_those_of_the_page() -> None:
    html = render_markdown("# one\n\n###### six")
    assert "<h3>one</h3>" in html
    assert "<h6>six</h6>" in html


@pytest.mark.parametrize(
    ("text", "tex", "display"),
    [
        ("so $a_1 + b_2$ holds", "a_1 + b_2", "inline"),
        ("so \\(x < y\\) holds", "x &lt; y", "inline"),
        ("$$\nE = mc^2\n$$", "E = mc^2", "display"),
        ("\\[\\frac{1}{2}\\]", "\\frac{1}{2}", "display"),
        ("**$a*b*c$**", "a*b*c", "inline"),
    ],
)
def test_tex_is_left_for_the_browser_as_it_was_written(text: str, tex: str, display: str) -> None:
    assert f'<span class="tex" data-display="{display}">{tex}</span>' in render_markdown(text)


@pytest.mark.parametrize("text", ["It costs $5 or $6.", "$ a $", "$5", "US$20 and CA$30", "a $\n\n$ b", "`$a$`", "$$"])
def test_prices_and_code_are_no_tex(text: str) -> None:
    assert "tex" not in render_markdown(text)


def test_a_very_long_text_is_shown_as_it_is() -> None:
    text = "**<b>**" * (LONGEST_RENDERED // 7 + 1)
    assert render_markdown(text).startswith("<pre>**&lt;b&gt;**")
