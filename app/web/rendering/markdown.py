"""Model text to safe HTML: Markdown without raw HTML, then an allow-list; TeX stays text for the browser to typeset.

What a model writes is untrusted input. Two independent layers keep it harmless: markdown-it emits no tag of the
text's own, and nh3 passes only the tags below. Images are not drawn at all: a remote one would tell its server who
is judging what.
"""

from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from app.web.rendering.highlight import CLASSES, Budget, highlight

# Longer texts are shown as they are. Rendering is done in the request: an ordinary text of this length takes about
# 20 ms, the worst that tests know under a second, once.
LONGEST_RENDERED = 30_000
LONGEST_TEX = 2_000
CACHED_TEXTS = 2_048

# Headings of a response stand below the page's own.
FIRST_HEADING, LAST_HEADING = 3, 6
LINK_SCHEMES = ("https://", "http://", "mailto:")

TAGS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "del", "ul", "ol", "li", "a", "span"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "span": {"class", "data-display"}, "code": {"class"}}
SPAN_CLASSES = {"tex", *CLASSES.values()}
TEX_DELIMITERS = {"$$": ("$$", True), "$": ("$", False), "\\[": ("\\]", True), "\\(": ("\\)", False)}


@lru_cache(maxsize=CACHED_TEXTS)
def render_markdown(text: str) -> Markup:
    """HTML that is safe to put on a page as it is."""
    if len(text) > LONGEST_RENDERED:
        return Markup("<pre>{}</pre>").format(text)
    html = nh3.clean(
        _parser().render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        allowed_classes={},
        attribute_filter=_only_our_classes,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return Markup(html)  # noqa: S704 - nh3 has just cleaned it


def _only_our_classes(tag: str, attribute: str, value: str) -> str | None:
    if attribute != "class":
        return value
    if tag == "span":
        return value if value in SPAN_CLASSES else None
    return value if value.startswith("language-") and value[9:].replace("+", "").replace("-", "").isalnum() else None


class _OutwardLinks(MarkdownIt):
    """Links lead to other sites only: none of a model's leads anywhere on ours."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's name
        return url.lower().startswith(LINK_SCHEMES)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = _OutwardLinks("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.disable(["image", "html_block", "html_inline", "reference"])
    parser.inline.ruler.before("escape", "tex", _tex)
    parser.add_render_rule("tex", _render_tex)
    parser.add_render_rule("fence", _render_fence)
    parser.core.ruler.push("place_headings", lambda state: _place_headings(state.tokens))
    return parser


def _place_headings(tokens: list[Token]) -> None:
    """As deep as they stand below one another: who reads by headings misses no level that was left out."""
    above: list[str] = []
    for token in tokens:
        if token.type == "heading_open":
            above = [tag for tag in above if tag < token.tag] + [token.tag]
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(LAST_HEADING, FIRST_HEADING + len(above) - 1)}"


def _tex(state: StateInline, silent: bool) -> bool:
    """`$…$`, `$$…$$`, `\\(…\\)` and `\\[…\\]`.

    A price isn't TeX: as in Pandoc, a single dollar opens before a non-space and closes after one, and not before a
    digit. The search for the end is bounded, so that a row of dollars costs linear time.
    """
    source, start = state.src, state.pos
    opening = next((mark for mark in TEX_DELIMITERS if source.startswith(mark, start)), None)
    if opening is None:
        return False
    closing, display = TEX_DELIMITERS[opening]
    first = start + len(opening)
    end = source.find(closing, first, min(state.posMax, first + LONGEST_TEX))
    if end <= first:
        return False
    body, after = source[first:end], source[end + len(closing) : end + len(closing) + 1]
    if opening == "$" and (body[0].isspace() or body[-1].isspace() or after.isdigit()):
        return False
    if not silent:
        token = state.push("tex", "span", 0)
        token.content = body.strip()
        token.markup = "display" if display else "inline"
    state.pos = end + len(closing)
    return True


def _render_tex(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    return f'<span class="tex" data-display="{token.markup}">{escapeHtml(token.content)}</span>'


def _render_fence(self: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    language = unescapeAll(token.info).split(maxsplit=1)[0] if token.info.strip() else ""
    budget = env.setdefault("budget", Budget())
    code = highlight(token.content, language, budget) or escapeHtml(token.content)
    named = f' class="language-{escapeHtml(language)}"' if language else ""
    return f"<pre><code{named}>{code}</code></pre>\n"
