"""What a model writes becomes text that looks right and can do nothing."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.web.rendering.highlight import CLASSES, LEXERS, LONGEST_HIGHLIGHTED
from app.web.rendering.markdown import ATTRIBUTES, LONGEST_RENDERED, TAGS, render_markdown
from tests.web.payloads import BOMBS, SCRIPTS

BOMB_SECONDS = 5  # a guard against minutes; 0.8 s is the most that was measured


class Tags(HTMLParser):
    """Collects what a browser would take for tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


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
    assert '<code class="language-c++"><span class="code-keyword">if</span> (a &lt; b &amp;&amp; c) {}' in html


def test_code_in_a_known_language_is_highlighted() -> None:
    html = render_markdown('```Python\ndef half(n):  # of it\n    return n / 2 if n else "none"\n```')
    assert '<span class="code-keyword">def</span> <span class="code-name">half</span>(n)' in html
    assert '<span class="code-comment"># of it</span>' in html
    assert '<span class="code-number">2</span>' in html
    assert '<span class="code-string">"none"</span>' in html


@pytest.mark.parametrize("info", ["", "text", "brainfuck", "python3000", "__class__", "../python", "python\x00"])
def test_code_in_no_known_language_stays_plain(info: str) -> None:
    html = render_markdown(f"```{info}\nreturn 1 < 2\n```")
    assert "return 1 &lt; 2\n</code></pre>" in html
    assert "<span" not in html


def test_code_without_a_fence_stays_plain() -> None:
    assert "<span" not in render_markdown("`return 1`\n\n    return 1\n")


@pytest.mark.parametrize("language", [*LEXERS, "js", "ts", "py", "sh", "c++", "yml"])
def test_hostile_code_in_any_language_stays_the_same_text_in_our_own_classes(language: str) -> None:
    for text in (text for text in SCRIPTS if "```" not in text and "\0" not in text):
        code = f"{text}\r\tint x = 1; // '{text}\n"
        tags = Tags(render_markdown(f"````{language}\n{code}````"))
        assert "".join(tags.texts).rstrip("\n") == code.replace("\r", "\n").rstrip("\n")
        assert {tag for tag, _ in tags.found} <= {"pre", "code", "span"}
        assert {attributes["class"] for tag, attributes in tags.found if tag == "span"} <= set(CLASSES.values())


# Each takes its lexer seconds or half a minute to the end.
@pytest.mark.parametrize(
    ("language", "stall"),
    [("java", "\n"), ("java", "a "), ("c", "\n"), ("typescript", "?a"), ("python", "\n "), ("css", '"\\')],
)
def test_no_code_takes_long(language: str, stall: str) -> None:
    fence = f"```{language}\n{stall * (LONGEST_HIGHLIGHTED // 3 // len(stall))}\n```\n"
    started = time.process_time()
    render_markdown(fence * 3)
    assert time.process_time() - started < BOMB_SECONDS


def test_very_long_code_stays_plain() -> None:
    line = "return 1\n"
    fits = line * (LONGEST_HIGHLIGHTED // len(line))
    assert "code-keyword" in render_markdown(f"```python\n{fits}```")
    assert "<span" not in render_markdown(f"```python\n{fits}{line}```")


def test_headings_stand_below_those_of_the_page_and_leave_no_level_out() -> None:
    html = render_markdown("## one\n\n###### two\n\n###### three\n\n# four")
    assert re.findall(r"<h(\d)>(\w+)</h\1>", html) == [("3", "one"), ("4", "two"), ("4", "three"), ("3", "four")]


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


@pytest.mark.parametrize(
    "text",
    [
        *("It costs $5 or $6.", "$ a $", "$5", "US$20 and CA$30", "`$a$`", "$$", "5$/10$", "from $5 to 10$ a month"),
        *(
            "$HOME/bin:$HOME",
            "$AAPL,$MSFT",
            "makes $$ and then $$$",
            "earn $$ fast $$ today",
            "$A_B:$C_D",
            "$5/a or 6$/b",
        ),
        *("PHP: $x = 1; $y = 2;", "$this->foo($bar)", "$(CC) $(CFLAGS)", "${HOME} and ${PATH}", "価格は$5と$6です"),
        *("2*3*4", "a*b*c", "2**3**4", "(2*3)*4*(5)", "__init__ and __name__", "f(*args, **kwargs)"),
        *("(a)*(b)*(c)", "é*a*é", "x²*y²*z²", "/* a */", "/** a */ and /** b */", "/*a*/", "5* and 4*", "~5 to ~6"),
        *(r"\\server\share", r"\d+\.\d+", r"C:\_x", r"¯\_(ツ)_/¯", "50\\%", "&amp; is &"),
        *(">= 5 items", ">>> print(1)", ">_<", "12\n+ 5\n= 17", "a\n===", "Name\n-"),
    ],
)
def test_prices_names_and_products_stay_as_they_were_written(text: str) -> None:
    html = render_markdown(text)
    assert "tex" not in html
    assert shown(html) == text.strip("`")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**Pros**/**Cons**", "<strong>Pros</strong>/<strong>Cons</strong>"),
        ("*a*/*b*", "<em>a</em>/<em>b</em>"),
        ("中*文*字", "中<em>文</em>字"),
        (r"snake\_case, \*so\*", "snake_case, *so*"),
        (r"1986\. A year", "1986. A year"),
        ("above\n---\nbelow", "<p>above</p>\n<hr>\n<p>below</p>"),
        (">> twice", "<blockquote>\n<blockquote>"),
        ("+ a\n+ b", "<li>a</li>\n<li>b</li>"),
    ],
)
def test_what_is_meant_as_markup_is(text: str, html: str) -> None:
    assert html in render_markdown(text)


def test_what_stands_far_apart_is_no_tex() -> None:
    assert "tex" not in render_markdown("a $\n\n$ b")


def test_lines_stay_lines() -> None:
    assert render_markdown("Roses are red\nViolets are blue") == "<p>Roses are red<br>\nViolets are blue</p>\n"


@pytest.mark.parametrize("depth", [10, 20, 60, 400])
def test_no_depth_of_quotes_or_lists_hides_a_word(depth: int) -> None:
    assert "deep" in shown(render_markdown("> " * depth + "deep"))
    steps = [f"{'  ' * level}- word{level}" for level in range(min(depth, 100))]
    html = render_markdown("\n".join(steps))
    assert all(f"word{level}" in html for level in range(len(steps)))


def test_lists_count_as_they_were_written() -> None:
    html = render_markdown("3. a\n4. b\n7. c\n\nand\n\n1. d\n1. e")
    assert '<ol start="3">\n<li>a</li>\n<li>b</li>\n<li value="7">c</li>' in html
    assert "<li>e</li>" in html


def test_cells_beyond_the_head_and_words_behind_a_fence_are_shown() -> None:
    assert "<td>2 | 3 | 4</td>" in render_markdown("|a|b|\n|-|-|\n|1|2|3|4|\n")
    assert "Here you are" in render_markdown("```Here you are\n1\n```")


# Every sign that Markdown or TeX gives a meaning, between words that can be told apart.
SIGNS = st.sampled_from(
    [
        *"\n|*_$>#`~-+=<&[]()!:.\\ ",
        "\n\n",
        "  \n",
        "\n    ",
        "\n- ",
        "\n1. ",
        "> ",
        "**",
        "$$",
        "```",
        "|-|-|",
        "---",
        "5$",
    ]
)


@given(st.lists(SIGNS, max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_word_is_ever_hidden(signs: list[str]) -> None:
    words = [f"w{number}x" for number in range(len(signs) + 1)]
    text = words[0] + "".join(sign + word for sign, word in zip(signs, words[1:], strict=True))
    html = render_markdown(text)
    there = shown(html) + " ".join(value or "" for _, found in Tags(html).found for value in found.values())
    assert [word for word in words if word not in there] == []


def shown(html: str) -> str:
    return "".join(Tags(html).texts).strip()


def test_a_very_long_text_is_shown_as_it_is() -> None:
    text = "**<b>**" * (LONGEST_RENDERED // 7 + 1)
    assert render_markdown(text).startswith("<pre>**&lt;b&gt;**")
